//! Ends after a good start: codes, signals, grace.

use barge_init::{Ending, Phase, StopRequest};
use nix::sys::signal::Signal;

use crate::support::{Init, alive, at_once, ready, shell, timeline};

#[track_caller]
fn check_exit(script: &str, end: impl Fn(&Init), code: i32) {
    let mut init = Init::start(&ready(shell(script)));
    init.wait_phase(Phase::Ready);
    end(&init);
    assert_eq!(init.exit().0, code, "{script}");
    let status = init.file().unwrap();
    assert_eq!((status.phase, status.pid), (Phase::Ended, None));
}

/// Sends a signal once the script has said that it listens to it.
fn once_set(signal: Signal) -> impl Fn(&Init) {
    move |init| {
        init.wait_output("set");
        init.signal(signal);
    }
}

fn kill_process(signal: Signal) -> impl Fn(&Init) {
    move |init| {
        let pid = init.status().unwrap().pid.unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).unwrap();
    }
}

const LISTENING: &str = "echo set; while :; do sleep 0.01; done";

#[test]
fn a_crash_after_a_good_start_ends_with_the_process_s_code() {
    check_exit("sleep 0.3; exit 7", |_| {}, 7);
    check_exit("sleep 1000", kill_process(Signal::SIGKILL), 137);
    check_exit("sleep 1000", kill_process(Signal::SIGTERM), 143);
}

#[test]
fn a_stop_that_was_asked_for_is_no_failure() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        check_exit(LISTENING, once_set(signal), 0);
        check_exit(&format!("trap 'exit 143' TERM; {LISTENING}"), once_set(signal), 0);
        check_exit(&format!("trap 'exit 0' TERM; {LISTENING}"), once_set(signal), 0);
    }
    check_exit(LISTENING, |init| init.stop(at_once(5000)), 0);
}

#[test]
fn a_stop_comes_as_the_signal_that_asked_for_it() {
    let script = format!("trap 'exit 5' TERM; trap 'exit 6' INT; {LISTENING}");
    check_exit(&script, once_set(Signal::SIGTERM), 5);
    check_exit(&script, once_set(Signal::SIGINT), 6);
}

#[test]
fn a_stop_that_fails_keeps_its_code() {
    check_exit(&format!("trap 'exit 5' TERM; {LISTENING}"), once_set(Signal::SIGTERM), 5);
}

#[test]
fn other_signals_reach_the_process() {
    for (name, signal) in [
        ("HUP", Signal::SIGHUP),
        ("USR1", Signal::SIGUSR1),
        ("USR2", Signal::SIGUSR2),
        ("QUIT", Signal::SIGQUIT),
        ("ALRM", Signal::SIGALRM),
        ("WINCH", Signal::SIGWINCH),
        ("URG", Signal::SIGURG),
    ] {
        check_exit(&format!("trap 'echo got {name}; exit 9' {name}; {LISTENING}"), once_set(signal), 9);
    }
}

#[test]
fn real_time_signals_reach_the_process() {
    // The first of musl's, in which barge-init is put into images, and the last of all: nix knows none of them.
    for number in ["35", "64"] {
        let send = |init: &Init| {
            init.wait_output("set");
            let pid = init.pid().to_string();
            let sent = std::process::Command::new("kill").args(["-s", number, &pid]).status().unwrap();
            assert!(sent.success(), "{number}: {sent}");
        };
        check_exit(&format!("trap 'exit 9' {number}; {LISTENING}"), send, 9);
    }
}

#[test]
fn signals_of_many_kinds_at_once_do_no_harm() {
    let mut init = Init::start(&ready(shell("exec sleep 1000")));
    init.wait_phase(Phase::Ready);
    for _ in 0..1000 {
        // The process takes no notice of any of them.
        for signal in [Signal::SIGURG, Signal::SIGWINCH, Signal::SIGCONT] {
            init.signal(signal);
        }
    }
    init.stop(at_once(5000));
    assert_eq!(init.exit().0, 0, "it goes on, and ends when it is asked to");
}

#[test]
fn a_process_that_ignores_the_stop_is_killed_after_its_grace() {
    let mut init = Init::start(&ready(shell(&format!("trap '' TERM; {LISTENING}"))));
    init.wait_output("set");
    init.wait_phase(Phase::Ready);
    let pid = init.status().unwrap().pid.unwrap();
    init.stop(at_once(100));
    assert_eq!(init.exit().0, 137);
    assert!(!alive(pid));
    let status = init.file().unwrap();
    assert_eq!(status.ending, Some(Ending::Signalled { signal: 9 }));
    let steps = timeline(&status);
    assert!(steps.find("SIGTERM").unwrap() < steps.find("SIGKILL").unwrap(), "{steps}");
}

#[test]
fn a_hurried_second_stop_cuts_the_drain_short() {
    let mut init = Init::start(&ready(shell("sleep 1000")));
    init.wait_phase(Phase::Ready);
    init.stop(StopRequest { traffic: None, url: None, quiet_ms: 0, limit_ms: 600_000, grace_ms: 600_000 });
    let status = init.wait_phase(Phase::Stopping);
    assert!(status.pid.is_some(), "draining does not end the process");
    init.stop(at_once(5000));
    assert_eq!(init.exit().0, 0);
}

#[test]
fn a_stop_during_the_start_is_no_failed_start() {
    let mut init = Init::start(&shell("sleep 1000"));
    init.wait("a process", |status| status.pid.is_some());
    init.stop(at_once(5000));
    assert_eq!(init.exit().0, 0);
    assert_eq!(init.file().unwrap().phase, Phase::Ended);
}
