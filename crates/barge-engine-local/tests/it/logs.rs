//! An instance's output: last lines, new lines, rotated files.

use std::io::Write;
use std::time::Duration;

use barge_engine::{Engine, EngineError, InstanceReport, LogOptions, LogStream};
use barge_init::files;
use barge_model::rollout::InstancePhase;
use barge_model::{InstanceId, Timestamp};

use crate::support::{World, eventually, get, key, release};

async fn next(stream: &mut LogStream) -> Option<String> {
    let next = std::future::poll_fn(|context| stream.as_mut().poll_next(context));
    tokio::time::timeout(Duration::from_secs(20), next).await.expect("a line").map(Result::unwrap)
}

async fn all(mut stream: LogStream) -> Vec<String> {
    let mut lines = Vec::new();
    while let Some(line) = next(&mut stream).await {
        lines.push(line);
    }
    lines
}

/// An instance that has said all that it says by itself.
async fn quiet() -> (World, InstanceReport) {
    let world = World::serving(1).await;
    let instance = world.report().await.instances[0].clone();
    let log = world.instance_directory(&instance.id).join(files::LOG);
    eventually("its first lines", || std::fs::read_to_string(&log).is_ok_and(|text| text.contains("listening on")))
        .await;
    (world, instance)
}

/// An instance whose log is the test's own: its files, oldest first.
async fn with_log(parts: &[&str]) -> (World, InstanceReport) {
    let (world, instance) = quiet().await;
    write(&world, &instance, parts);
    (world, instance)
}

fn write(world: &World, instance: &InstanceReport, parts: &[&str]) {
    let log = world.instance_directory(&instance.id).join(files::LOG);
    for (number, part) in parts.iter().rev().enumerate() {
        let name = if number == 0 { log.clone() } else { format!("{}.{number}", log.display()).into() };
        let _ = std::fs::remove_file(&name);
        std::fs::write(name, part).unwrap();
    }
}

async fn open(world: &World, instance: &InstanceReport, tail: usize, follow: bool) -> LogStream {
    world.engine.logs(&key(), &instance.id, LogOptions { tail, follow }).await.unwrap()
}

#[tokio::test]
async fn the_last_lines_are_found_across_files() {
    let (world, instance) = with_log(&["a\nb\n", "c\nd\n", "e\r\nlast"]).await;
    for (tail, expected) in [
        (0, &[][..]),
        (1, &["last"][..]),
        (2, &["e", "last"]),
        (3, &["d", "e", "last"]),
        (5, &["b", "c", "d", "e", "last"]),
        (100, &["a", "b", "c", "d", "e", "last"]),
    ] {
        assert_eq!(all(open(&world, &instance, tail, false).await).await, expected, "{tail}");
    }
    let long = "x".repeat(700_000);
    write(&world, &instance, &["old\n", &format!("{long}\n"), &format!("{long}\nend\n")]);
    let lines = all(open(&world, &instance, 100, false).await).await;
    assert_eq!(lines.iter().map(String::len).collect::<Vec<_>>(), [700_000, 3], "no line is cut in two");
    write(&world, &instance, &["", "", ""]);
    assert_eq!(all(open(&world, &instance, 5, false).await).await, Vec::<String>::new());
    write(&world, &instance, &["\n\n"]);
    assert_eq!(all(open(&world, &instance, 5, false).await).await, ["", ""]);
}

#[tokio::test]
async fn a_followed_log_goes_on_through_rotations() {
    let (world, instance) = with_log(&["one\ntwo\npart"]).await;
    let log = world.instance_directory(&instance.id).join(files::LOG);
    let name = |number: u32| format!("{}.{number}", log.display());
    let append = |text: &str| {
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(&log).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    };
    let rotate = || {
        for number in (1..3).rev() {
            let _ = std::fs::rename(name(number), name(number + 1));
        }
        std::fs::rename(&log, name(1)).unwrap();
    };
    let mut stream = open(&world, &instance, 1, true).await;
    assert_eq!(next(&mut stream).await.unwrap(), "two");
    append("ial\n");
    assert_eq!(next(&mut stream).await.unwrap(), "partial");
    // Two rotations at once: the file in the middle is not skipped.
    append("three\n");
    rotate();
    append("four\n");
    rotate();
    append("five\n");
    for expected in ["three", "four", "five"] {
        assert_eq!(next(&mut stream).await.unwrap(), expected);
    }
    drop(stream);
}

#[tokio::test]
async fn new_lines_of_a_process_come_as_they_are_written() {
    let (world, instance) = quiet().await;
    let mut stream = open(&world, &instance, 0, true).await;
    for text in ["first", "second"] {
        get(&instance, &format!("/log?{text}")).await.unwrap();
        assert_eq!(next(&mut stream).await.unwrap(), text);
    }
}

#[tokio::test]
async fn a_followed_log_ends_with_its_instance() {
    let mut world = World::serving(1).await;
    let instance = world.report().await.instances[0].clone();
    let stream = open(&world, &instance, 0, true).await;
    world.scale(0).await;
    all(stream).await;
    world.wait("the end", |report| report.instances.is_empty()).await;
    let gone = world.engine.logs(&key(), &instance.id, LogOptions { tail: 1, follow: false }).await;
    assert!(matches!(gone, Err(EngineError::UnknownInstance(id)) if id == instance.id));
}

#[tokio::test]
async fn a_held_instance_tells_its_last_words() {
    let mut world = World::new().await;
    let broken = release(&world.image("two", true).await);
    world.apply(broken, 1).await;
    let held = world.wait_one("the hold", |instance| instance.phase == InstancePhase::Held).await;
    let lines = all(open(&world, &held, 10, false).await).await;
    assert_eq!(lines, ["testservice two starts", "Caused by: this version is broken"]);
}

#[tokio::test]
async fn nobody_reads_a_log_for_ever() {
    let world = World::serving(1).await;
    let instance = world.report().await.instances[0].clone();
    let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
    let before = threads();
    let streams = {
        let mut streams = Vec::new();
        for _ in 0..20 {
            streams.push(open(&world, &instance, 0, true).await);
        }
        streams
    };
    eventually("their threads", || threads() > before + 10).await;
    drop(streams);
    eventually("the end of the threads", || threads() < before + 10).await;
}

#[tokio::test]
async fn an_unknown_instance_has_no_log() {
    let world = World::serving(1).await;
    let nobody = InstanceId::from_parts(Timestamp::from_millis(1), 1);
    let asked = world.engine.logs(&key(), &nobody, LogOptions { tail: 1, follow: false }).await;
    assert!(matches!(asked, Err(EngineError::UnknownInstance(_))));
}
