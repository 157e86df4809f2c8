//! Programs beside an instance's process.

use std::time::Duration;

use barge_engine::{Engine, EngineError, ExecInput, ExecOutput, ExecRequest, ExecSession, WindowSize};
use barge_model::rollout::InstancePhase;
use bytes::Bytes;

use crate::support::{World, alive, eventually, key, release};

async fn start(world: &World, command: &[&str], terminal: Option<WindowSize>) -> Result<ExecSession, EngineError> {
    let instance = world.report().await.instances[0].id.clone();
    let command = command.iter().map(|word| (*word).to_owned()).collect();
    world.engine.exec(&key(), &instance, ExecRequest { command, terminal }).await
}

async fn shell(world: &World, script: &str) -> ExecSession {
    start(world, &["/bin/sh", "-c", script], None).await.unwrap()
}

async fn next(session: &mut ExecSession) -> Option<ExecOutput> {
    tokio::time::timeout(Duration::from_secs(20), session.output.recv()).await.expect("output")
}

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

const SIZE: WindowSize = WindowSize { rows: 33, columns: 101 };

#[tokio::test]
async fn a_program_runs_in_the_instance_s_place() {
    let world = World::serving(1).await;
    let instance = world.report().await.instances[0].clone();
    let script = "pwd; cat version.txt; echo; echo $BARGE_INSTANCE; echo to the other >&2; exit 7";
    let (out, err, code) = all(&mut shell(&world, script).await).await;
    let home = world.instance_directory(&instance.id).join("app");
    assert_eq!(out, format!("{}\none\n{}\n", home.display(), instance.id));
    assert_eq!((err.as_str(), code), ("to the other\n", 7));
}

#[tokio::test]
async fn input_goes_in_to_its_end() {
    let world = World::serving(1).await;
    let mut session = start(&world, &["wc", "-c"], None).await.unwrap();
    let piece = "x".repeat(50_000);
    for _ in 0..40 {
        type_in(&session, &piece).await;
    }
    session.input.send(ExecInput::End).await.unwrap();
    let (out, _, code) = all(&mut session).await;
    assert_eq!((out.trim(), code), ("2000000", 0));
}

#[tokio::test]
async fn much_output_comes_whole() {
    let world = World::serving(1).await;
    let (out, _, code) = all(&mut shell(&world, "yes 123456789 | head -n 200000").await).await;
    assert_eq!((out.len(), code), (2_000_000, 0));
}

#[tokio::test]
async fn a_terminal_has_its_size_and_can_be_resized() {
    let world = World::serving(1).await;
    let mut session = start(&world, &["/bin/sh"], Some(SIZE)).await.unwrap();
    type_in(&session, "stty size; echo do''ne\n").await;
    let seen = until(&mut session, "done").await;
    assert!(seen.contains("33 101"), "{seen}");
    session.input.send(ExecInput::Resize(WindowSize { rows: 44, columns: 222 })).await.unwrap();
    type_in(&session, "stty size; echo ag''ain\n").await;
    let seen = until(&mut session, "again").await;
    assert!(seen.contains("44 222"), "{seen}");
    session.input.send(ExecInput::End).await.unwrap();
    assert_eq!(all(&mut session).await.2, 0);
}

#[tokio::test]
async fn a_terminal_without_a_command_gets_a_shell() {
    let world = World::serving(1).await;
    let mut session = start(&world, &[], Some(SIZE)).await.unwrap();
    type_in(&session, "exit 5\n").await;
    assert_eq!(all(&mut session).await.2, 5);
}

#[tokio::test]
async fn a_signal_reaches_the_program() {
    let world = World::serving(1).await;
    // Ignored, as it is by whatever a script starts in the background, it would be ignored by the program as well. A platform listens to it.
    let _listening = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt()).unwrap();
    let mut session = shell(&world, "trap 'exit 9' INT; sleep 1000 & echo set; wait").await;
    until(&mut session, "set").await;
    session.input.send(ExecInput::Signal(2)).await.unwrap();
    assert_eq!(all(&mut session).await.2, 9);
    let mut killed = start(&world, &["sleep", "1000"], None).await.unwrap();
    killed.input.send(ExecInput::Signal(9)).await.unwrap();
    assert_eq!(all(&mut killed).await.2, 137);
}

