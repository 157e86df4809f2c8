//! A Deployment that gives its place to a service, seen from outside: how many are available at any time.

use barge_crds::spec::AdoptionSpec;
use barge_model::rollout::{
    CandidateProgress, InstancePhase, InstanceSet, Observed, ObservedInstance, Phase, Role, RolloutSpec, RolloutStatus,
    Withdrawal, step,
};
use barge_model::{InstanceId, Release, ReleaseId, Timestamp};
use barge_operator::adopt::{Adoption, Deployment, Told};
use barge_operator::change::{Change, changes};
use barge_world::{approval, release};

const SERVICE: &str = "WebService/shop";

fn spec(undo: bool) -> AdoptionSpec {
    AdoptionSpec { deployment: "shop".to_owned(), undo }
}

fn instances(of: &Release, available: u32) -> Vec<ObservedInstance> {
    let one = |number: u32| ObservedInstance {
        id: InstanceId::from_parts(Timestamp::from_millis(1), number.into()),
        release: of.id.clone(),
        phase: InstancePhase::Ready,
        restarts: 0,
        online: true,
    };
    (0..available).map(one).collect()
}

fn status(of: &Release, role: Role, phase: Phase) -> RolloutStatus {
    let at = Timestamp::from_millis(1);
    let progress = CandidateProgress {
        phase,
        since: at,
        progress_at: at,
        progress: 0,
        observed: Vec::new(),
        approval: None,
        frozen: false,
        stepped_at: None,
    };
    let set = InstanceSet { release: of.clone(), role, target: 4, held_since: None };
    let candidate = (role == Role::Candidate).then_some(progress);
    RolloutStatus { sets: vec![set], candidate, finished: Vec::new() }
}

/// A Deployment with so many instances, all of them available; `before` as it stands on it.
fn deployment(replicas: u32, before: Option<u32>) -> Deployment {
    let adopted_by = before.map(|_| SERVICE.to_owned());
    Deployment { replicas, available: replicas, before, adopted_by, version: None }
}

#[test]
fn a_deployment_keeps_what_the_service_has_not_got_yet() {
    let release = release(1);
    let (gate, goes) = (Phase::Gate, Phase::Progressing { batch: 0 });
    // Four are wanted. The role and phase of the release, available instances of it, what the Deployment has and had; then what it is told.
    for (role, phase, serving, (replicas, before), undo, told) in [
        (Role::Candidate, Phase::Starting, 0, (4, None), false, None),
        (Role::Candidate, gate.clone(), 1, (4, None), false, None),
        (Role::Candidate, goes.clone(), 1, (4, None), false, Some((3, 4))),
        (Role::Candidate, goes.clone(), 1, (3, Some(4)), false, None),
        (Role::Candidate, goes.clone(), 3, (3, Some(4)), false, Some((1, 4))),
        // One of ours is lost again on the way.
        (Role::Candidate, goes.clone(), 2, (1, Some(4)), false, Some((2, 4))),
        (Role::Candidate, goes.clone(), 4, (0, Some(4)), false, None),
        (Role::Stable, gate.clone(), 4, (1, Some(4)), false, Some((0, 4))),
        // It is over: whoever is lost later is none of the Deployment's business, and who scales it has a reason.
        (Role::Stable, gate.clone(), 3, (0, Some(4)), false, None),
        // More than it had is never asked of it.
        (Role::Candidate, goes.clone(), 0, (2, Some(2)), false, None),
        (Role::Defunct, gate.clone(), 3, (1, Some(4)), false, Some((4, 4))),
        (Role::Defunct, gate.clone(), 1, (4, None), false, None),
        (Role::Stable, gate.clone(), 4, (0, Some(2)), true, Some((4, 2))),
        (Role::Stable, gate.clone(), 4, (0, Some(6)), true, Some((6, 6))),
        (Role::Stable, gate, 4, (4, Some(4)), true, None),
    ] {
        let spec = spec(undo);
        let adoption = Adoption {
            spec: &spec,
            service: SERVICE.to_owned(),
            frozen: false,
            deployment: Some(deployment(replicas, before)),
        };
        let expected = told.map(|(replicas, before)| Told::Scale { replicas, before });
        let found = adoption.told(4, &status(&release, role, phase.clone()), &instances(&release, serving));
        assert_eq!(found, expected, "{role:?} {phase:?} with {serving}, {replicas} of {before:?}");
    }
}

