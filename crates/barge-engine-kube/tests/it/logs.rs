//! An instance's output.

use std::time::Duration;

use barge_engine::{Engine, EngineError, InstanceReport, LogOptions, LogStream};
use barge_model::rollout::InstancePhase;
use barge_model::{InstanceId, Timestamp};
use barge_world::key;
use futures_util::StreamExt;

use crate::support::World;

async fn open(world: &World, instance: &InstanceReport, tail: usize, follow: bool) -> LogStream {
    world.engine.logs(&key(), &instance.id, LogOptions { tail, follow }).await.unwrap()
}

async fn next(stream: &mut LogStream) -> Option<String> {
    tokio::time::timeout(Duration::from_secs(60), stream.next()).await.expect("a line").map(Result::unwrap)
}

async fn all(mut stream: LogStream) -> Vec<String> {
    let mut lines = Vec::new();
    while let Some(line) = next(&mut stream).await {
        lines.push(line);
    }
    lines
}

/// Reads lines up to one with these words; the answer is that one.
async fn until(stream: &mut LogStream, words: &str) -> String {
    loop {
        let line = next(stream).await.expect("a line");
        if line.contains(words) {
            return line;
        }
    }
}

/// The business process says something.
async fn say(world: &World, instance: &InstanceReport, text: &str) {
    let script = format!("echo {text} > /proc/$pid/fd/1");
    world.with_pid(instance, &script).await;
}

#[tokio::test]
async fn a_log_is_told_and_followed_across_a_crash_to_the_end() {
    let Some(mut world) = World::new("logs").await else { return };
    let one = world.serving().await;
    say(&world, &one, "/first").await;
    let mut followed = open(&world, &one, 0, true).await;
    say(&world, &one, "/second").await;
    assert!(until(&mut followed, "/s").await.contains("/second"), "what was there before was not asked for");
    let lines = all(open(&world, &one, 1000, false).await).await;
    let at = |words: &str| {
        lines.iter().position(|line| line.contains(words)).unwrap_or_else(|| panic!("{words} in {lines:?}"))
    };
    assert!(at("listening on") < at("/first") && at("/first") < at("/second"), "{lines:?}");
    assert_eq!(lines.iter().filter(|line| line.contains("/second")).count(), 1);
    let last = all(open(&world, &one, 2, false).await).await;
    assert_eq!(last, lines[lines.len() - 2..]);

    world.kill(&one).await;
    let again = world.wait_one("its restart", |one| one.restarts == 1 && one.online).await;
    until(&mut followed, "listening on").await;
    say(&world, &again, "/third").await;
    until(&mut followed, "/third").await;
    // Of the container before it as well, as far as is asked for.
    let lines = all(open(&world, &again, 1000, false).await).await;
    assert_eq!(lines.iter().filter(|line| line.contains("listening on")).count(), 2, "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("/first")) && lines.iter().any(|line| line.contains("/third")));
    let last = all(open(&world, &again, 1, false).await).await;
    assert_eq!(last.len(), 1, "{last:?}");

    // A followed log ends with its instance.
    let target = world.report().await.status.sets[0].release.clone();
    world.run(0, &target).await;
    all(followed).await;
    world.wait("nobody", |report| report.instances.is_empty()).await;
    let gone = world.engine.logs(&key(), &again.id, LogOptions { tail: 1, follow: false }).await;
    assert!(matches!(gone, Err(EngineError::UnknownInstance(id)) if id == again.id));
    world.end().await;
}

#[tokio::test]
async fn a_held_instance_tells_its_last_words() {
    let Some(mut world) = World::new("words").await else { return };
    let broken = world.place.release("1", "hello", false).await;
    world.run(1, &broken).await;
    let held = world.wait_one("the hold", |one| one.phase == InstancePhase::Held).await;
    let lines = all(open(&world, &held, 10, false).await).await;
    assert!(lines.iter().any(|line| line.contains("the setting \"greting\" is unknown")), "{lines:?}");
    world.end().await;
}

#[tokio::test]
async fn one_that_was_never_started_has_its_reason_in_place_of_a_log() {
    let Some(mut world) = World::new("never").await else { return };
    let mut release = world.place.release("1", "hello", true).await;
    release.digest = format!("sha256:{:064x}", 1).parse().unwrap();
    world.run(1, &release).await;
    let is_told = |one: &InstanceReport| one.reason.as_deref().is_some_and(|reason| reason.contains("ImagePull"));
    let one = world.wait_one("the reason", is_told).await;
    let lines = all(open(&world, &one, 10, false).await).await;
    assert!(
        lines.len() == 1 && lines[0].starts_with("it has not started: ") && lines[0].contains("ImagePull"),
        "{lines:?}"
    );
    let error = world.exec(&one, &["/app/greeter"], None).await.unwrap_err();
    let text = barge_runtime::chain(&error);
    assert!(text.starts_with("run \"/app/greeter\" in the instance: there is no container to run it in: "), "{text}");
    assert!(text.contains("ImagePull"), "{text}");
    world.end().await;
}

#[tokio::test]
async fn an_unknown_instance_has_no_log() {
    let Some(world) = World::new("unknown").await else { return };
    let nobody = InstanceId::from_parts(Timestamp::from_millis(1), 1);
    let asked = world.engine.logs(&key(), &nobody, LogOptions { tail: 1, follow: false }).await;
    assert!(matches!(asked, Err(EngineError::UnknownInstance(_))));
    world.end().await;
}