#[tokio::test]
async fn a_dropped_session_ends_all_that_it_has_started() {
    let world = World::serving(1).await;
    // The second one has a session of its own, and would outlive a terminal.
    let script = "trap '' HUP; echo $$; setsid sleep 1000 & echo $!; echo end; wait; sleep 1000";
    for terminal in [None, Some(SIZE)] {
        let mut session = start(&world, &["/bin/sh", "-c", script], terminal).await.unwrap();
        let seen = until(&mut session, "end").await;
        let pids: Vec<i32> = seen.lines().filter_map(|line| line.trim().parse().ok()).collect();
        assert_eq!(pids.len(), 2, "{seen}");
        assert!(pids.iter().all(|pid| alive(*pid)));
        drop(session);
        eventually("their end", || pids.iter().all(|pid| !alive(*pid))).await;
    }
    assert!(world.report().await.instances[0].online, "the instance goes on");
}

#[tokio::test]
async fn a_program_that_does_not_read_holds_nobody_up() {
    let world = World::serving(1).await;
    let mut session = shell(&world, "echo $$; sleep 1000").await;
    let pid: i32 = until(&mut session, "\n").await.trim().parse().unwrap();
    for _ in 0..20 {
        type_in(&session, &"x".repeat(50_000)).await;
    }
    session.input.send(ExecInput::Signal(15)).await.unwrap();
    assert_eq!(all(&mut session).await.2, 143);
    assert!(!alive(pid));

    let mut dropped = shell(&world, "echo $$; sleep 1000").await;
    let pid: i32 = until(&mut dropped, "\n").await.trim().parse().unwrap();
    // More than any pipe takes: the rest waits.
    type_in(&dropped, &"x".repeat(2_000_000)).await;
    drop(dropped);
    eventually("its end", || !alive(pid)).await;
}

#[tokio::test]
async fn what_a_program_leaves_in_the_background_ends_with_it() {
    let world = World::serving(1).await;
    let mut session = shell(&world, "sleep 1000 & echo $!").await;
    let (out, _, code) = all(&mut session).await;
    assert_eq!(code, 0);
    let left: i32 = out.trim().parse().unwrap();
    eventually("its end", || !alive(left)).await;
}

#[tokio::test]
async fn a_held_instance_can_be_looked_into() {
    let mut world = World::new().await;
    let broken = release(&world.image("two", true).await);
    world.apply(broken, 1).await;
    world.wait_one("the hold", |instance| instance.phase == InstancePhase::Held).await;
    let (out, _, code) = all(&mut shell(&world, "ls").await).await;
    assert_eq!((out.as_str(), code), ("broken\nservice\nversion.txt\n", 0));
}

#[tokio::test]
async fn a_program_that_is_not_there_is_an_error() {
    let world = World::serving(1).await;
    for terminal in [None, Some(SIZE)] {
        let error = start(&world, &["no-such-program"], terminal).await.unwrap_err();
        let text = barge_runtime::chain(&error);
        assert!(text.contains("run \"no-such-program\" in the instance: No such file"), "{text}");
    }
}

#[tokio::test]
async fn a_reader_that_is_slower_than_the_program_gets_all_of_it() {
    let world = World::serving(1).await;
    // More than fits into the queue, so that most of it waits in a pipe when the program has ended.
    let script = "head -c 1500000 /dev/zero | tr '\\0' x; echo; echo the end";
    let mut session = shell(&world, script).await;
    let first = next(&mut session).await;
    assert!(matches!(first, Some(ExecOutput::Stdout(_))), "{first:?}");
    // A pager that nobody scrolls: longer than output may be silent after a program's end.
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let Some(ExecOutput::Stdout(first)) = first else { return };
    let (out, _, code) = all(&mut session).await;
    assert_eq!((first.len() + out.len(), code), (1_500_000 + "\nthe end\n".len(), 0));
}
