//! What is in an engine's way: files that cannot be removed or read, stops that come too early, watches that break, images that never come.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use barge_init::files;
use barge_model::rollout::{InstancePhase, WaitingOn};

use crate::support::{Image, World, alive, available, eventually, example, is_settled, release};

/// Something that not even root can remove: a directory on which something is mounted. None where that is not allowed.
struct Mounted(std::path::PathBuf);

impl Mounted {
    fn on(path: &Path) -> Option<Self> {
        std::fs::create_dir_all(path).unwrap();
        let mount = Command::new("mount").args(["-t", "tmpfs", "none"]).arg(path).output();
        mount.is_ok_and(|output| output.status.success()).then(|| Self(path.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[tokio::test]
async fn files_that_cannot_be_removed_are_in_nobodys_way() {
    let mut world = World::serving(2).await;
    let before = world.report().await;
    let mounts: Vec<_> = before
        .instances
        .iter()
        .filter_map(|i| Mounted::on(&world.instance_directory(&i.id).join("app/stays")))
        .collect();
    if mounts.is_empty() {
        eprintln!("SKIPPED: files_that_cannot_be_removed_are_in_nobodys_way: nothing may be mounted here");
        assert!(std::env::var_os("BARGE_TEST_STRICT").is_none_or(|value| value != "1"), "skipped, which CI must not");
        return;
    }
    world.scale(1).await;
    world.wait("one left", |report| report.instances.len() == 1 && is_settled(report)).await;
    world.reopen().await;
    world.wait("one again", |report| report.instances.len() == 1 && available(&report.instances[0])).await;
    world.scale(3).await;
    world.wait("new ones", |report| report.instances.iter().filter(|i| available(i)).count() == 3).await;
}

#[tokio::test]
async fn a_stop_that_comes_before_barge_init_listens_is_not_lost() {
    let mut world = World::serving(1).await;
    let image = world.report().await.status.sets[0].release.clone();
    world.close().await;
    // Slow to begin, as on a machine that is busy.
    let slow = ["/bin/sh", "-c", "sleep 0.3; exec \"$0\" \"$@\""].map(Into::into).to_vec();
    world.open_with([slow, vec![example("barge-init").into()]].concat()).await;
    world.apply(image, 4).await;
    let report = world.wait("starts", |report| report.instances.len() == 4).await;
    let begun = |i: &barge_engine::InstanceReport| world.instance_directory(&i.id).join(files::PLAN).exists();
    eventually("their barge-inits to be started", || report.instances.iter().all(begun)).await;
    world.scale(1).await;
    world.wait("one left", |report| report.instances.len() == 1 && available(&report.instances[0])).await;
}

#[tokio::test]
async fn a_barge_init_that_turns_the_engine_away_is_not_taken_for_dead() {
    let mut world = World::serving(1).await;
    let one = world.report().await.instances[0].id.clone();
    let pids = world.pids(&one);
    world.close().await;
    let directory = world.instance_directory(&one);
    let guests: Vec<_> = (0..40).map_while(|_| barge_init::Client::connect(&directory).ok()).collect();
    assert!(guests.len() > 30, "they were let in");
    world.open_again().await;
    let turned_away = tokio::time::timeout(
        Duration::from_millis(300),
        world.wait("an end that must not come", |report| report.instances.iter().any(|i| i.restarts > 0)),
    );
    assert!(turned_away.await.is_err(), "it was started again");
    drop(guests);
    world.wait_one("the adoption", available).await;
    assert_eq!(world.pids(&one), pids, "the process that served has served on");
}

#[tokio::test]
async fn a_scene_outlives_a_platform_that_is_stopped() {
    let mut world = World::new().await;
    let broken = world.image("broken", true).await;
    world.apply(release(&broken), 1).await;
    let held = world.wait_one("a held instance", |instance| instance.phase == InstancePhase::Held).await;
    world.engine.suspend(Duration::from_secs(20)).await;
    world.close().await;
    world.open_again().await;
    world.wait("the registrar", |report| !matches!(report.waiting_on, WaitingOn::Registrar { .. })).await;
    let kept = world.wait_one("the scene", |instance| instance.phase == InstancePhase::Held).await;
    assert_eq!((&kept.id, kept.restarts, kept.ending), (&held.id, 0, held.ending));
    assert_eq!(kept.reason, held.reason);
    let log = std::fs::read_to_string(world.instance_directory(&held.id).join(files::LOG)).unwrap();
    assert!(log.contains("this version is broken"), "{log}");
}

#[tokio::test]
async fn one_services_damaged_file_is_left_as_it_is_and_the_others_go_on() {
    let mut world = World::serving(1).await;
    world.close().await;
    let other = world.directory.path().join("engine/services/test/other");
    std::fs::create_dir_all(&other).unwrap();
    std::fs::write(other.join("status.json"), "{").unwrap();
    world.open_again().await;
    world.wait_one("the one that is whole", available).await;
    assert_eq!(std::fs::read_to_string(other.join("status.json")).unwrap(), "{");
    let image = world.image("two", false).await;
    world.run(release(&image), 1).await;
    assert_eq!(images(&world).len(), 2, "what the damaged one needs is not known, so nothing is removed");
}

fn images(world: &World) -> Vec<String> {
    let names = std::fs::read_dir(world.directory.path().join("engine/images")).unwrap();
    names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test]
async fn images_that_no_release_needs_are_removed() {
    let mut world = World::serving(1).await;
    let two = world.image("two", false).await;
    world.run(release(&two), 1).await;
    eventually("one image left", || images(&world) == [two.digest.hex()]).await;
    let three = world.image("three", false).await;
    world.run(release(&three), 1).await;
    eventually("one image left", || images(&world) == [three.digest.hex()]).await;
}

#[tokio::test]
async fn programs_of_sessions_that_nobody_has_any_more_are_ended() {
    let mut world = World::serving(1).await;
    let one = world.report().await.instances[0].id.clone();
    world.close().await;
    let of = |instance: &str| {
        let mut command = Command::new("/bin/sleep");
        command.arg("1000").env(barge_init::processes::INSTANCE_MARK, instance);
        command.env(barge_init::processes::EXEC_MARK, "of a killed engine").spawn().unwrap()
    };
    let (mut ours, mut foreign) = (of(one.as_str()), of("somebody-else"));
    world.open_again().await;
    world.wait_one("the instance", available).await;
    eventually("its end", || !alive(ours.id().cast_signed())).await;
    assert!(alive(foreign.id().cast_signed()), "another engine's");
    foreign.kill().unwrap();
    foreign.wait().unwrap();
    ours.wait().unwrap();
}

#[tokio::test]
async fn an_image_that_never_comes_holds_nobody_up() {
    let mut world = World::serving(1).await;
    let good = world.report().await.status.sets[0].release.clone();
    // It takes connections and says nothing.
    let mute = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let digest = barge_model::Digest::new(format!("sha256:{}", "5".repeat(64))).unwrap();
    let never = release(&Image { name: format!("{}/shop", mute.local_addr().unwrap()), digest });
    world.apply(never.clone(), 1).await;
    world.wait("its instance", |report| report.instances.iter().any(|i| i.release == never.id)).await;
    world.withdraw(&never.id).await;
    let report = world.wait("its end", |report| report.instances.iter().all(|i| i.release == good.id)).await;
    assert!(report.instances.iter().all(available));
}
