//! What an instance is given at its start: files, addresses, variables, secrets, limits; and what is said when there is something wrong.

use std::collections::BTreeSet;

use barge_engine::{Engine, LimitsReport};
use barge_model::manifest::{EnvValue, Memory, MilliCpu};
use barge_model::rollout::{InstancePhase, Outcome};
use barge_model::{Digest, Millis, Release};

use crate::support::{World, available, get, key, release};

#[tokio::test]
async fn every_instance_has_an_address_of_its_own() {
    let world = World::serving(3).await;
    let report = world.report().await;
    let mut seen = BTreeSet::new();
    for instance in &report.instances {
        let address: std::net::SocketAddrV4 = instance.address.as_ref().unwrap().parse().unwrap();
        assert!(address.ip().is_loopback() && (64..128).contains(&address.ip().octets()[1]), "{address}");
        assert!(seen.insert(address.port()), "two instances share a port");
        assert_eq!(get(instance, "/env?PORT").await.unwrap(), address.port().to_string());
        assert_eq!(get(instance, "/env?SERVER_PORT").await.unwrap(), address.port().to_string());
        assert_eq!(get(instance, "/env?HOST").await.unwrap(), address.ip().to_string());
        assert_eq!(get(instance, "/env?BARGE_INSTANCE").await.unwrap(), instance.id.to_string());
        assert_eq!(get(instance, "/env?BARGE_ENVIRONMENT").await.unwrap(), "test");
        assert_eq!(get(instance, "/env?BARGE_SERVICE").await.unwrap(), "shop");
        assert_eq!(get(instance, "/env?CARGO").await.unwrap(), "", "the platform's own variables stay away");
    }
}

#[tokio::test]
async fn no_instance_can_change_another_ones_files() {
    let world = World::serving(2).await;
    let report = world.report().await;
    let version = |number: usize| world.instance_directory(&report.instances[number].id).join("app/version.txt");
    std::fs::write(version(0), "changed").unwrap();
    assert_eq!(get(&report.instances[0], "/").await.as_deref(), Some("changed"));
    assert_eq!(get(&report.instances[1], "/").await.as_deref(), Some("one"));
}

#[tokio::test]
async fn a_secret_is_looked_up_at_the_start() {
    let mut world = World::new().await;
    let secrets = world.directory.path().join("secrets/test");
    std::fs::create_dir_all(&secrets).unwrap();
    std::fs::write(secrets.join("db-password"), "hunter2\n").unwrap();
    let mut secret = release(&world.image("one", false).await);
    secret.config.env.insert("PASSWORD".to_owned(), EnvValue::Secret { secret: "db-password".to_owned() });
    secret.config.env.insert("GREETING".to_owned(), EnvValue::Text("hello".to_owned()));
    let report = world.run(secret, 1).await;
    assert_eq!(get(&report.instances[0], "/env?PASSWORD").await.unwrap(), "hunter2");
    assert_eq!(get(&report.instances[0], "/env?GREETING").await.unwrap(), "hello");
    assert!(!serde_json::to_string(&report).unwrap().contains("hunter2"));
}

/// Releases what cannot start; the words that people get.
async fn reason_of(world: &mut World, release: Release) -> String {
    world.apply(release.clone(), 1).await;
    let report = world.wait("the failure", |report| report.status.outcome(&release.id).is_some()).await;
    assert!(matches!(report.status.outcome(&release.id).unwrap().outcome, Outcome::Failed { .. }));
    let instance = report.instances.iter().find(|instance| instance.release == release.id).unwrap();
    assert_eq!(instance.phase, InstancePhase::Held);
    instance.reason.clone().unwrap()
}

