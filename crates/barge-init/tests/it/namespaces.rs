//! barge-init as PID 1 of a PID namespace, which is what it is in a container. `cargo xtask bench init` tries the same cases at length,
//! and beside the programs that others use.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use barge_init::plan::Forward;
use barge_init::{Phase, Plan, Process};
use tempfile::TempDir;

use crate::support::{Init, PROGRAM, children, eventually, plan, ready, shell};

/// A command that runs barge-init as PID 1; none, said aloud, where that is not permitted.
fn as_pid_1() -> Option<Command> {
    static PERMITTED: OnceLock<bool> = OnceLock::new();
    let unshare = || Some(namespace(&barge_testkit::tool("unshare")?));
    let mut trial = unshare()?;
    if !*PERMITTED.get_or_init(|| trial.arg("true").output().is_ok_and(|output| output.status.success())) {
        barge_testkit::skipped("no PID namespace may be made here");
        return None;
    }
    let mut command = unshare()?;
    command.arg(PROGRAM);
    Some(command)
}

fn namespace(unshare: &PathBuf) -> Command {
    let mut command = Command::new(unshare);
    command.args(["--pid", "--fork", "--mount-proc", "--kill-child", "--"]);
    command
}

/// barge-init as PID 1 with a plan.
fn start(plan: &Plan) -> Option<Init> {
    let temporary = TempDir::new().unwrap();
    Some(Init::start_in(temporary.path().to_owned(), temporary, plan, as_pid_1()?))
}

/// PID 1, as it is called outside.
fn pid_1(init: &Init) -> i32 {
    eventually("PID 1", || children(init.pid()).first().map(|(pid, _)| *pid))
}

/// Sends PID 1 a signal, by its name or its number.
fn send(init: &Init, signal: &str) {
    let sent = Command::new("kill").args(["-s", signal, &pid_1(init).to_string()]).status().unwrap();
    assert!(sent.success(), "{signal}: {sent}");
}

/// The exit code of PID 1 that runs a script, told in words.
fn code_of(script: &str) -> Option<i32> {
    let mut child = spawn(&["--", "/bin/sh", "-c", script])?;
    eventually("the end", || child.try_wait().unwrap()).code()
}

fn spawn(words: &[&str]) -> Option<Child> {
    let mut command = as_pid_1()?;
    Some(command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

#[test]
fn as_pid_1_it_reaps_what_is_left_to_it() {
    let script = "i=0; while [ $i -lt 500 ]; do (: & ); i=$((i+1)); done; echo all; sleep 1000";
    let Some(init) = start(&ready(shell(script))) else { return };
    init.wait_output("all");
    let pid = pid_1(&init);
    eventually("the process alone", || {
        let left = children(pid);
        (left.len() == 1 && left[0].1 != "Z").then_some(())
    });
}

#[test]
fn as_pid_1_it_passes_every_signal_on_as_it_is() {
    let signals = ["HUP", "QUIT", "USR1", "USR2", "WINCH", "TSTP", "CONT", "ALRM", "36", "INT", "TERM"];
    let traps: String = signals.iter().map(|name| format!("trap 'echo got {name}.' {name}; ")).collect();
    let mut plan = ready(shell(&format!("{traps} echo set; while :; do sleep 0.01; done")));
    // To the shell alone: what it waits for would be stopped by SIGTSTP.
    plan.signals = Forward::Process;
    let Some(init) = start(&plan) else { return };
    init.wait_output("set");
    for signal in signals {
        send(&init, signal);
        init.wait_output(&format!("got {signal}."));
    }
}

#[test]
fn as_pid_1_it_ends_as_the_process_ended() {
    for (script, code) in
        [("exit 0", 0), ("exit 3", 3), ("exit 255", 255), ("kill -KILL $$", 137), ("kill -USR1 $$", 138)]
    {
        let Some(told) = code_of(script) else { return };
        assert_eq!(told, code, "{script}");
    }
}

#[test]
fn as_pid_1_a_stop_that_was_asked_for_ends_with_0() {
    let Some(mut init) = start(&ready(shell("echo set; sleep 1000"))) else { return };
    init.wait_output("set");
    send(&init, "TERM");
    assert_eq!(init.exit().0, 0);
}

#[test]
fn as_pid_1_it_ends_what_the_process_has_left_behind() {
    // One in a session of its own that ignores SIGTERM, one that has ended and left it.
    let script = "(setsid sh -c \"trap '' TERM; echo daemon; sleep 1000\" &); sleep 1000";
    let Some(mut init) = start(&ready(shell(script))) else { return };
    init.wait_output("daemon");
    let pid = pid_1(&init);
    let daemon = eventually("the adoption", || {
        let adopted = children(pid);
        (adopted.len() == 2).then(|| adopted[1].0)
    });
    send(&init, "TERM");
    assert_eq!(init.exit().0, 0);
    assert!(!crate::support::alive(daemon));
}

#[test]
fn as_pid_1_it_kills_a_process_that_ignores_the_stop() {
    let mut plan = ready(shell("trap '' TERM; echo set; while :; do sleep 0.01; done"));
    plan.stop.grace_ms = 200;
    let Some(mut init) = start(&plan) else { return };
    init.wait_output("set");
    send(&init, "TERM");
    assert_eq!(init.exit().0, 137);
}

#[test]
fn as_pid_1_it_restarts_a_helper_that_crashes_and_leaves_main_alone() {
    let mut plan = ready(shell("echo main; sleep 1000"));
    let helper = Process { command: vec!["/bin/false".to_owned()], ..Process::default() };
    plan.helpers.insert("helper".to_owned(), helper);
    let Some(init) = start(&plan) else { return };
    init.wait_phase(Phase::Ready);
    let first =
        init.wait("a restart", |status| status.helpers.get("helper").is_some_and(|helper| helper.restarts >= 1));
    let then = std::time::Instant::now();
    let later = init.wait("two more", |status| status.helpers.get("helper").is_some_and(|helper| helper.restarts >= 3));
    // One second, then two; both began a little before they were seen.
    assert!(then.elapsed() > std::time::Duration::from_millis(2500), "{:?}", then.elapsed());
    assert_eq!((first.pid, first.phase), (later.pid, later.phase));
    assert_eq!(init.output(), "main\n");
}

#[test]
fn as_pid_1_it_holds_a_start_that_has_failed_and_no_later_crash() {
    let Some(mut failed) = start(&shell("exit 3")) else { return };
    failed.wait_phase(Phase::Held);
    assert_eq!(children(pid_1(&failed)), []);
    send(&failed, "TERM");
    assert_eq!(failed.exit().0, 3);

    let Some(mut crashed) = start(&ready(plan(&["/bin/sh", "-c", "trap 'exit 4' USR1; echo set; sleep 1000 & wait"])))
    else {
        return;
    };
    crashed.wait_output("set");
    crashed.wait_phase(Phase::Ready);
    send(&crashed, "USR1");
    assert_eq!(crashed.exit().0, 4);
}
