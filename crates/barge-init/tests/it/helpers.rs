//! Processes beside main: their order, their new starts, their end.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use barge_init::plan::Kind;
use barge_init::{Ending, Phase, Probe, Process, Status};
use nix::sys::signal::Signal;

use crate::support::{Init, alive, at_once, eventually, plan, ready, serve, shell, timeline};

fn helper(script: &str) -> Process {
    Process { command: vec!["/bin/sh".to_owned(), "-c".to_owned(), script.to_owned()], ..shell("").main }
}

fn task(script: &str) -> Process {
    Process { kind: Kind::Task, ..helper(script) }
}

#[test]
fn a_task_is_done_before_what_comes_after_it() {
    let mut plan = ready(shell("echo main; sleep 1000"));
    plan.helpers.insert("first".to_owned(), task("sleep 0.2; echo first"));
    plan.helpers.insert("second".to_owned(), Process { after: vec!["first".to_owned()], ..task("echo second") });
    plan.main.after = vec!["second".to_owned()];
    let init = Init::start(&plan);
    let status = init.wait_phase(Phase::Ready);
    let lines = eventually("three lines", || Some(init.status()?.log_tail).filter(|lines| lines.len() == 3));
    assert_eq!(lines, ["first: first", "second: second", "main"]);
    assert_eq!(status.helpers["first"].ending, Some(Ending::Exited { code: 0 }));
    let told = timeline(&status);
    assert!(told.contains("task first is done\n") && told.contains("task second is done\n"), "{told}");
}

#[test]
fn a_task_that_fails_is_a_start_that_has_failed() {
    let mut plan = shell("echo main");
    plan.helpers.insert("migrate".to_owned(), task("echo no table; exit 3"));
    plan.main.after = vec!["migrate".to_owned()];
    let mut init = Init::start(&plan);
    let status = init.wait_phase(Phase::Held);
    assert_eq!(status.reason.as_deref(), Some("the task migrate failed: exit code 3"));
    assert_eq!(status.log_tail, ["migrate: no table"], "main was never started");
    init.stop(at_once(1000));
    assert_eq!(init.exit().0, 3);
}

#[test]
fn a_helper_that_ends_is_started_again_and_disturbs_nobody() {
    let mut plan = ready(shell("sleep 1000"));
    plan.helpers.insert("shipper".to_owned(), helper("echo once more; exit 7"));
    let init = Init::start(&plan);
    let status = init.wait("a new start", |status| {
        status.phase == Phase::Ready && status.helpers.get("shipper").is_some_and(|helper| helper.restarts >= 2)
    });
    let helper = &status.helpers["shipper"];
    assert_eq!((helper.ending, helper.reason.as_deref()), (Some(Ending::Exited { code: 7 }), Some("exit code 7")));
    // The pauses grow, so the timeline is not flooded.
    assert_eq!(timeline(&status).matches("helper shipper ended").count(), 1, "{}", timeline(&status));
    assert!(status.log_tail.iter().all(|line| line == "shipper: once more"), "{:?}", status.log_tail);
}

#[test]
fn a_helper_that_cannot_be_started_is_tried_again() {
    let mut plan = ready(shell("sleep 1000"));
    plan.helpers.insert("sshd".to_owned(), Process { command: vec!["/no/such/sshd".to_owned()], ..helper("") });
    let init = Init::start(&plan);
    let status = init.wait("another try", |status| {
        status.phase == Phase::Ready && status.helpers.get("sshd").is_some_and(|helper| helper.restarts >= 1)
    });
    let reason = status.helpers["sshd"].reason.clone().unwrap();
    assert!(reason.contains("start \"/no/such/sshd\" in /"), "{reason}");
}

#[test]
fn a_helper_for_which_there_is_no_thread_is_tried_again_and_disturbs_nobody() {
    let code = Arc::new(AtomicU16::new(503));
    let answered = Arc::clone(&code);
    let mut plan = shell("sleep 1000");
    let answer = move |_: &str| format!("HTTP/1.1 {} X\r\n\r\n", answered.load(Ordering::SeqCst)).into_bytes();
    plan.port = serve(answer).port();
    plan.probe = Probe::Http { path: None };
    plan.helpers.insert("shipper".to_owned(), Process { after: vec!["main".to_owned()], ..helper("sleep 1000") });
    let init = Init::start(&plan);
    // The socket would answer from a thread, whose stack could be used again: the file does as well.
    let told =
        |what: &str, fits: &dyn Fn(&Status) -> bool| eventually(what, || init.file().filter(|status| fits(status)));
    told("a check", &|status| status.reason.as_ref().is_some_and(|reason| reason.contains("503")));
    let sizes = std::fs::read_to_string(format!("/proc/{}/status", init.pid())).unwrap();
    let size = sizes.lines().find_map(|line| line.strip_prefix("VmSize:")?.trim().strip_suffix(" kB")).unwrap();
    let size: u64 = size.parse::<u64>().unwrap() * 1024;
    let limit = |limit: String| {
        let done = Command::new("prlimit").args(["--pid", &init.pid().to_string(), &format!("--as={limit}")]).status();
        assert!(done.unwrap().success());
    };
    // Enough for a new process, and too little for the stack of a thread.
    limit(format!("{}:unlimited", size + 200 * 1024));
    code.store(200, Ordering::SeqCst);
    let status = told("a helper that could not be started", &|status| status.helpers.contains_key("shipper"));
    let reason = status.helpers["shipper"].reason.clone().unwrap();
    assert!(reason.ends_with("start a thread: Resource temporarily unavailable (os error 11)"), "{reason}");
    limit("unlimited:unlimited".to_owned());
    let pid = told("the helper", &|status| status.helpers["shipper"].pid.is_some()).helpers["shipper"].pid.unwrap();
    let status = init.wait("main as before", |status| status.phase == Phase::Ready);
    assert!(alive(pid) && alive(status.pid.unwrap()));
}

