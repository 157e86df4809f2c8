//! What goes into a resource comes out of it again.

use barge_crds::convert::{SetWithoutRelease, key, resolve, rollout, stored, to_status};
use barge_crds::spec::ServiceSpec;
use barge_crds::{ReleaseSpec, RpcService, RpcServiceSpec, ServiceStatus, WebService, WebServiceSpec};
use barge_model::manifest::Kind;
use barge_model::rollout::{
    CandidateProgress, FailureReason, Finished, InstanceSet, Outcome, Phase, Role, RolloutSpec, RolloutStatus,
    Withdrawal,
};
use barge_model::{Approval, Release, ServiceKey, Timestamp};

use crate::support::{EARLIER, ID, digest, release};

fn wanted() -> RolloutSpec {
    let target = release(Kind::Web);
    let approval = Approval {
        release: target.id.clone(),
        digest: target.digest.clone(),
        by: "bob".to_owned(),
        at: Timestamp::from_millis(1_764_300_100_001),
    };
    let withdrawn = Some(Withdrawal { release: EARLIER.parse().unwrap(), rolled_back: true });
    RolloutSpec { replicas: 7, target: Some(target), approvals: vec![approval], withdrawn }
}

fn service(spec: ServiceSpec) -> WebService {
    WebService::new("greeter", WebServiceSpec { service: spec })
}

#[test]
fn what_is_wanted_goes_both_ways() {
    let key_of = ServiceKey::new("test".parse().unwrap(), "greeter".parse().unwrap());
    let web = service(ServiceSpec::new(&key_of, 12, &wanted()));
    assert_eq!(key(&web).unwrap(), key_of);
    assert_eq!(rollout(&web).unwrap(), wanted());
    // As the API server would store it.
    let text = serde_json::to_string(&web).unwrap();
    assert_eq!(rollout(&serde_json::from_str::<WebService>(&text).unwrap()).unwrap(), wanted());
    let rpc = RpcService::new("greeter", RpcServiceSpec { service: web.spec.service });
    assert_eq!(rollout(&rpc).unwrap().target.unwrap().config.kind, Kind::Rpc);
}

#[test]
fn an_approval_of_another_release_is_not_passed_on() {
    let mut wanted = wanted();
    wanted.approvals[0].digest = digest('b').parse().unwrap();
    let key = ServiceKey::new("test".parse().unwrap(), "greeter".parse().unwrap());
    assert_eq!(ServiceSpec::new(&key, 1, &wanted).approval, None);
}

#[test]
fn the_least_that_can_be_written_has_the_machines_defaults() {
    let least = serde_json::json!({
        "id": ID, "image": "registry.example.com/greeter", "digest": digest('a'), "command": ["./greeter"],
        "createdAt": "2026-11-28T00:00:00Z",
    });
    let spec: ReleaseSpec = serde_json::from_value(least).unwrap();
    let release = resolve(&spec, Kind::Web).unwrap();
    assert_eq!(release.config.rollout, barge_model::rollout::RolloutPlan::default());
    assert_eq!(release.config.drain, barge_model::manifest::Drain::default());
    assert!(ReleaseSpec::from(&release).termination_grace_period_seconds >= 70);
}

