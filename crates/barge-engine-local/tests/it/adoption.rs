//! Instances outlive the engine, and the next one takes up what it finds: by what is stored and by who answers, never by a process id.

use std::process::Command;
use std::time::Duration;

use barge_init::{Client, files};
use barge_model::InstanceId;
use barge_model::hold::Ending;
use barge_model::rollout::{InstancePhase, Role};

use crate::support::{World, alive, available, eventually, get, is_settled, kill, kill_all, release};

#[tokio::test]
async fn a_new_engine_adopts_what_runs() {
    let mut world = World::serving(2).await;
    let before = world.report().await;
    let pids: Vec<_> = before.instances.iter().map(|instance| world.pids(&instance.id)).collect();
    world.reopen().await;
    let after = world.wait("both again", |report| report.instances.iter().filter(|i| available(i)).count() == 2).await;
    assert!(is_settled(&after), "{after:#?}");
    assert_eq!(after.instances, before.instances, "not one word of the report has changed");
    let now: Vec<_> = after.instances.iter().map(|instance| world.pids(&instance.id)).collect();
    assert_eq!(now, pids);
    assert_eq!(get(&after.instances[0], "/").await.as_deref(), Some("one"));
}

#[tokio::test]
async fn a_held_instance_stays_held() {
    let mut world = World::new().await;
    let broken = world.image("broken", true).await;
    world.apply(release(&broken), 1).await;
    let held = world.wait_one("a held instance", |instance| instance.phase == InstancePhase::Held).await;
    let init = world.status(&held.id).init_pid.cast_signed();
    world.reopen().await;
    let again = world.wait_one("the held instance", |instance| instance.phase == InstancePhase::Held).await;
    assert_eq!((again.id.clone(), again.restarts), (held.id.clone(), 0));
    assert!(alive(init));
    // Even the end of its barge-init is no reason to start it again.
    kill(init);
    let kept =
        world.wait_one("the reason", |i| i.reason.as_ref().is_some_and(|text| text.contains("gone since"))).await;
    assert_eq!((kept.id, kept.phase, kept.ending), (held.id, InstancePhase::Held, Some(Ending::Exited { code: 3 })));
    world.reopen().await;
    let still = world.wait_one("the held instance", |instance| instance.phase == InstancePhase::Held).await;
    assert_eq!((still.id, still.reason), (again.id, kept.reason));
}

#[tokio::test]
async fn what_died_while_no_engine_was_there_is_started_again() {
    let mut world = World::serving(2).await;
    let before = world.report().await;
    let (one, two) = (before.instances[0].id.clone(), before.instances[1].id.clone());
    let (init, orphan) = world.pids(&one);
    let kept = world.pids(&two);
    world.close().await;
    kill(init);
    assert!(alive(orphan), "a process outlives its killed barge-init");
    world.open_again().await;
    let after = world
        .wait("both again", |report| {
            report.instances.len() == 2
                && report.instances.iter().all(available)
                && report.instances.iter().any(|instance| instance.id == one && instance.restarts == 1)
        })
        .await;
    assert!(!alive(orphan), "two processes of one instance");
    assert_eq!(world.pids(&two), kept);
    assert_eq!(after.instances.iter().find(|instance| instance.id == two).unwrap().restarts, 0);
}

#[tokio::test]
async fn an_instance_that_was_stored_and_never_started_is_started() {
    let mut world = World::serving(2).await;
    let before = world.report().await;
    let two = before.instances[1].id.clone();
    let (init, process) = world.pids(&two);
    world.close().await;
    // As if the engine had ended between its decision and the start.
    kill_all(&[init, process]).await;
    let directory = world.instance_directory(&two);
    for file in [files::PLAN, files::STATUS, files::SOCKET, files::LOG, files::LOCK] {
        std::fs::remove_file(directory.join(file)).unwrap();
    }
    std::fs::remove_dir_all(directory.join("app")).unwrap();
    world.open_again().await;
    let after = world.wait("both", |report| report.instances.iter().filter(|i| available(i)).count() == 2).await;
    let ids = |report: &barge_engine::ServiceReport| -> Vec<InstanceId> {
        report.instances.iter().map(|instance| instance.id.clone()).collect()
    };
    assert_eq!(ids(&after), ids(&before));
    assert!(after.instances.iter().all(|instance| instance.restarts == 0), "a first start is no restart");
}

