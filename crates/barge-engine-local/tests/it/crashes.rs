//! Processes that die: started again with back-off, or held.

use barge_model::hold::Ending;
use barge_model::rollout::{FailureReason, InstancePhase, Outcome, Role};

use crate::support::{World, alive, available, get, kill, release};

#[tokio::test]
async fn a_process_that_crashes_is_started_again() {
    let world = World::serving(2).await;
    let before = world.report().await;
    let (crashed, other) = (before.instances[0].clone(), before.instances[1].clone());
    let other_pids = world.pids(&other.id);
    get(&crashed, "/exit?7").await;
    let after = world
        .wait("the restart", |report| {
            report.instances.len() == 2
                && report.instances.iter().all(available)
                && report.instances.iter().any(|instance| instance.id == crashed.id && instance.restarts == 1)
        })
        .await;
    assert_eq!(world.pids(&other.id), other_pids);
    let restarted = after.instances.iter().find(|instance| instance.id == crashed.id).unwrap();
    assert_eq!(restarted.address, crashed.address, "an instance keeps its address");
}

#[tokio::test]
async fn a_crash_is_reported_while_the_next_start_waits() {
    let world = World::serving(1).await;
    for restarts in 0..2 {
        let instance = world.wait_one("the instance", |i| available(i) && i.restarts == restarts).await;
        get(&instance, "/exit?7").await;
    }
    // The second restart waits a second.
    let waiting = world.wait_one("the wait", |i| i.phase == InstancePhase::BackOff && i.restarts == 2).await;
    assert_eq!(waiting.ending, Some(Ending::Exited { code: 7 }));
    world.wait_one("the instance", |instance| available(instance) && instance.restarts == 2).await;
}

#[tokio::test]
async fn a_killed_barge_init_takes_its_process_with_it() {
    let world = World::serving(1).await;
    let one = world.report().await.instances[0].id.clone();
    let (init, process) = world.pids(&one);
    kill(init);
    let again = world.wait_one("the restart", |instance| available(instance) && instance.restarts == 1).await;
    assert_eq!(again.id, one);
    assert!(!alive(process));
    assert_ne!(world.pids(&one).1, process);
}

#[tokio::test]
async fn a_candidate_that_does_not_start_is_held_and_the_stable_one_goes_on() {
    let mut world = World::serving(1).await;
    let stable = world.report().await.instances[0].clone();
    let broken = release(&world.image("broken", true).await);
    world.apply(broken.clone(), 1).await;
    let report = world.wait("the failure", |report| report.status.outcome(&broken.id).is_some()).await;
    let held = report.instances.iter().find(|instance| instance.release == broken.id).unwrap();
    let failure = FailureReason::StartFailed { instance: held.id.clone() };
    assert_eq!(report.status.outcome(&broken.id).unwrap().outcome, Outcome::Failed { failure });
    assert_eq!((held.phase, held.restarts, held.ending), (InstancePhase::Held, 0, Some(Ending::Exited { code: 3 })));
    assert!(held.reason.as_ref().unwrap().contains("ended before it was ready"), "{held:?}");
    assert_eq!(get(&stable, "/").await.as_deref(), Some("one"));
    assert_eq!(report.status.set(Role::Stable).unwrap().release.id, stable.release);
}

#[tokio::test]
async fn a_stable_instance_that_cannot_start_again_is_tried_again_and_again() {
    let world = World::serving(1).await;
    let instance = world.report().await.instances[0].clone();
    // Something that it needs is missing for a while.
    let cause = world.instance_directory(&instance.id).join("app/broken");
    std::fs::write(&cause, "").unwrap();
    get(&instance, "/exit?7").await;
    let tried = world.wait_one("some tries", |instance| instance.restarts >= 3).await;
    assert_eq!(tried.id, instance.id, "no other instance takes its place");
    assert_ne!(tried.phase, InstancePhase::Held);
    std::fs::remove_file(cause).unwrap();
    let well = world.wait_one("the instance", available).await;
    assert_eq!(well.id, instance.id);
}

#[tokio::test]
async fn a_candidate_that_was_ready_and_cannot_start_again_is_held() {
    let mut world = World::new().await;
    let mut candidate = release(&world.image("one", false).await);
    candidate.config.rollout.gate = barge_model::rollout::Gate::default();
    world.apply(candidate.clone(), 1).await;
    let instance = world.wait_one("the candidate", available).await;
    std::fs::write(world.instance_directory(&instance.id).join("app/broken"), "").unwrap();
    get(&instance, "/exit?7").await;
    let held = world.wait_one("the hold", |instance| instance.phase == InstancePhase::Held).await;
    assert_eq!((held.id, held.restarts), (instance.id, 1));
}