#[test]
fn a_deployment_that_another_service_has_taken_is_not_touched() {
    let release = release(1);
    let other = Some("WebService/other".to_owned());
    let deployment = Deployment { adopted_by: other, ..deployment(3, Some(4)) };
    let spec = spec(false);
    let adoption = Adoption { spec: &spec, service: SERVICE.to_owned(), frozen: false, deployment: Some(deployment) };
    let status = status(&release, Role::Stable, Phase::Gate);
    assert_eq!(adoption.told(4, &status, &instances(&release, 4)), None);
    let (over, word, sentence) = adoption.condition(&status, &[]);
    assert_eq!((over, word), (false, "Taken"));
    assert!(sentence.contains("WebService/other"), "{sentence}");
}

#[test]
fn nobody_who_serves_is_stopped_while_registrations_do_not_go_through() {
    let (release, spec) = (release(1), spec(false));
    let status = status(&release, Role::Candidate, Phase::Progressing { batch: 0 });
    let told = |serving: u32, replicas: u32| {
        let deployment = Some(deployment(replicas, Some(4)));
        let adoption = Adoption { spec: &spec, service: SERVICE.to_owned(), frozen: true, deployment };
        adoption.told(4, &status, &instances(&release, serving))
    };
    assert_eq!(told(3, 3), None);
    assert_eq!(told(1, 2), Some(Told::Scale { replicas: 3, before: 4 }), "R5");
}

#[test]
fn what_is_given_back_is_whole_first() {
    let release = release(1);
    let spec = spec(true);
    let wanted = || RolloutSpec { replicas: 4, target: Some(release.clone()), ..RolloutSpec::default() };
    let mut adoption =
        Adoption { spec: &spec, service: SERVICE.to_owned(), frozen: false, deployment: Some(deployment(4, Some(4))) };
    assert_eq!(adoption.wanted(wanted()).replicas, 0);
    assert_eq!(adoption.wanted(wanted()).withdrawn.unwrap().release, release.id);
    adoption.deployment.as_mut().unwrap().available = 3;
    assert_eq!(adoption.wanted(wanted()), wanted());
    adoption.deployment = None;
    assert_eq!(adoption.wanted(wanted()), wanted(), "there is nobody to give the place back to");
    let stable = status(&release, Role::Stable, Phase::Gate);
    adoption.deployment = Some(deployment(4, Some(4)));
    assert_eq!(adoption.told(4, &stable, &instances(&release, 1)), None, "not before ours are gone");
    assert_eq!(adoption.told(4, &stable, &[]), Some(Told::Free));
}

/// A cluster with a Deployment, in which everything takes its time.
struct World {
    spec: AdoptionSpec,
    wanted: RolloutSpec,
    status: RolloutStatus,
    deployment: Deployment,
    pods: Vec<ObservedInstance>,
    set: Option<(ReleaseId, Role, u32)>,
    made: u128,
    now: i64,
}

impl World {
    fn new(release: &Release) -> Self {
        let wanted = RolloutSpec { replicas: 4, target: Some(release.clone()), ..RolloutSpec::default() };
        let (status, deployment) = (RolloutStatus::default(), deployment(4, None));
        Self { spec: spec(false), wanted, status, deployment, pods: Vec::new(), set: None, made: 0, now: 0 }
    }

    /// What the operator does once.
    fn reconcile(&mut self) {
        self.now += 500;
        let spec = self.spec.clone();
        let adoption = Adoption {
            spec: &spec,
            service: SERVICE.to_owned(),
            frozen: false,
            deployment: Some(self.deployment.clone()),
        };
        let observed = Observed { instances: self.pods.clone(), ..Observed::default() };
        let wanted = adoption.wanted(self.wanted.clone());
        let decision = step(&wanted, &self.status, &observed, Timestamp::from_millis(self.now));
        self.status = decision.status;
        let sets = self.set.iter().map(|(id, role, pods)| (id.clone(), (*role, *pods))).collect();
        let all = changes(&self.status, &decision.actions, &self.pods, &sets);
        let all = adoption.hold(all, &self.status, |id| sets.get(id).map(|(_, pods)| *pods));
        let told = adoption.told(self.wanted.replicas, &self.status, &self.pods);
        for change in all {
            match change {
                Change::Keep { release, role, pods } => self.set = Some((release, role, pods)),
                Change::Disown { .. } => self.set = None,
                Change::Delete { instance } => {
                    let found = self.pods.iter_mut().find(|pod| pod.id == instance);
                    found.into_iter().for_each(|pod| pod.phase = InstancePhase::Draining);
                }
            }
        }
        match told {
            Some(Told::Scale { replicas, before }) => {
                let down = self.deployment.available.min(replicas);
                let adopted_by = Some(SERVICE.to_owned());
                let (before, version) = (Some(before), None);
                self.deployment = Deployment { replicas, available: down, before, adopted_by, version };
            }
            Some(Told::Free) => (self.deployment.before, self.deployment.adopted_by) = (None, None),
            None => {}
        }
    }

