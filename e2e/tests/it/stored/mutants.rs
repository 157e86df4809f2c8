//! Moments that must not be, one for each rule: a judge that finds nothing wrong is believed only because it finds these.

use std::collections::BTreeMap;

use barge_model::manifest::{Drain, Kind, Resources, ServiceConfig};
use barge_model::registration::{Intent, Registration};
use barge_model::rollout::{Finished, InstanceSet, Outcome, Role, RolloutPlan};
use barge_model::{Approval, Digest, InstanceId, Millis, Origin, Release, ReleaseId, Timestamp};

use super::judge::judge;
use super::record::{Kept, Look, Registered, Seen};
use crate::judge::Judged;

fn at() -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000)
}

fn id(serial: u32) -> InstanceId {
    InstanceId::from_parts(at(), u128::from(serial))
}

fn release(number: u32) -> Release {
    Release {
        id: ReleaseId::from_parts(at(), u128::from(number)),
        image: "127.0.0.1:7401/greeter".to_owned(),
        digest: Digest::new(format!("sha256:{number:064x}")).unwrap(),
        config: ServiceConfig {
            kind: Kind::Web,
            command: vec!["./greeter".to_owned()],
            healthcheck: None,
            templates: Vec::new(),
            replicas: None,
            env: BTreeMap::new(),
            resources: Resources::default(),
            rollout: RolloutPlan::default(),
            drain: Drain::default(),
            start_deadline: Millis::from_secs(300),
        },
        origin: Origin::Deploy,
        created_at: at(),
        created_by: "ada".to_owned(),
        reason: None,
    }
}

fn set(number: u32, role: Role) -> InstanceSet {
    InstanceSet { release: release(number), role, target: 1, held_since: None }
}

impl Look {
    /// An instance that serves.
    fn serving(self, serial: u32, number: u32) -> Self {
        self.starting(serial, number).register(serial, 1, Intent::Online)
    }

    /// An instance that nobody asks yet.
    fn starting(mut self, serial: u32, number: u32) -> Self {
        let kept = Kept { release: release(number).id, restarts: 0, draining: false, held: false, stopping: false };
        self.instances.insert(id(serial), kept);
        self
    }

