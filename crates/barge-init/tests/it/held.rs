//! A start that fails is held: nothing is started again, and the scene says why.

use std::os::unix::fs::PermissionsExt;

use barge_init::{Ending, Phase, Plan};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::support::{Init, alive, at_once, eventually, plan, shell, timeline};

#[track_caller]
fn check_held(plan: &Plan, ending: Ending, reason: &str) -> Init {
    let init = Init::start(plan);
    let status = init.wait_phase(Phase::Held);
    assert_eq!(status.ending, Some(ending), "{status:#?}");
    assert!(status.reason.as_ref().unwrap().contains(reason), "{status:#?}");
    assert!(timeline(&status).contains("start failed, held"), "{status:#?}");
    assert_eq!(status.pid, None);
    // The socket and the file say the same; the file a moment later.
    eventually("the file", || init.file().filter(|written| *written == status));
    init
}

/// A directory with a file `run` in it.
fn directory_with(text: &str, mode: u32) -> TempDir {
    let directory = TempDir::new().unwrap();
    std::fs::write(directory.path().join("run"), text).unwrap();
    std::fs::set_permissions(directory.path().join("run"), std::fs::Permissions::from_mode(mode)).unwrap();
    directory
}

#[test]
fn an_exit_before_readiness_is_held_with_the_last_lines() {
    let plan = shell("echo one; echo two >&2; printf three; exit 3");
    let init = check_held(&plan, Ending::Exited { code: 3 }, "ended before it was ready");
    let status = init.status().unwrap();
    let mut lines = status.log_tail;
    lines.sort();
    assert_eq!(lines, ["one", "three", "two"]);
    assert!(!status.probes.is_empty() || status.reason.is_some());
}

#[test]
fn an_exit_without_failure_says_what_a_service_must_do() {
    check_held(&shell("exit 0"), Ending::Exited { code: 0 }, "stay in the foreground");
}

#[test]
fn a_death_by_signal_is_held() {
    check_held(&shell("kill -SEGV $$$$"), Ending::Signalled { signal: 11 }, "ended before it was ready");
}

#[test]
fn a_command_that_is_not_there_is_held_with_127() {
    check_held(&plan(&["./no-such-program"]), Ending::Exited { code: 127 }, "start \"./no-such-program\" in /");
    check_held(&plan(&["no-such-program"]), Ending::Exited { code: 127 }, "No such file");
}

#[test]
fn a_missing_interpreter_is_named() {
    let directory = directory_with("#!/no/such/interpreter\n", 0o755);
    let mut plan = plan(&["./run"]);
    plan.main.working_directory = directory.path().to_owned();
    check_held(&plan, Ending::Exited { code: 127 }, "interpreter in its first line");
}

#[test]
fn what_cannot_be_executed_is_held_with_126() {
    for (text, mode, reason) in [("#!/bin/sh\n", 0o644, "chmod +x"), ("no program\n", 0o755, "names an interpreter")] {
        let directory = directory_with(text, mode);
        let mut plan = plan(&["./run"]);
        plan.main.working_directory = directory.path().to_owned();
        check_held(&plan, Ending::Exited { code: 126 }, reason);
    }
}

#[test]
fn what_never_came_to_a_start_is_held() {
    let mut nowhere = shell("exit 0");
    nowhere.main.working_directory = "/no/such/directory".into();
    check_held(&nowhere, Ending::NotStarted, "enter the working directory /no/such/directory");

    check_held(&plan(&[]), Ending::NotStarted, "the command of \"main\" is empty");

    let mut template = shell("exit 0");
    template.templates = vec!["no-such.template".to_owned()];
    check_held(&template, Ending::NotStarted, "fill template no-such.template");

    let mut group = shell("exit 0");
    group.groups = vec!["/no/such/group/cgroup.procs".into()];
    check_held(&group, Ending::NotStarted, "open the group that limits the instance");
}

#[test]
fn a_start_that_takes_too_long_is_ended_and_held() {
    let mut plan = shell("trap '' TERM; echo waiting for the database; sleep 1000");
    plan.start_deadline_ms = 300;
    let init = check_held(&plan, Ending::Signalled { signal: 9 }, "it was not ready within 300 ms");
    let status = init.status().unwrap();
    let reason = status.reason.unwrap();
    assert!(reason.contains("nobody listens there") && reason.ends_with(')'), "{reason}");
    assert_eq!(status.log_tail, ["waiting for the database"]);
    assert!(status.probes.iter().any(|probe| !probe.ok && probe.times > 1), "{:?}", status.probes);
}

#[test]
fn a_held_start_leaves_no_process_behind() {
    // One in the process's group, one in a session of its own.
    let init = Init::start(&shell("sleep 1000 & echo $!; setsid sleep 1001 & exit 1"));
    init.wait_phase(Phase::Held);
    let pid: i32 = init.output().lines().next().unwrap().parse().unwrap();
    assert!(!alive(pid));
    assert_eq!(crate::support::children(init.pid()), []);
}

#[test]
fn a_hold_ends_at_its_limit_with_the_code_of_the_start() {
    let mut plan = shell("exit 3");
    plan.hold_limit_ms = 50;
    let mut init = Init::start(&plan);
    assert_eq!(init.exit().0, 3);
    let status = init.file().unwrap();
    assert_eq!(status.phase, Phase::Ended);
    assert!(timeline(&status).contains("the hold has reached its limit"));
}

#[test]
fn a_hold_ends_when_somebody_asks() {
    let mut by_signal = Init::start(&shell("exit 3"));
    by_signal.wait_phase(Phase::Held);
    by_signal.signal(Signal::SIGTERM);
    assert_eq!(by_signal.exit().0, 3);

    let mut by_request = Init::start(&shell("exit 4"));
    by_request.wait_phase(Phase::Held);
    by_request.stop(at_once(1000));
    assert_eq!(by_request.exit().0, 4);
}

#[test]
fn templates_are_filled_before_the_start_and_keep_their_mode() {
    let directory = TempDir::new().unwrap();
    let template = directory.path().join("run.sh.template");
    std::fs::write(&template, "#!/bin/sh\necho port ${PORT} and $PORT\nexit 1\n").unwrap();
    std::fs::set_permissions(&template, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut plan = plan(&["./run.sh", "$PORT"]);
    plan.main.working_directory = directory.path().to_owned();
    plan.main.env.insert("PORT".to_owned(), "8123".to_owned());
    plan.templates = vec!["run.sh.template".to_owned()];
    let init = Init::start(&plan);
    let status = init.wait_phase(Phase::Held);
    assert_eq!(status.log_tail, ["port 8123 and 8123"]);
}

#[test]
fn the_process_has_the_plans_environment_and_the_mark_alone() {
    let mut plan = shell("env; exit 1");
    plan.main.env.insert("GREETING".to_owned(), "a b\"c".to_owned());
    let init = Init::start(&plan);
    let tail = eventually("the end", || init.status().filter(|status| status.phase == Phase::Held)).log_tail;
    let names: Vec<&str> = tail.iter().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    assert!(tail.contains(&"GREETING=a b\"c".to_owned()), "{tail:?}");
    assert!(tail.contains(&format!("BARGE_INSTANCE={}", plan.instance)), "{tail:?}");
    // The shell adds its own.
    let foreign =
        names.iter().find(|name| !["GREETING", "BARGE_INSTANCE", "PATH", "PWD", "SHLVL", "_", "OLDPWD"].contains(name));
    assert_eq!(foreign, None);
}
