//! A cluster small enough to be held in the hand: ReplicaSets that bring up what is missing and take what is too much, in the order of Kubernetes'
//! own controller, and pods whose life the test decides.

use std::collections::BTreeMap;

use barge_model::rollout::{InstancePhase, Observed, ObservedInstance, Role, RolloutSpec, RolloutStatus, step};
use barge_model::{InstanceId, ReleaseId, Timestamp};
use barge_operator::change::{Change, changes};

#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) spec: RolloutSpec,
    pub(crate) status: RolloutStatus,
    pub(crate) pods: Vec<ObservedInstance>,
    pub(crate) sets: BTreeMap<ReleaseId, (Role, u32)>,
    /// What the operator has seen last.
    seen: Vec<ObservedInstance>,
    /// The operator has written since: it waits for news at least as new as that.
    wrote: bool,
    /// Whose pods a ReplicaSet does not look at any more.
    orphans: Vec<InstanceId>,
    made: u128,
    now: i64,
}

impl World {
    /// What the operator does once: it sees, decides, stores and writes. `writes` of its writes come through, then it is killed.
    pub(crate) fn reconcile(&mut self, writes: usize) {
        self.now += 100;
        if self.wrote {
            self.look();
        }
        let observed = Observed { instances: self.seen.clone(), ..Observed::default() };
        let decision = step(&self.spec, &self.status, &observed, Timestamp::from_millis(self.now));
        self.status = decision.status;
        let all = changes(&self.status, &decision.actions, &self.seen, &self.sets);
        for change in all.into_iter().take(writes) {
            self.write(change);
        }
    }

    fn write(&mut self, change: Change) {
        self.wrote = true;
        match change {
            Change::Keep { release, role, pods } => {
                self.sets.insert(release, (role, pods));
            }
            Change::Disown { release } => {
                self.sets.remove(&release);
                self.orphans.extend(self.pods.iter().filter(|pod| pod.release == release).map(|pod| pod.id.clone()));
            }
            Change::Delete { instance } => {
                // One that is gone already is not found, which is as good.
                let pod = self.pods.iter_mut().find(|pod| pod.id == instance);
                pod.into_iter().for_each(|pod| pod.phase = InstancePhase::Draining);
            }
        }
    }

    /// News of the pods come in.
    pub(crate) fn look(&mut self) {
        self.seen = self.pods.clone();
        self.wrote = false;
    }

    /// What Kubernetes' controller of ReplicaSets does: pods that end do not count, those that are not ready go first.
    pub(crate) fn replica_sets(&mut self) {
        for (release, (_, wanted)) in self.sets.clone() {
            let wanted = usize::try_from(wanted).unwrap();
            let mut active: Vec<usize> = (0..self.pods.len())
                .filter(|index| {
                    let pod = &self.pods[*index];
                    pod.release == release && pod.phase != InstancePhase::Draining && !self.orphans.contains(&pod.id)
                })
                .collect();
            for _ in active.len()..wanted {
                self.made += 1;
                let id = InstanceId::from_parts(Timestamp::from_millis(self.now), self.made);
                let phase = InstancePhase::Starting;
                self.pods.push(ObservedInstance { id, release: release.clone(), phase, restarts: 0, online: false });
            }
            active.sort_by_key(|index| self.pods[*index].available());
            let surplus = active.len().saturating_sub(wanted);
            for index in active.into_iter().take(surplus) {
                self.pods[index].phase = InstancePhase::Draining;
            }
        }
    }

    /// Whoever drains is gone, whoever starts is ready or held, whoever is ready is online.
    pub(crate) fn live(&mut self, held: impl Fn(&ReleaseId) -> bool) {
        self.pods.retain(|pod| pod.phase != InstancePhase::Draining);
        for pod in &mut self.pods {
            match pod.phase {
                InstancePhase::Starting if held(&pod.release) => pod.phase = InstancePhase::Held,
                InstancePhase::Starting => pod.phase = InstancePhase::Ready,
                InstancePhase::Ready => pod.online = true,
                _ => {}
            }
        }
    }

    pub(crate) fn of(&self, release: &ReleaseId) -> usize {
        self.pods.iter().filter(|pod| pod.release == *release && pod.phase != InstancePhase::Draining).count()
    }

    pub(crate) fn available(&self) -> usize {
        self.pods.iter().filter(|pod| pod.available()).count()
    }
}