#[test]
fn a_helper_after_main_waits_until_main_is_ready() {
    let mut plan = shell("sleep 1000");
    plan.helpers.insert("shipper".to_owned(), Process { after: vec!["main".to_owned()], ..helper("sleep 1000") });
    plan.start_deadline_ms = 300;
    let init = Init::start(&plan);
    let held = init.wait_phase(Phase::Held);
    assert!(held.helpers.is_empty(), "{held:?}");

    let init = Init::start(&ready(plan));
    init.wait("the helper", |status| status.helpers.get("shipper").is_some_and(|helper| helper.pid.is_some()));
}

#[test]
fn helpers_end_last_and_whoever_does_not_is_killed() {
    let mut plan = ready(shell("trap 'echo main ends; exit 0' TERM; sleep 1000 & wait"));
    plan.helpers.insert("good".to_owned(), helper("trap 'echo good ends; exit 0' TERM; sleep 1000 & wait"));
    plan.helpers.insert("stubborn".to_owned(), helper("trap '' TERM; while :; do sleep 0.05; done"));
    let mut init = Init::start(&plan);
    let status = init.wait("helpers", |status| status.phase == Phase::Ready && status.helpers.len() == 2);
    let stubborn = status.helpers["stubborn"].pid.unwrap();
    init.signal(Signal::SIGTERM);
    assert_eq!(init.exit().0, 0);
    let status = init.file().unwrap();
    // Shells tell of their own children as well.
    let lines: Vec<&String> = status.log_tail.iter().filter(|line| line.ends_with(" ends")).collect();
    assert_eq!(lines, ["main ends", "good: good ends"]);
    assert!(!alive(stubborn));
    let told = timeline(&status);
    assert!(told.contains("helpers are still there after their grace period: killed (SIGKILL)"), "{told}");
}

#[test]
fn helpers_stay_with_a_start_that_is_held() {
    let mut plan = shell("exit 4");
    plan.helpers.insert("sshd".to_owned(), helper("sleep 1000"));
    let mut init = Init::start(&plan);
    init.wait_phase(Phase::Held);
    let status =
        init.wait("the helper", |status| status.helpers.get("sshd").is_some_and(|helper| helper.pid.is_some()));
    let pid = status.helpers["sshd"].pid.unwrap();
    assert!(alive(pid), "somebody may want to look around with its help");
    init.stop(at_once(1000));
    assert_eq!(init.exit().0, 4);
    assert!(!alive(pid));
}

#[test]
fn a_crash_ends_helpers_too_and_main_decides_the_exit_code() {
    let mut plan = ready(shell("sleep 0.3; exit 9"));
    plan.helpers.insert("sshd".to_owned(), helper("sleep 1000"));
    let mut init = Init::start(&plan);
    let status =
        init.wait("the helper", |status| status.helpers.get("sshd").is_some_and(|helper| helper.pid.is_some()));
    assert_eq!(init.exit().0, 9);
    assert!(!alive(status.helpers["sshd"].pid.unwrap()));
}

#[test]
fn plans_that_cannot_be_carried_out_are_held_with_the_reason() {
    let circle = |plan: &mut barge_init::Plan| {
        plan.helpers.insert("a".to_owned(), Process { after: vec!["b".to_owned()], ..helper("") });
        plan.helpers.insert("b".to_owned(), Process { after: vec!["a".to_owned()], ..helper("") });
    };
    type Spoil<'a> = &'a dyn Fn(&mut barge_init::Plan);
    let rows: [(Spoil<'_>, &str); 6] = [
        (&circle, "these wait for each other, so that none can start: a, b"),
        (
            &|plan| plan.main.after = vec!["nobody".to_owned()],
            "\"main\" starts after \"nobody\", which is not in the plan",
        ),
        (&|plan| plan.main.kind = Kind::Task, "main cannot be a task"),
        (&|plan| plan.main.umask = Some("9".to_owned()), "the umask \"9\" of \"main\" is not an octal number"),
        (&|plan| drop(plan.helpers.insert("main".to_owned(), helper(""))), "a helper cannot be called \"main\""),
        (
            &|plan| drop(plan.main.env.insert("A=B".to_owned(), String::new())),
            "a variable whose name is empty or has a '='",
        ),
    ];
    for (spoil, reason) in rows {
        let mut bad = plan(&["/bin/true"]);
        spoil(&mut bad);
        let init = Init::start(&bad);
        let status = init.wait_phase(Phase::Held);
        assert!(status.reason.as_deref().unwrap().contains(reason), "{:?}", status.reason);
    }
}