#[test]
fn nonsense_is_told_with_its_place() {
    let key_of = ServiceKey::new("test".parse().unwrap(), "greeter".parse().unwrap());
    let good = ServiceSpec::new(&key_of, 1, &wanted());
    let with = |change: &dyn Fn(&mut ReleaseSpec)| {
        let mut spec = good.clone();
        change(spec.release.as_mut().unwrap());
        rollout(&service(spec)).unwrap_err().to_string()
    };
    for (told, change) in [
        ("spec.release.id: ", &(|release: &mut ReleaseSpec| release.id = "7".to_owned()) as &dyn Fn(&mut ReleaseSpec)),
        ("spec.release.image: ", &|release| release.image = "greeter".to_owned()),
        ("spec.release.digest: ", &|release| release.digest = "latest".to_owned()),
        ("spec.release.startDeadline: ", &|release| release.start_deadline.0 = "5 minutes".to_owned()),
        ("spec.release.env.A=B: ", &|release| {
            release.env.insert("A=B".to_owned(), release.env["GREETING"].clone());
        }),
        ("spec.release.env.BOTH: ", &|release| {
            let mut both = release.env["GREETING"].clone();
            both.secret = Some("x".to_owned());
            release.env.insert("BOTH".to_owned(), both);
        }),
        ("spec.release.resources.memory: ", &|release| release.resources.memory.as_mut().unwrap().0 = "1Zi".to_owned()),
        ("spec.release.rollout: ", &|release| release.rollout.first_batch = 0),
        ("spec.release.rollout.firstBatch: ", &|release| release.rollout.first_batch = -1),
        ("spec.release.origin.release: ", &|release| release.origin.release = None),
    ] {
        let words = with(change);
        assert!(words.starts_with(told), "{told}: {words}");
    }
    let mut negative = good.clone();
    negative.replicas = -1;
    assert!(rollout(&service(negative)).unwrap_err().to_string().starts_with("spec.replicas: "));
    let mut huge = good.clone();
    huge.replicas = 10_001;
    assert_eq!(rollout(&service(huge)).unwrap_err().to_string(), "spec.replicas: at most 10000");
    let long = WebService::new(&"a".repeat(41), WebServiceSpec { service: good });
    assert!(key(&long).unwrap_err().to_string().starts_with("metadata.name: "));
}

fn statuses() -> Vec<RolloutStatus> {
    let at = Timestamp::from_millis;
    let set =
        |release: &Release, role, target| InstanceSet { release: release.clone(), role, target, held_since: None };
    let (new, mut old) = (release(Kind::Web), release(Kind::Web));
    old.id = EARLIER.parse().unwrap();
    let outcomes = [
        Outcome::Promoted,
        Outcome::Aborted,
        Outcome::Superseded,
        Outcome::RolledBack,
        Outcome::Failed { failure: FailureReason::StartFailed { instance: ID.parse().unwrap() } },
        Outcome::Failed { failure: FailureReason::DeadlineExceeded { available: 1, needed: 3 } },
    ];
    let finished = |outcome| Finished { release: EARLIER.parse().unwrap(), outcome, at: at(5) };
    let phases = [Phase::Starting, Phase::Gate, Phase::Progressing { batch: 2 }, Phase::Pausing { batch: 0 }];
    let progress = |phase| CandidateProgress {
        phase,
        since: at(1_764_300_000_001),
        progress_at: at(1_764_300_000_002),
        progress: 3,
        observed: vec![(ID.parse().unwrap(), 2)],
        approval: wanted().approvals.pop(),
        frozen: true,
        stepped_at: Some(at(1_764_300_000_003)),
    };
    let with = |phase| RolloutStatus {
        sets: vec![
            set(&old, Role::Stable, 6),
            set(&new, Role::Candidate, 1),
            InstanceSet { held_since: Some(at(7)), ..set(&old, Role::Defunct, 0) },
        ],
        candidate: Some(progress(phase)),
        finished: outcomes.iter().cloned().map(finished).collect(),
    };
    phases.into_iter().map(with).chain([RolloutStatus::default()]).collect()
}

#[test]
fn what_is_stored_comes_out_again() {
    let definition = |id: &barge_model::ReleaseId| {
        let mut release = release(Kind::Web);
        release.id = id.clone();
        Some(release)
    };
    for status in statuses() {
        let text = serde_json::to_string(&to_status(&status)).unwrap();
        let read: ServiceStatus = serde_json::from_str(&text).unwrap();
        assert_eq!(stored(&read, definition).unwrap(), status);
    }
}

#[test]
fn a_definition_that_is_gone_is_told_of() {
    let status = to_status(&statuses()[0]);
    assert_eq!(stored(&status, |_| None), Err(SetWithoutRelease::Gone(EARLIER.parse().unwrap())));
    let mut damaged = status;
    damaged.sets[0].target = -1;
    let error = stored(&damaged, |_| Some(release(Kind::Web))).unwrap_err();
    assert!(matches!(error, SetWithoutRelease::Unreadable(_)), "{error:?}");
}