    /// The cluster goes on: one instance of each is ready, one more is online, what drains is gone.
    fn goes_on(&mut self) {
        self.pods.retain(|pod| pod.phase != InstancePhase::Draining);
        if let Some((release, _, wanted)) = &self.set {
            let mut missing = usize::try_from(*wanted).unwrap().saturating_sub(self.pods.len());
            while missing > 0 {
                (self.made, missing) = (self.made + 1, missing - 1);
                let id = InstanceId::from_parts(Timestamp::from_millis(self.now), self.made);
                let (release, phase) = (release.clone(), InstancePhase::Starting);
                self.pods.push(ObservedInstance { id, release, phase, restarts: 0, online: false });
            }
            let surplus = self.pods.len().saturating_sub(usize::try_from(*wanted).unwrap());
            self.pods.iter_mut().rev().take(surplus).for_each(|pod| pod.phase = InstancePhase::Draining);
        }
        if let Some(pod) = self.pods.iter_mut().find(|pod| pod.phase == InstancePhase::Ready && !pod.online) {
            pod.online = true;
        }
        if let Some(pod) = self.pods.iter_mut().find(|pod| pod.phase == InstancePhase::Starting) {
            pod.phase = InstancePhase::Ready;
        }
        self.deployment.available = (self.deployment.available + 1).min(self.deployment.replicas);
    }

    fn ours(&self) -> u32 {
        u32::try_from(self.pods.iter().filter(|pod| pod.available()).count()).unwrap()
    }

    fn available(&self) -> u32 {
        self.ours() + self.deployment.available
    }

    fn until(&mut self, what: &str, reached: impl Fn(&Self) -> bool) {
        for _ in 0..200 {
            self.reconcile();
            assert!(self.available() >= 4, "{what}: {} are available", self.available());
            if reached(self) {
                return;
            }
            self.goes_on();
            assert!(self.available() >= 4, "{what}: {} are available", self.available());
        }
        panic!("in vain: {what}; {:#?} {:?}", self.status.candidate, self.deployment);
    }

    fn at_gate(&self) -> bool {
        self.status.candidate.as_ref().is_some_and(|progress| progress.phase == Phase::Gate)
    }
}

#[test]
fn never_are_fewer_available_than_are_wanted() {
    let release = release(1);
    let mut world = World::new(&release);
    world.until("the gate", World::at_gate);
    assert_eq!((world.pods.len(), world.deployment.replicas, world.deployment.before), (1, 4, None), "I1");
    world.wanted.approvals = vec![approval(&release)];
    world.until("the whole place", |world| world.deployment.replicas == 0 && world.status.set(Role::Stable).is_some());
    assert_eq!((world.ours(), world.deployment.before), (4, Some(4)));

    world.spec.undo = true;
    world.until("the place given back", |world| world.deployment.before.is_none());
    assert_eq!((world.pods.len(), world.deployment.replicas), (0, 4));
}

#[test]
fn a_release_that_is_taken_back_on_its_way_goes_after_others_can_serve() {
    let release = release(1);
    for taken in [1, 2, 3] {
        let mut world = World::new(&release);
        world.until("the gate", World::at_gate);
        world.wanted.approvals = vec![approval(&release)];
        world.until("some are taken", |world| world.deployment.replicas <= 4 - taken);
        world.wanted.withdrawn = Some(Withdrawal { release: release.id.clone(), rolled_back: false });
        world.until("all is as it was", |world| world.pods.is_empty() && world.deployment.available == 4);
        assert_eq!(world.deployment.replicas, 4);
    }
}
