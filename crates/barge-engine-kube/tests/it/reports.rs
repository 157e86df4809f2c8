//! What is reported of instances.

use std::sync::Arc;

use barge_engine::{Engine, LimitsReport};
use barge_model::hold::Ending;
use barge_model::rollout::{InstancePhase, Outcome};
use barge_world::key;

use crate::support::World;

#[tokio::test]
async fn an_instance_is_reported_from_its_creation_to_its_crash() {
    let Some(mut world) = World::new("reports").await else { return };
    let one = world.serving().await;
    assert_eq!((one.phase, one.restarts, &one.reason, one.ending), (InstancePhase::Ready, 0, &None, None));
    assert_eq!(one.limits, LimitsReport::Enforced);
    assert!(one.address.as_ref().unwrap().ends_with(":8080"), "{:?}", one.address);
    let first_word = |what: &'_ str| what.split(' ').next().unwrap_or_default().to_owned();
    let steps: Vec<String> = one.timeline.iter().map(|step| first_word(&step.what)).collect();
    // The stand-in for the registrar does not say since when it is online.
    let steps: Vec<&str> = steps.iter().map(String::as_str).filter(|step| *step != "online").collect();
    assert_eq!(steps, ["created", "given", "barge-init", "started", "ready"]);
    assert!(one.probes.iter().any(|probe| probe.ok));
    // The same one, as long as nothing changes.
    let (first, second) = (world.report().await, world.report().await);
    assert!(Arc::ptr_eq(&first, &second));
    let revision = *world.engine.changes().borrow();
    world.kill(&one).await;
    let again = world.wait_one("its restart", |one| one.restarts == 1 && one.online).await;
    assert_eq!((again.id, again.ending), (one.id, Some(Ending::Signalled { signal: 9 })));
    assert!(again.timeline.iter().any(|step| step.what.contains("SIGKILL")), "{:?}", again.timeline);
    assert!(*world.engine.changes().borrow() > revision);
    world.end().await;
}

#[tokio::test]
async fn a_held_instance_says_why() {
    let Some(mut world) = World::new("held").await else { return };
    let broken = world.place.release("1", "hello", false).await;
    world.run(1, &broken).await;
    let report = world
        .wait("the hold", |report| {
            report.instances.iter().any(|one| one.phase == InstancePhase::Held && one.reason.is_some())
        })
        .await;
    let reason = report.instances[0].reason.as_deref().unwrap();
    assert!(reason.contains("the setting \"greting\" is unknown"), "{reason}");
    let report = world.wait("the failure", |report| report.status.outcome(&broken.id).is_some()).await;
    assert!(matches!(report.status.outcome(&broken.id).unwrap().outcome, Outcome::Failed { .. }));
    assert_eq!(report.key, key());
    world.end().await;
}
