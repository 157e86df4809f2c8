//! Releases, and what people wish of a service, as small numbers.

use barge_model::manifest::{Count, ServiceConfig};
use barge_model::rollout::{Batch, Gate, RolloutPlan, RolloutSpec, Until, Withdrawal};
use barge_model::{Approval, Digest, InstanceId, Millis, Origin, Release, ReleaseId, Timestamp};

/// The deadline and the pause of every plan here: one tick of the model check is as long.
pub(crate) const TICK: Millis = Millis::from_secs(10);
/// When every run begins.
pub(crate) const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

pub(crate) fn instance_id(serial: u32) -> InstanceId {
    InstanceId::from_parts(START, u128::from(serial))
}

pub(crate) fn digest(number: u32) -> Digest {
    Digest::new(format!("sha256:{number:064x}")).unwrap()
}

pub(crate) fn plan(surge: Count, unavailable: Count, batches: &[&str]) -> RolloutPlan {
    RolloutPlan {
        first_batch: 1,
        gate: Gate { until: Some(Until::Approved), hold: None },
        batches: batches.iter().map(|size| Batch { size: size.parse().unwrap(), pause: Some(TICK) }).collect(),
        max_surge: surge,
        max_unavailable: unavailable,
        progress_deadline: TICK,
    }
}

pub(crate) fn simple_plan() -> RolloutPlan {
    plan(Count::Absolute(1), Count::Absolute(0), &[])
}

pub(crate) fn release(number: u32, plan: RolloutPlan, origin: Origin) -> Release {
    let config = ServiceConfig {
        kind: barge_model::manifest::Kind::Web,
        command: vec!["./greeter".to_owned()],
        healthcheck: None,
        templates: Vec::new(),
        replicas: None,
        env: std::collections::BTreeMap::new(),
        resources: barge_model::manifest::Resources::default(),
        rollout: plan,
        drain: barge_model::manifest::Drain::default(),
        start_deadline: Millis::from_secs(300),
    };
    Release {
        id: ReleaseId::from_parts(START, u128::from(number)),
        image: "127.0.0.1:7401/greeter".to_owned(),
        digest: digest(number),
        config,
        origin,
        created_at: START,
        created_by: "ada".to_owned(),
        reason: None,
    }
}

/// The releases of a run, by number: 0 is the one that is stable at the beginning.
pub(crate) struct Catalogue {
    pub(crate) releases: Vec<Release>,
}

impl Catalogue {
    /// `rollbacks` says which releases take an earlier definition again.
    pub(crate) fn new(plan: &RolloutPlan, rollbacks: &[bool]) -> Self {
        let first = ReleaseId::from_parts(START, 0);
        let releases = (0u32..)
            .zip(rollbacks)
            .map(|(number, rollback)| {
                let origin = if *rollback { Origin::Rollback { to: first.clone() } } else { Origin::Deploy };
                release(number, plan.clone(), origin)
            })
            .collect();
        Self { releases }
    }

    pub(crate) fn plan(&self) -> &RolloutPlan {
        &self.releases[0].config.rollout
    }

    pub(crate) fn id(&self, number: usize) -> &ReleaseId {
        &self.releases[number].id
    }

    pub(crate) fn number(&self, id: &ReleaseId) -> usize {
        self.releases.iter().position(|release| release.id == *id).unwrap()
    }

    pub(crate) fn is_rollback(&self, number: usize) -> bool {
        matches!(self.releases[number].origin, Origin::Rollback { .. })
    }
}

/// What people want, as small numbers; becomes a `RolloutSpec`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Wish {
    pub(crate) replicas: u32,
    pub(crate) target: Option<usize>,
    /// One bit for each release.
    pub(crate) approved: u32,
    pub(crate) withdrawn: Option<(usize, bool)>,
}

impl Wish {
    pub(crate) fn approve(&mut self, number: usize) {
        self.approved |= 1 << number;
    }

    pub(crate) fn is_approved(&self, number: usize) -> bool {
        self.approved & (1 << number) != 0
    }

    /// Nobody wants this release to go on.
    pub(crate) fn taken_back(&self, number: usize) -> bool {
        self.target != Some(number) || self.withdrawn.is_some_and(|(withdrawn, _)| withdrawn == number)
    }

    pub(crate) fn spec(&self, catalogue: &Catalogue) -> RolloutSpec {
        let target = self.target.map(|number| catalogue.releases[number].clone());
        let approval = |number: usize, digest: Digest| Approval {
            release: catalogue.id(number).clone(),
            digest,
            by: "grace".to_owned(),
            at: START,
        };
        // A trap in every run: an approval of the same release with another digest approves nothing.
        let mut approvals: Vec<Approval> = self.target.iter().map(|number| approval(*number, digest(9999))).collect();
        approvals.extend(
            (0..catalogue.releases.len())
                .filter(|number| self.is_approved(*number))
                .map(|number| approval(number, catalogue.releases[number].digest.clone())),
        );
        let withdrawn = self
            .withdrawn
            .map(|(number, rolled_back)| Withdrawal { release: catalogue.id(number).clone(), rolled_back });
        RolloutSpec { replicas: self.replicas, target, approvals, withdrawn }
    }
}