#[tokio::test]
async fn a_missing_secret_is_named() {
    let mut world = World::new().await;
    let mut secret = release(&world.image("one", false).await);
    secret.config.env.insert("PASSWORD".to_owned(), EnvValue::Secret { secret: "no-such".to_owned() });
    let reason = reason_of(&mut world, secret).await;
    for words in ["PASSWORD", "no-such", "secrets/test/no-such", "No such file"] {
        assert!(reason.contains(words), "{reason}");
    }
    // The words outlive the engine.
    world.reopen().await;
    world.wait_one("the words", |instance| instance.reason.as_ref() == Some(&reason)).await;
}

#[tokio::test]
async fn a_missing_image_is_named() {
    let mut world = World::new().await;
    let mut image = world.image("one", false).await;
    image.digest = Digest::new(format!("sha256:{}", "0".repeat(64))).unwrap();
    let reason = reason_of(&mut world, release(&image)).await;
    assert!(reason.contains("fetch the image") && reason.contains("404"), "{reason}");
}

#[tokio::test]
async fn a_barge_init_that_does_not_run_is_said_so() {
    let mut world = World::new().await;
    let image = world.image("one", false).await;
    world.close().await;
    world.open_with(vec!["/bin/sh".into(), "-c".into(), "echo cannot run here >&2; exit 9".into()]).await;
    let reason = reason_of(&mut world, release(&image)).await;
    assert!(reason.contains("exit status: 9") && reason.contains("cannot run here"), "{reason}");
    world.close().await;
    world.open_with(vec!["/no/such/program".into()]).await;
    let reason = reason_of(&mut world, release(&image)).await;
    assert!(reason.contains("start barge-init: No such file"), "{reason}");
}

#[tokio::test]
async fn a_command_that_is_not_in_the_image_is_named() {
    let mut world = World::new().await;
    let mut wrong = release(&world.image("one", false).await);
    wrong.config.command = vec!["./servce".to_owned()];
    let reason = reason_of(&mut world, wrong).await;
    assert!(reason.contains("start \"./servce\""), "{reason}");
}

#[tokio::test]
async fn a_start_that_is_late_is_not_blamed_on_anything_else() {
    let mut world = World::new().await;
    let mut late = release(&world.image("one", false).await);
    late.config.command = vec!["/bin/sleep".to_owned(), "1000".to_owned()];
    late.config.start_deadline = Millis(300);
    let reason = reason_of(&mut world, late).await;
    assert!(reason.starts_with("it was not ready within 300 ms (") && reason.contains("nobody listens"), "{reason}");
    let held = world.wait_one("the hold", |instance| instance.phase == InstancePhase::Held).await;
    assert_eq!(held.ending, None, "barge-init ended it, and the reason says so");
}

#[tokio::test]
async fn limits_are_in_force_or_said_not_to_be() {
    let mut world = World::new().await;
    let image = world.image("one", false).await;
    let report = world.run(release(&image), 1).await;
    assert_eq!(report.instances[0].limits, LimitsReport::NotAsked);
    let mut limited = release(&image);
    limited.config.resources.cpu = Some(MilliCpu(500));
    limited.config.resources.memory = Some(Memory(64 * 1024 * 1024));
    let report = world.run(limited, 1).await;
    let instance = &report.instances[0];
    match &instance.limits {
        LimitsReport::Enforced => {
            let (_, pid) = world.pids(&instance.id);
            let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
            assert!(groups.contains(&format!("/barge/{}", instance.id)), "{groups}");
        }
        LimitsReport::NotEnforced { reason } => {
            assert!(reason.contains("cgroups do not allow it: write /sys/fs/cgroup/"), "{reason}");
        }
        LimitsReport::NotAsked => panic!("they were asked for"),
    }
    world.reopen().await;
    let adopted = world.wait_one("the instance again", available).await;
    assert_eq!(adopted.limits, instance.limits);
}

#[tokio::test]
async fn an_end_before_the_start_ends_at_once() {
    let mut world = World::new().await;
    let image = world.image("one", false).await;
    world.apply(release(&image), 1).await;
    world.scale(0).await;
    world.wait("nobody", |report| report.instances.is_empty()).await;
    assert!(world.engine.reports().await.unwrap().iter().all(|report| report.key == key()));
}