#[tokio::test]
async fn a_candidate_that_was_stored_and_never_started_has_not_failed() {
    let mut world = World::new().await;
    let image = world.image("one", false).await;
    // A barge-init that never comes: the engine ends while the instance is on its way.
    world.close().await;
    world.open_with(vec!["/bin/false".into()]).await;
    world.apply(release(&image), 1).await;
    world.wait_one("the instance", |instance| instance.reason.is_some()).await;
    world.reopen().await;
    world.wait_one("the instance online", available).await;
}

#[tokio::test]
async fn a_process_id_that_is_used_again_is_not_mistaken() {
    let mut world = World::serving(1).await;
    let one = world.report().await.instances[0].id.clone();
    let (init, process) = world.pids(&one);
    let mut status = world.status(&one);
    world.close().await;
    kill_all(&[init, process]).await;
    let mut stranger = Command::new("/bin/sleep").arg("1000").spawn().unwrap();
    status.init_pid = stranger.id();
    status.pid = Some(stranger.id().cast_signed());
    // Its start is what tells them apart.
    status.process.as_mut().unwrap().pid = stranger.id().cast_signed();
    let file = world.instance_directory(&one).join(files::STATUS);
    std::fs::write(file, serde_json::to_vec(&status).unwrap()).unwrap();
    world.open_again().await;
    world.wait_one("the instance again", |instance| available(instance) && instance.restarts == 1).await;
    assert!(stranger.try_wait().unwrap().is_none(), "a stranger was killed");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[tokio::test]
async fn a_directory_that_answers_for_somebody_else_is_not_adopted() {
    let mut world = World::serving(1).await;
    let one = world.report().await.instances[0].id.clone();
    let (init, process) = world.pids(&one);
    world.close().await;
    kill_all(&[init, process]).await;
    let directory = world.instance_directory(&one);
    let mut plan: barge_init::Plan =
        serde_json::from_slice(&std::fs::read(directory.join(files::PLAN)).unwrap()).unwrap();
    plan.instance = "somebody-else".to_owned();
    plan.main.command = vec!["/bin/sleep".to_owned(), "1000".to_owned()];
    std::fs::write(directory.join(files::PLAN), serde_json::to_vec(&plan).unwrap()).unwrap();
    let mut other = Command::new(crate::support::example("barge-init")).arg("run").arg(&directory).spawn().unwrap();
    eventually("the other one", || Client::connect(&directory).is_ok()).await;
    world.open_again().await;
    world.wait("no adoption", |report| report.instances.iter().all(|instance| !available(instance))).await;
    other.kill().unwrap();
    other.wait().unwrap();
    barge_init::processes::end_leftovers("somebody-else");
    world.wait("an instance again", |report| report.instances.iter().any(available)).await;
}

#[tokio::test]
async fn a_suspended_platform_leaves_nothing_and_starts_everything_again() {
    let mut world = World::serving(2).await;
    let before = world.report().await;
    let pids: Vec<_> = before.instances.iter().map(|instance| world.pids(&instance.id)).collect();
    world.engine.suspend(Duration::from_secs(20)).await;
    for (init, process) in pids {
        assert!(!alive(process) && !alive(init));
    }
    world.close().await;
    world.open_again().await;
    let after = world.wait("both again", |report| report.instances.iter().filter(|i| available(i)).count() == 2).await;
    for (old, new) in before.instances.iter().zip(&after.instances) {
        assert_eq!((&old.id, old.restarts), (&new.id, new.restarts), "a suspension is no crash");
    }
}

#[tokio::test]
async fn an_engine_without_its_registrar_still_suspends_and_stops_nothing_else() {
    let mut world = World::serving(2).await;
    world.end_registrar().await;
    world.scale(1).await;
    let frozen = world
        .wait("the freeze", |report| matches!(report.waiting_on, barge_model::rollout::WaitingOn::Registrar { .. }))
        .await;
    assert_eq!(frozen.instances.len(), 2);
    let (_, process) = world.pids(&frozen.instances[0].id);
    assert!(alive(process));
    world.engine.suspend(Duration::from_secs(20)).await;
    assert!(!alive(process));
}

#[tokio::test]
async fn files_that_a_power_cut_may_have_emptied_are_made_again() {
    let mut world = World::serving(1).await;
    let id = world.report().await.instances[0].id.clone();
    let (init, process) = world.pids(&id);
    world.close().await;
    kill_all(&[init, process]).await;
    let directory = world.instance_directory(&id);
    // As the next run of the machine finds them.
    std::fs::write(directory.join("app/service"), "").unwrap();
    std::fs::write(directory.join("boot"), "an earlier run").unwrap();
    world.open_again().await;
    let after = world.wait_one("the instance again", |instance| available(instance) && instance.restarts == 1).await;
    assert_eq!(get(&after, "/").await.as_deref(), Some("one"));
}

#[tokio::test]
async fn what_is_wound_down_is_offline_first_and_comes_back_as_it_was() {
    let mut world = World::serving(2).await;
    let before = world.report().await;
    let pids: Vec<_> = before.instances.iter().map(|instance| world.pids(&instance.id)).collect();
    assert!(world.engine.wind_down(Duration::from_secs(20)).await, "all of them have ended");
    for (instance, (init, process)) in before.instances.iter().zip(pids) {
        assert!(!alive(process) && !alive(init));
        let timeline = world.status(&instance.id).timeline;
        let drained = timeline.iter().any(|step| step.what.contains("asked to stop: draining"));
        assert!(drained, "it was not stopped as its release says: {timeline:?}");
    }
    let held = world.table.list(&crate::support::key()).1;
    assert!(held.iter().all(|listed| listed.put.state == barge_gateway::PutState::Offline), "{held:?}");
    world.reopen().await;
    let after = world.wait("both again", |report| report.instances.iter().filter(|i| available(i)).count() == 2).await;
    for (old, new) in before.instances.iter().zip(&after.instances) {
        assert_eq!((&old.id, old.restarts), (&new.id, new.restarts), "this is no crash");
    }
}

#[tokio::test]
async fn what_nobody_acknowledges_offline_is_not_stopped() {
    let mut world = World::serving(1).await;
    world.end_registrar().await;
    let (_, process) = world.pids(&world.report().await.instances[0].id);
    assert!(!world.engine.wind_down(Duration::from_millis(200)).await, "it cannot have ended");
    assert!(alive(process));
    world.close().await;
    world.open_again().await;
    let again = world.wait_one("the instance", available).await;
    assert_eq!(world.pids(&again.id).1, process, "it was started anew");
}

#[tokio::test]
async fn an_engine_that_only_ends_starts_nothing() {
    let mut world = World::serving(1).await;
    let id = world.report().await.instances[0].id.clone();
    let (init, process) = world.pids(&id);
    world.close().await;
    kill_all(&[init, process]).await;
    world.open_to_end().await;
    assert!(world.engine.wind_down(Duration::from_secs(20)).await);
    assert_eq!(world.status(&id).init_pid.cast_signed(), init, "it was started again");
    world.reopen().await;
    world.wait_one("the instance again", available).await;
}

#[tokio::test]
async fn an_end_that_was_begun_is_brought_to_its_end() {
    let mut world = World::serving(3).await;
    world.scale(1).await;
    for _ in 0..3 {
        world.reopen().await;
    }
    let report =
        world.wait("one left", |report| report.instances.len() == 1 && report.instances.iter().all(available)).await;
    assert_eq!(report.status.set(Role::Stable).unwrap().target, 1);
    let left = std::fs::read_dir(world.instance_directory(&report.instances[0].id).parent().unwrap()).unwrap().count();
    assert_eq!(left, 1, "files of an ended instance");
}
