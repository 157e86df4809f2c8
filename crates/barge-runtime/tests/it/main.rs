//! Tests of owned tasks, of listeners and of error chains.

// Tests say what they expect by panicking; helper functions outside of #[test] are tests as well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod listen;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use barge_runtime::{Stopped, Tasks, chain};

/// Long enough that nobody waits for it to pass.
const LONG: Duration = Duration::from_secs(3600);

/// A task that ends when it is told to; the flag says whether it was.
fn obedient(tasks: &mut Tasks) -> Arc<AtomicBool> {
    let told = Arc::new(AtomicBool::new(false));
    let (token, flag) = (tasks.shutdown_token(), Arc::clone(&told));
    tasks.spawn("obedient", async move {
        token.cancelled().await;
        flag.store(true, Ordering::SeqCst);
    });
    told
}

#[tokio::test(start_paused = true)]
async fn tasks_that_do_as_they_are_told_are_waited_for() {
    let mut tasks = Tasks::default();
    let told = obedient(&mut tasks);
    tasks.stop(LONG).await;
    assert!(told.load(Ordering::SeqCst));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_does_not_stop_is_cut_off_at_the_deadline() {
    struct Dropped(Arc<AtomicBool>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let mut tasks = Tasks::default();
    let told = obedient(&mut tasks);
    let gone = Arc::new(AtomicBool::new(false));
    let guard = Dropped(Arc::clone(&gone));
    tasks.spawn("stubborn", async move {
        let _guard = guard;
        std::future::pending::<()>().await;
    });
    // The clock of the test stands still until everybody waits, so this takes no time.
    let before = tokio::time::Instant::now();
    tasks.stop(Duration::from_secs(60)).await;
    assert_eq!(before.elapsed(), Duration::from_secs(60));
    assert!(told.load(Ordering::SeqCst));
    while !gone.load(Ordering::SeqCst) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_that_panics_stops_the_others() {
    let mut tasks = Tasks::default();
    let told = obedient(&mut tasks);
    tasks.spawn("broken", async { panic!("as this test wants it") });
    assert!(matches!(tasks.until_stopped().await, Stopped::Broke(_)));
    assert!(tasks.shutdown_token().is_cancelled());
    tasks.stop(LONG).await;
    assert!(told.load(Ordering::SeqCst));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_ends_early_stops_the_others() {
    let mut tasks = Tasks::default();
    let told = obedient(&mut tasks);
    tasks.spawn("short", async {});
    assert_eq!(tasks.until_stopped().await, Stopped::Broke("its short ended by itself".to_owned()));
    tasks.stop(LONG).await;
    assert!(told.load(Ordering::SeqCst));
}

#[tokio::test(start_paused = true)]
async fn without_tasks_the_token_alone_ends_the_wait() {
    let mut tasks = Tasks::default();
    let token = tasks.shutdown_token();
    assert!(tokio::time::timeout(LONG, tasks.until_stopped()).await.is_err());
    token.cancel();
    assert_eq!(tasks.until_stopped().await, Stopped::Asked);
}

#[tokio::test]
async fn a_signal_cancels_the_token() {
    let mut tasks = Tasks::default();
    let token = barge_runtime::cancelled_by_signal(&mut tasks).unwrap();
    assert!(!token.is_cancelled());
    let own = std::process::id().to_string();
    // The shell's own kill: this crate needs no other way to send a signal.
    let sent = std::process::Command::new("/bin/sh").args(["-c", "kill -HUP \"$0\"", &own]).status().unwrap();
    assert!(sent.success());
    tokio::time::timeout(Duration::from_secs(20), token.cancelled()).await.unwrap();
    tasks.stop(LONG).await;
}

#[derive(Debug, thiserror::Error)]
enum Layered {
    #[error("open the door")]
    Door(#[source] Box<Layered>),
    #[error("turn the key")]
    Key(#[source] std::io::Error),
    #[error("no door")]
    None,
}

#[test]
fn a_chain_says_every_cause_once() {
    let broken = || std::io::Error::other("it is broken");
    let table = [
        (Layered::None, "no door"),
        (Layered::Key(broken()), "turn the key: it is broken"),
        (Layered::Door(Box::new(Layered::Key(broken()))), "open the door: turn the key: it is broken"),
    ];
    for (error, expected) in table {
        assert_eq!(chain(&error), expected);
    }
}
