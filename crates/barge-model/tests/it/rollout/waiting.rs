//! What people read while they wait: one sentence for each variant.

use barge_model::rollout::WaitingOn;
use barge_model::{Millis, ReleaseId};

use super::fixtures::START;

/// Now is 90 seconds before every point in time of the table.
#[test]
fn each_wait_is_one_sentence() {
    let release = ReleaseId::from_parts(START, 1);
    let until = START.plus(Millis::from_secs(90));
    let rows = [
        (WaitingOn::Nothing, "everything runs as it should"),
        (WaitingOn::FirstRelease, "waiting for the first release"),
        (
            WaitingOn::Start { release: release.clone(), available: 0, needed: 1, deadline: until },
            "waiting for the new release to start: 0 of 1 instance available; fails in 1m30s without progress",
        ),
        (
            WaitingOn::Start { release: release.clone(), available: 1, needed: 2, deadline: START },
            "waiting for the new release to start: 1 of 2 instances available; fails in 0s without progress",
        ),
        (WaitingOn::Online { instances: 1 }, "1 instance ready, waiting for the gateway to take traffic there"),
        (WaitingOn::Online { instances: 2 }, "2 instances ready, waiting for the gateway to take traffic there"),
        (WaitingOn::Approval { release, since: START }, "waiting for approval"),
        (WaitingOn::Hold { until }, "observing the first instance for 1m30s more"),
        (
            WaitingOn::Batch { batch: 2, available: 3, needed: 5, old: 4 },
            "batch 2: 3 of 5 new instances available, 4 old left",
        ),
        (WaitingOn::Pause { until }, "pausing for 1m30s more before the next batch"),
        (WaitingOn::Drain { instances: 1 }, "waiting for 1 instance to drain"),
        (WaitingOn::Stable { available: 2, wanted: 3 }, "waiting for stable instances: 2 of 3 available"),
        (
            WaitingOn::Registrar { reason: "the gateway does not answer".to_owned() },
            "frozen: instances cannot be registered (the gateway does not answer); nothing is stopped meanwhile",
        ),
    ];
    for (waiting_on, expected) in rows {
        assert_eq!(waiting_on.sentence(START), expected);
        let read: WaitingOn = serde_json::from_str(&serde_json::to_string(&waiting_on).unwrap()).unwrap();
        assert_eq!(read, waiting_on, "what is sent is what is read");
    }
}