    /// What journal and gateway have of an instance.
    fn register(mut self, serial: u32, generation: u64, state: Intent) -> Self {
        let stored = Registration { generation, intent: Some(state), ..Registration::default() };
        self.journal.insert(id(serial), stored);
        self.gateway.insert(id(serial), Registered { generation, state });
        self
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Nothing runs any more of an instance.
    fn without(mut self, serial: u32) -> Self {
        self.instances.remove(&id(serial));
        self
    }

    /// The journal knows nothing of an instance.
    fn unforeseen(mut self, serial: u32) -> Self {
        self.journal.remove(&id(serial));
        self
    }

    fn kept(&mut self, serial: u32) -> &mut Kept {
        self.instances.get_mut(&id(serial)).unwrap()
    }

    fn approve(&mut self, number: u32) {
        let Release { id, digest, .. } = release(number);
        self.wanted.approvals.push(Approval { release: id, digest, by: "ada".to_owned(), at: at() });
    }
}

/// Never ready.
const NEVER: u32 = 9;
/// Ready when it was online already.
const LATE: u32 = 8;

/// Judges moments, before which every instance was ready that may be.
fn judged(looks: &[Look]) -> Judged {
    let mut ready: BTreeMap<InstanceId, i64> = (1..NEVER).map(|serial| (id(serial), 0)).collect();
    ready.insert(id(LATE), 5000);
    judge(&Seen { looks: looks.to_vec(), ready })
}

/// Two instances of release 1 serve.
fn rest() -> Look {
    let mut look = Look::default().serving(1, 1).serving(2, 1);
    look.wanted.replicas = 2;
    look.wanted.target = Some(release(1));
    look.status.sets.push(set(1, Role::Stable));
    look
}

/// Release 2 is at its gate, with one instance beside the others.
fn gate() -> Look {
    let mut look = rest().serving(3, 2);
    look.wanted.target = Some(release(2));
    look.status.sets.push(set(2, Role::Candidate));
    look
}

/// Release 2 was taken back.
fn aborted() -> Look {
    let mut look = rest().register(3, 2, Intent::Terminal).unforeseen(3);
    look.wanted.target = Some(release(2));
    look.status.finished.push(Finished { release: release(2).id, outcome: Outcome::Aborted, at: at() });
    look
}

#[test]
fn what_is_as_it_should_be_is_not_objected_to() {
    let draining = gate().with(|look| look.kept(3).draining = true);
    let told = draining.clone().register(3, 2, Intent::Terminal).with(|look| look.kept(3).stopping = true);
    judged(&[rest(), rest().starting(3, 2), gate(), draining, told, aborted()]).unwrap();
    let approved = gate().with(|look| look.approve(2));
    let next = approved.clone().with(|look| look.kept(1).draining = true);
    let more = next.clone().register(1, 2, Intent::Terminal).starting(4, 2);
    judged(&[rest(), rest().starting(3, 2), gate(), approved, next, more]).unwrap();
    assert!(judged(&[]).is_err(), "who has seen nothing has nothing to say");
}

#[test]
fn every_planted_bug_is_found() {
    let planted = [
        ("I1", vec![gate(), gate().with(|look| look.kept(1).draining = true).starting(4, 2)]),
        (
            "I1",
            vec![
                gate(),
                gate().with(|look| look.approve(2)).starting(4, 2).with(|look| {
                    // An approval of the same name, for another image.
                    look.wanted.approvals[0].digest = release(3).digest;
                }),
            ],
        ),
        ("I2", vec![rest(), rest().with(|look| look.kept(1).draining = true)]),
        ("I3", vec![gate(), gate().with(|look| look.approve(2)).starting(4, 2)]),
        ("I4", vec![gate(), gate().with(|look| look.status.sets.push(set(3, Role::Candidate)))]),
        ("I4", vec![gate(), gate().with(|look| look.kept(1).draining = true).starting(4, 3)]),
        ("I6, I7", vec![gate(), aborted(), aborted().starting(4, 2)]),
        (
            "I6, I7",
            vec![
                gate(),
                gate().with(|look| look.status = aborted().status),
                gate().with(|look| {
                    look.status = aborted().status;
                    look.kept(3).restarts = 1;
                }),
            ],
        ),
        ("I9", vec![rest(), rest().with(|look| look.kept(1).release = release(2).id)]),
        ("I9", vec![rest(), rest().with(|look| look.status.sets[0].release.digest = release(3).digest)]),
        ("R1", vec![rest(), rest().serving(NEVER, 2)]),
        ("R1", vec![rest(), rest().serving(LATE, 2)]),
        ("R1", vec![gate(), gate().with(|look| (look.kept(3).draining, look.kept(3).stopping) = (true, true))]),
        ("R2", vec![gate(), gate().without(3)]),
        ("R2", vec![aborted(), aborted().serving(3, 1).register(3, 3, Intent::Offline)]),
        ("R2", vec![rest().register(2, 4, Intent::Online), rest()]),
        ("R3", vec![rest(), rest().unforeseen(2)]),
        ("R3", vec![rest(), rest().with(|look| look.gateway.get_mut(&id(2)).unwrap().generation = 2)]),
        ("R4", vec![rest(), rest().register(2, 2, Intent::Terminal)]),
        ("R6", vec![rest(), rest().register(1, 2, Intent::Offline).register(2, 2, Intent::Offline)]),
    ];
    for (number, (rule, looks)) in planted.into_iter().enumerate() {
        let Err(found) = judged(&looks) else { panic!("planted bug {number}, against {rule}, is not found") };
        let first = found.split_once(": ").map(|(_, wrong)| wrong).unwrap_or_default();
        assert!(first.starts_with(&format!("{rule}: ")), "planted bug {number}, against {rule}: {found}");
    }
}
