//! Programs in instances.

use std::time::Duration;

use barge_engine::{ExecInput, ExecOutput, ExecSession, InstanceReport, WindowSize};
use barge_model::rollout::InstancePhase;
use barge_world::PATIENCE;
use bytes::Bytes;
use tokio::time::Instant;

use crate::support::{RUN, SHELL, World, next};

const SIZE: WindowSize = WindowSize { rows: 33, columns: 101 };

/// Everything that a program says: standard output, standard error, exit code.
async fn all(session: &mut ExecSession) -> (String, String, i32) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    loop {
        match next(session).await.expect("an exit code") {
            ExecOutput::Stdout(bytes) => out.extend_from_slice(&bytes),
            ExecOutput::Stderr(bytes) => err.extend_from_slice(&bytes),
            ExecOutput::Exit(code) => {
                assert_eq!(next(session).await, None, "nothing follows the exit code");
                return (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap(), code);
            }
        }
    }
}

/// Reads until the output holds `text`.
async fn until(session: &mut ExecSession, text: &str) -> String {
    let mut seen = String::new();
    while !seen.contains(text) {
        match next(session).await {
            Some(ExecOutput::Stdout(bytes)) => seen.push_str(&String::from_utf8_lossy(&bytes)),
            other => panic!("{other:?} after {seen:?}"),
        }
    }
    seen
}

async fn type_in(session: &ExecSession, text: &str) {
    session.input.send(ExecInput::Data(Bytes::copy_from_slice(text.as_bytes()))).await.unwrap();
}

/// Waits until none of the processes is there any more.
async fn until_gone(world: &World, instance: &InstanceReport, pids: &[i32]) {
    let deadline = Instant::now() + PATIENCE;
    let pids: Vec<String> = pids.iter().map(ToString::to_string).collect();
    let script = format!("for pid in {}; do [ -d /proc/$pid ] && echo $pid; done; :", pids.join(" "));
    loop {
        let (left, _, _) = all(&mut world.shell(instance, &script).await).await;
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "still there: {left}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn programs_run_beside_the_business_process() {
    let Some(mut world) = World::new("exec").await else { return };
    let one = world.serving().await;
    let script = "pwd; echo $BARGE_SERVICE $PORT; echo to the other >&2; exit 7";
    let said = all(&mut world.shell(&one, script).await).await;
    assert_eq!(said, ("/app\ngreeter 8080\n".to_owned(), "to the other\n".to_owned(), 7));

    // Input to its end, more than fits on the way.
    let mut session = world.shell(&one, "n=0; while read line; do n=$((n+1)); done; echo $n").await;
    for _ in 0..40 {
        type_in(&session, &"x".repeat(49_999)).await;
        type_in(&session, "\n").await;
    }
    session.input.send(ExecInput::End).await.unwrap();
    assert_eq!(all(&mut session).await, ("40\n".to_owned(), String::new(), 0));

    let many =
        "i=0; while [ $i -lt 20000 ]; do echo 1234567890123456789012345678901234567890123456789; i=$((i+1)); done";
    let (out, _, code) = all(&mut world.shell(&one, many).await).await;
    assert_eq!((out.len(), code), (1_000_000, 0));

    let mut session = world.shell(&one, "trap 'exit 9' INT; echo set; while :; do :; done").await;
    until(&mut session, "set").await;
    session.input.send(ExecInput::Signal(2)).await.unwrap();
    assert_eq!(all(&mut session).await.2, 9);

    for terminal in [None, Some(SIZE)] {
        let error = world.exec(&one, &["no-such-program"], terminal).await.unwrap_err();
        let text = barge_runtime::chain(&error);
        assert!(
            text.starts_with("run \"no-such-program\" in the instance: run \"no-such-program\": No such file"),
            "{text}"
        );
    }
    let error = world.exec(&one, &[], Some(SIZE)).await.unwrap_err();
    assert!(barge_runtime::chain(&error).contains("run a shell in the instance: the image has no shell; hint: "));
    world.end().await;
}

#[tokio::test]
async fn a_terminal_has_its_size_and_can_be_resized() {
    let Some(mut world) = World::new("terminal").await else { return };
    let one = world.serving().await;
    let mut session = world.exec(&one, &SHELL, Some(SIZE)).await.unwrap();
    type_in(&session, &format!("{RUN}stty size; echo do''ne\n")).await;
    let seen = until(&mut session, "done").await;
    assert!(seen.contains("33 101"), "{seen}");
    session.input.send(ExecInput::Resize(WindowSize { rows: 44, columns: 222 })).await.unwrap();
    type_in(&session, &format!("{RUN}stty size; echo ag''ain\n")).await;
    let seen = until(&mut session, "again").await;
    assert!(seen.contains("44 222"), "{seen}");
    session.input.send(ExecInput::End).await.unwrap();
    assert_eq!(all(&mut session).await.2, 0);
    world.end().await;
}

#[tokio::test]
async fn all_that_was_started_ends_with_the_connection() {
    let Some(mut world) = World::new("cut").await else { return };
    let one = world.serving().await;
    let script = format!("trap '' HUP; echo $$; {RUN}sleep 1000 & echo $!; echo end; wait; {RUN}sleep 1000");
    for terminal in [None, Some(SIZE)] {
        let start = async |world: &World| {
            let words = [&SHELL[..], &["-c", script.as_str()]].concat();
            let mut session = world.exec(&one, &words, terminal).await.unwrap();
            let seen = until(&mut session, "end").await;
            let pids: Vec<i32> = seen.lines().filter_map(|line| line.trim().parse().ok()).collect();
            assert_eq!(pids.len(), 2, "{seen}");
            (session, pids)
        };
        let (session, pids) = start(&world).await;
        // It does not read, and has more to read than fits on the way.
        type_in(&session, &"x".repeat(2_000_000)).await;
        drop(session);
        until_gone(&world, &one, &pids).await;
    }
    // The same where the engine ends.
    let other = crate::support::engine(&world.place, &world.place.namespace, &["test"]);
    let engine = std::mem::replace(&mut world.engine, other);
    let command = [&SHELL[..], &["-c", "echo $$; while :; do read line; done"]].concat();
    let command = command.iter().map(|word| (*word).to_owned()).collect();
    let request = barge_engine::ExecRequest { command, terminal: None };
    let mut session = barge_engine::Engine::exec(engine.as_ref(), &barge_world::key(), &one.id, request).await.unwrap();
    let pid: i32 = until(&mut session, "\n").await.trim().parse().unwrap();
    engine.stop().await;
    assert_eq!(next(&mut session).await, None);
    until_gone(&world, &one, &[pid]).await;
    assert!(world.report().await.instances[0].online, "the instance goes on");
    world.end().await;
}

#[tokio::test]
async fn a_held_instance_can_be_looked_into() {
    let Some(mut world) = World::new("look").await else { return };
    let broken = world.with_shell(false).await;
    world.run(1, &broken).await;
    let held = world.wait_one("the hold", |one| one.phase == InstancePhase::Held).await;
    let script = "while read line; do echo $line; done < greeter.conf";
    let (out, _, code) = all(&mut world.shell(&held, script).await).await;
    assert!(out.contains("greting = hullo") && code == 0, "{out}");
    world.end().await;
}
