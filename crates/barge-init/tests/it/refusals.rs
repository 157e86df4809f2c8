//! What barge-init refuses, and how it says so.

use std::process::{Command, Output};

use barge_init::{Phase, files};
use tempfile::TempDir;

use crate::support::{Init, PROGRAM, shell};

fn run(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).output().unwrap()
}

#[track_caller]
fn check_refused(output: &Output, code: i32, text: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(stderr.contains(text), "{stderr}");
}

#[test]
fn a_plan_that_is_missing_or_broken_is_an_error_that_names_it() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().to_str().unwrap();
    check_refused(&run(&["run", path]), 125, "read the plan");
    for (text, words) in [
        ("", "EOF while parsing"),
        ("not JSON", "expected ident"),
        ("{}", "missing field `instance`"),
        ("[1, 2]", "understand the plan"),
    ] {
        std::fs::write(directory.path().join(files::PLAN), text).unwrap();
        let output = run(&["run", path]);
        check_refused(&output, 125, "understand the plan");
        check_refused(&output, 125, words);
    }
    check_refused(&run(&["run", "/no/such/directory"]), 125, "No such file or directory");
}

#[test]
fn a_second_barge_init_in_the_same_directory_is_refused() {
    let init = Init::start(&shell("exit 1"));
    let before = init.wait_phase(Phase::Held);
    check_refused(&run(&["run", init.directory.to_str().unwrap()]), 125, "another barge-init lives there");
    assert_eq!(init.status().unwrap(), before);
}

#[test]
fn a_directory_can_be_used_again_when_its_barge_init_is_gone() {
    let mut init = Init::start(&shell("exit 1"));
    init.wait_phase(Phase::Held);
    init.signal(nix::sys::signal::Signal::SIGKILL);
    init.exit();
    let mut plan = shell("exit 2");
    plan.hold_limit_ms = 0;
    std::fs::write(init.directory.join(files::PLAN), serde_json::to_vec(&plan).unwrap()).unwrap();
    let output = run(&["run", init.directory.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn other_arguments_get_the_usage() {
    for arguments in [&[][..], &["run"], &["walk", "/tmp"], &["run", "/tmp", "more", "than"]] {
        check_refused(&run(arguments), 64, "usage: barge-init [OPTIONS] -- COMMAND");
    }
}

#[test]
fn help_is_an_answer() {
    for option in ["--help", "-h"] {
        let output = run(&[option]);
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("usage: barge-init [OPTIONS] -- COMMAND"));
    }
}

#[test]
fn whoever_does_not_read_an_answer_to_its_end_does_no_harm() {
    for arguments in [&["--help"][..], &["--version"], &["walk"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = std::process::Command::new(crate::support::PROGRAM);
        command.args(arguments).stdout(writer.try_clone().unwrap()).stderr(writer);
        let code = command.status().unwrap().code();
        assert!(matches!(code, Some(0 | 64)), "{arguments:?}: {code:?}");
    }
}

#[test]
fn the_status_can_be_asked_for_on_the_command_line() {
    let init = Init::start(&shell("exit 1"));
    init.wait_phase(Phase::Held);
    let path = init.directory.to_str().unwrap();
    let output = run(&["status", path]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("\"phase\": \"held\""));
    let nobody = TempDir::new().unwrap();
    check_refused(&run(&["status", nobody.path().to_str().unwrap()]), 1, "connect to barge-init in");
}

#[test]
fn a_very_long_path_works() {
    let temporary = TempDir::new().unwrap();
    let mut directory = temporary.path().to_owned();
    for _ in 0..4 {
        directory.push("d".repeat(200));
    }
    std::fs::create_dir_all(&directory).unwrap();
    let init = Init::start_in(directory, temporary, &shell("exit 1"), Command::new(PROGRAM));
    init.wait_phase(Phase::Held);
    assert!(barge_init::Client::connect(&init.directory).is_ok());
}
