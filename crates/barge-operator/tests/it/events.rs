//! What people are told between two statuses.

use barge_crds::ServiceStatus;
use barge_crds::spec::ApprovalSpec;
use barge_crds::status::{FinishedStatus, InstanceStatus, OutcomeStatus, PhaseStatus, ProgressStatus};
use barge_crds::values::from_time;
use barge_model::Timestamp;
use barge_operator::events::told;

fn progress(phase: PhaseStatus, approved: bool, frozen: bool) -> ProgressStatus {
    let at = from_time(Timestamp::from_millis(1_764_300_000_000));
    let approval =
        ApprovalSpec { release: "TWO".to_owned(), digest: "sha256:2".to_owned(), by: "bob".to_owned(), at: at.clone() };
    ProgressStatus {
        phase,
        batch: None,
        since: at.clone(),
        progress_at: at,
        progress: 1,
        observed: Vec::new(),
        approval: approved.then_some(approval),
        frozen,
        stepped_at: None,
    }
}

/// Release ONE serves, and release TWO is where it is said to be.
fn status(on: &str, progress: Option<ProgressStatus>) -> ServiceStatus {
    let mut status = ServiceStatus { stable: Some("ONE".to_owned()), ..ServiceStatus::default() };
    status.candidate = progress.is_some().then(|| "TWO".to_owned());
    status.progress = progress;
    status.waiting_on.on = on.to_owned();
    status.waiting_on.message = format!("waits for {on}");
    status
}

fn ended(outcome: OutcomeStatus, instance: Option<&str>) -> ServiceStatus {
    let mut status = status("nothing", None);
    status.history.push(FinishedStatus {
        release: "TWO".to_owned(),
        outcome,
        at: from_time(Timestamp::from_millis(1_764_300_000_000)),
        instance: instance.map(str::to_owned),
        available: Some(1),
        needed: Some(3),
    });
    status
}

fn held() -> InstanceStatus {
    InstanceStatus {
        id: "A".to_owned(),
        pod: "greeter-x".to_owned(),
        release: "TWO".to_owned(),
        phase: "held".to_owned(),
        online: false,
        restarts: 0,
        reason: Some("line 3 is wrong".to_owned()),
    }
}

#[test]
fn a_release_is_told_of_step_by_step() {
    let rests = status("nothing", None);
    let starts = status("start", Some(progress(PhaseStatus::Starting, false, false)));
    let gate = status("approval", Some(progress(PhaseStatus::Gate, false, false)));
    let frozen = status("registrar", Some(progress(PhaseStatus::Gate, false, true)));
    let approved = status("batch", Some(progress(PhaseStatus::Progressing, true, false)));
    let later = status("batch", Some(progress(PhaseStatus::Pausing, true, false)));
    let mut failed = ended(OutcomeStatus::StartFailed, Some("A"));
    failed.instances.push(held());
    let mut other_held = starts.clone();
    other_held.instances.push(held());

    for (before, after, expected) in [
        (&rests, &rests, vec![]),
        (&rests, &starts, vec!["ReleaseBegun: release TWO begins with its first instances beside release ONE"]),
        (&starts, &gate, vec!["WaitingForApproval: release TWO runs in its first instances and waits for approval"]),
        (&gate, &gate, vec![]),
        (&gate, &approved, vec!["Approved: bob approved release TWO: the rest follows"]),
        // Where somebody was killed in between, or did not look.
        (&rests, &approved, vec!["ReleaseBegun", "Approved"]),
        (&approved, &later, vec![]),
        (&gate, &frozen, vec!["warning Frozen: the release stands still: waits for registrar"]),
        (&frozen, &gate, vec!["WaitingForApproval", "Unfrozen: registrations go through again: the release goes on"]),
        (&later, &ended(OutcomeStatus::Promoted, None), vec!["Promoted: release TWO serves: it is stable now"]),
        (&gate, &ended(OutcomeStatus::Aborted, None), vec!["Aborted: release TWO was aborted; release ONE serves"]),
        (
            &gate,
            &ended(OutcomeStatus::RolledBack, None),
            vec!["RolledBack: release TWO was rolled back; release ONE serves"],
        ),
        (
            &gate,
            &ended(OutcomeStatus::Superseded, None),
            vec!["Superseded: a newer release has taken the place of release TWO"],
        ),
        (
            &later,
            &ended(OutcomeStatus::DeadlineExceeded, None),
            vec![
                "warning DeadlineExceeded: release TWO came no further before its deadline (1 of 3 available); release ONE serves",
            ],
        ),
        (
            &starts,
            &failed,
            vec![
                "warning StartFailed: release TWO failed; release ONE serves; A could not start and is kept for a look: line 3 is wrong",
            ],
        ),
        (
            &starts,
            &other_held,
            vec!["warning Held: pod greeter-x of release TWO could not start and is kept for a look: line 3 is wrong"],
        ),
        (&other_held, &other_held, vec![]),
        (&failed, &failed, vec![]),
    ] {
        let all = told(before, after);
        let seen: Vec<String> = all
            .iter()
            .map(|told| format!("{}{}: {}", if told.warning { "warning " } else { "" }, told.reason, told.note))
            .collect();
        assert_eq!(seen.len(), expected.len(), "{seen:?} and {expected:?}");
        for (seen, expected) in seen.iter().zip(expected) {
            let is = if expected.contains(':') { seen == expected } else { seen.starts_with(&format!("{expected}:")) };
            assert!(is, "{seen:?} is not {expected:?}");
        }
    }
}

#[test]
fn notes_are_no_longer_than_kubernetes_takes() {
    let mut after = status("start", Some(progress(PhaseStatus::Starting, false, false)));
    let before = after.clone();
    after.instances.push(InstanceStatus { reason: Some("ä".repeat(5000)), ..held() });
    let all = told(&before, &after);
    assert_eq!(all.len(), 1);
    assert!(all[0].note.len() <= 1000 && all[0].note.ends_with('ä'), "{}", all[0].note.len());
}
