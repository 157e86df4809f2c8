//! How long one step of the rollout machine takes for a service with 1,000 instances, in the middle of a release.

// A bench fails by panicking, like a test.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use barge_model::manifest::{Kind, ServiceConfig};
use barge_model::rollout::{InstancePhase, Observed, ObservedInstance, Role, RolloutSpec, RolloutStatus, step};
use barge_model::{Approval, Digest, InstanceId, Millis, Origin, Release, ReleaseId, Timestamp};

const INSTANCES: u32 = 1000;
const ROUNDS: usize = 501;

fn main() {
    let (spec, status, observed) = half_way();
    let now = Timestamp::from_millis(1_000_000);
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let begin = Instant::now();
            black_box(step(black_box(&spec), black_box(&status), black_box(&observed), now));
            begin.elapsed()
        })
        .collect();
    times.sort();
    let micros = |time: Duration| format!("{} µs", time.as_micros());
    println!("| one step for {INSTANCES} instances, half of them replaced | median | slowest of {ROUNDS} | goal |");
    println!("| --- | --- | --- | --- |");
    println!("| `rollout::step` | {} | {} | 1,000 µs |", micros(times[ROUNDS / 2]), micros(times[ROUNDS - 1]));
}

/// A release that has replaced half of the instances of the one before it.
fn half_way() -> (RolloutSpec, RolloutStatus, Observed) {
    let (old, new) = (release(1), release(2));
    let approval = |release: &Release| Approval {
        release: release.id.clone(),
        digest: release.digest.clone(),
        by: String::new(),
        at: Timestamp::default(),
    };
    let mut spec = RolloutSpec { replicas: INSTANCES, ..RolloutSpec::default() };
    let (mut status, mut observed) = (RolloutStatus::default(), Observed::default());
    for (target, share) in [(&old, INSTANCES), (&new, INSTANCES / 2)] {
        spec.target = Some(target.clone());
        spec.approvals = vec![approval(target)];
        // The machine asks for instances; the world has them at once, up to the share that was wanted.
        for round in 0..INSTANCES {
            let decision = step(&spec, &status, &observed, Timestamp::from_millis(i64::from(round)));
            let settled = decision.status == status;
            status = decision.status;
            observed.instances = instances(&status, target, share);
            let there = status.sets.iter().find(|set| set.release.id == target.id).map_or(0, |set| set.target);
            if there >= share && (share < INSTANCES || settled) {
                break;
            }
        }
    }
    assert!(status.set(Role::Candidate).is_some() && status.set(Role::Stable).is_some(), "it is in the middle");
    assert!(observed.instances.len() >= INSTANCES as usize);
    (spec, status, observed)
}

fn instances(status: &RolloutStatus, target: &Release, share: u32) -> Vec<ObservedInstance> {
    let of_set = |set: &barge_model::rollout::InstanceSet| {
        let count = if set.release.id == target.id { set.target.min(share) } else { set.target };
        let release = set.release.id.clone();
        (0..count).map(move |number| ObservedInstance {
            id: InstanceId::from_parts(
                release.as_str().bytes().last().map_or_else(Timestamp::default, |b| Timestamp::from_millis(b.into())),
                number.into(),
            ),
            release: release.clone(),
            phase: InstancePhase::Ready,
            restarts: 0,
            online: true,
        })
    };
    status.sets.iter().flat_map(of_set).collect()
}

fn release(number: u8) -> Release {
    Release {
        id: ReleaseId::from_parts(Timestamp::from_millis(0), number.into()),
        image: "127.0.0.1:1/bench".to_owned(),
        digest: Digest::new(format!("sha256:{number:064x}")).unwrap(),
        config: ServiceConfig {
            kind: Kind::Web,
            command: vec!["bench".to_owned()],
            healthcheck: None,
            templates: Vec::new(),
            replicas: None,
            env: Default::default(),
            resources: Default::default(),
            rollout: Default::default(),
            drain: Default::default(),
            start_deadline: Millis::from_secs(300),
        },
        origin: Origin::Deploy,
        created_at: Timestamp::default(),
        created_by: String::new(),
        reason: None,
    }
}
