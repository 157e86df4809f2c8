//! What processes inherit, and what becomes of those that they leave behind.

use barge_init::processes::{EXEC_MARK, INSTANCE_MARK, end_leftovers, end_leftovers_of, end_marked_exec};
use barge_init::{Phase, Status, files};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;

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

/// A barge-init that was killed, whose processes have all lost their mark: its last status, and the ids of its process, one in the
/// process's group, and one in a session of its own.
fn unmarked_orphans() -> (Init, Status, [i32; 3]) {
    let sleep = "env -i /bin/sleep";
    let script = format!("{sleep} 1001 & echo $!; setsid {sleep} 1002 & echo $!; exec {sleep} 1003");
    let plan = ready(shell(&script));
    let init = Init::start(&plan);
    let pid = init.wait_phase(Phase::Ready).pid.unwrap();
    let others = eventually("two more processes", || {
        let output = init.output();
        let pids: Vec<i32> = output.lines().filter_map(|line| line.parse().ok()).collect();
        <[i32; 2]>::try_from(pids).ok().filter(|_| output.ends_with('\n'))
    });
    let pids = [pid, others[0], others[1]];
    for (pid, seconds) in pids.iter().zip(["1003", "1001", "1002"]) {
        let command = || std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        eventually("the sleep itself", || (command() == format!("/bin/sleep\0{seconds}\0")).then_some(()));
    }
    init.signal(Signal::SIGKILL);
    eventually("barge-init's end", || (!alive(init.pid())).then_some(()));
    let status = init.file().unwrap();
    assert_eq!(end_leftovers(&plan.instance), 0, "the mark finds none of them");
    (init, status, pids)
}

#[test]
fn what_has_lost_its_mark_is_found_by_the_id_and_the_time_of_its_start() {
    let (_init, status, pids) = unmarked_orphans();
    // Ids that were given to somebody else since.
    let mut later = status.clone();
    later.process.as_mut().unwrap().start_time += 1;
    let mut rebooted = status.clone();
    rebooted.process.as_mut().unwrap().boot = "another".to_owned();
    let mut unknown = status.clone();
    unknown.process = None;
    for strangers in [later, rebooted, unknown] {
        assert_eq!(end_leftovers_of(&strangers.instance, Some(&strangers)), 0, "{:?}", strangers.process);
    }
    assert!(pids.into_iter().all(alive));
    assert_eq!(end_leftovers_of(&status.instance, Some(&status)), 3);
    assert!(!pids.into_iter().any(alive), "they are gone when it answers");
}

#[test]
fn a_group_whose_process_has_ended_as_well_is_found() {
    let (_init, status, [pid, in_group, elsewhere]) = unmarked_orphans();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    eventually("the process's end", || (!alive(pid)).then_some(()));
    assert_eq!(end_leftovers_of(&status.instance, Some(&status)), 1);
    assert!(!alive(in_group));
    // Nothing is left that could tell whose this one is.
    assert!(alive(elsewhere));
    kill(Pid::from_raw(elsewhere), Signal::SIGKILL).unwrap();
}
