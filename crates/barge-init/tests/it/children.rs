//! What processes inherit, and what becomes of those that they leave behind.

use barge_init::processes::{EXEC_MARK, INSTANCE_MARK, end_leftovers, end_marked_exec};
use barge_init::{Phase, files};
use nix::sys::signal::{SigSet, Signal};

use crate::support::{Init, alive, at_once, children, eventually, ready, shell};

#[test]
fn children_that_were_left_behind_are_reaped() {
    let script = "i=0; while [ $i -lt 200 ]; do (: & ); i=$((i+1)); done; echo all; sleep 1000";
    let init = Init::start(&ready(shell(script)));
    init.wait_output("all");
    eventually("the process alone", || {
        let left = children(init.pid());
        (left.len() == 1 && left[0].1 != "Z").then_some(())
    });
}

#[test]
fn a_daemon_is_adopted_and_ends_with_the_instance() {
    // The shell in the middle ends, so the sleeper belongs to barge-init; its session is its own.
    let script = "(setsid sleep 1000 & echo $! >&3) 3>&1; sleep 1000";
    let mut init = Init::start(&ready(shell(script)));
    let daemon: i32 = init.wait_output("\n").trim().parse().unwrap();
    eventually("the adoption", || children(init.pid()).iter().any(|(pid, _)| *pid == daemon).then_some(()));
    init.wait_phase(Phase::Ready);
    init.stop(at_once(5000));
    assert_eq!(init.exit().0, 0);
    assert!(!alive(daemon));
}

#[test]
fn no_file_leaks_into_the_process() {
    let init = Init::start_after("exec 7</dev/null 9>/dev/null", &shell("exec ls -l /proc/self/fd"));
    let tail = init.wait_phase(Phase::Held).log_tail;
    // 3 is the directory that ls itself reads.
    let numbers: Vec<&str> =
        tail.iter().filter_map(|line| line.split_once(" -> ")?.0.split_whitespace().last()).collect();
    assert_eq!(numbers, ["0", "1", "2", "3"], "{tail:#?}");
    assert!(tail.iter().any(|line| line.contains("0 -> /dev/null")), "{tail:#?}");
    let own = std::fs::read_dir(format!("/proc/{}/fd", init.pid())).unwrap().flatten();
    let kept: Vec<_> = own.filter_map(|entry| std::fs::read_link(entry.path()).ok()).collect();
    let foreign = kept.iter().filter(|target| target.to_str() == Some("/dev/null")).count();
    assert!(foreign <= 2, "standard input and output alone: {kept:?}");
}

#[test]
fn the_process_starts_with_signals_as_they_are_by_default() {
    // The mask of this thread goes on to barge-init; what a shell ignores, its children ignore.
    let mut blocked = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGUSR1, Signal::SIGCHLD, Signal::SIGPIPE] {
        blocked.add(signal);
    }
    blocked.thread_block().unwrap();
    let ignored = "trap '' HUP INT QUIT USR1 USR2 PIPE TERM ALRM TSTP TTIN TTOU XCPU";
    let init = Init::start_after(ignored, &shell("cat /proc/self/status; exit 1"));
    blocked.thread_unblock().unwrap();
    let tail = init.wait_phase(Phase::Held).log_tail;
    let signals = |name: &str| {
        let value = tail.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t")).unwrap();
        // Bits of 32 and 33 are the C library's own: no program can set them.
        u64::from_str_radix(value, 16).unwrap() & !0x1_8000_0000
    };
    assert_eq!((signals("SigBlk"), signals("SigIgn")), (0, 0));
}

#[test]
fn what_outlives_a_killed_barge_init_is_found_by_its_mark() {
    let plan = ready(shell("sleep 1000 & echo $!; sleep 1000"));
    let init = Init::start(&plan);
    let pid = init.wait_phase(Phase::Ready).pid.unwrap();
    let second: i32 = init.wait_output("\n").trim().parse().unwrap();
    init.signal(Signal::SIGKILL);
    // A shell that somebody has opened beside the process.
    let mut beside = std::process::Command::new("/bin/sleep")
        .arg("1000")
        .env(INSTANCE_MARK, &plan.instance)
        .env(EXEC_MARK, "somebody")
        .spawn()
        .unwrap();
    eventually("barge-init's end", || (barge_init::Client::connect(&init.directory).is_err()).then_some(()));
    assert!(alive(pid) && alive(second));
    assert_eq!(end_leftovers("another instance"), 0);
    // The shell, and both of the programs that it has started.
    assert_eq!(end_leftovers(&plan.instance), 3);
    assert!(!alive(pid) && !alive(second), "they are gone when it answers");
    assert!(beside.try_wait().unwrap().is_none());
    assert_eq!(end_marked_exec("nobody"), 0);
    assert_eq!(end_marked_exec("somebody"), 1);
    beside.wait().unwrap();
    assert_eq!(init.file().unwrap().phase, Phase::Ready, "its last word stays in {}", files::STATUS);
}
