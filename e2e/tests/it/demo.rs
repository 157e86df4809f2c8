//! `barge demo`, as the README begins: every act, no failed request, nothing left behind.

use std::process::{Command, Stdio};

use barge_testkit::barge_binary;

#[test]
fn the_demo_loses_no_request_and_leaves_nothing_behind() {
    let home = tempfile::tempdir().unwrap();
    let output = Command::new(barge_binary())
        .args(["demo", "--json", "--replicas", "3"])
        .env("TMPDIR", home.path())
        .env("HOME", home.path())
        .env_remove("XDG_CONFIG_HOME")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    let from = out.rfind("\n{\n").map_or(0, |at| at + 1);
    let document: serde_json::Value = serde_json::from_str(&out[from..]).unwrap_or_else(|e| panic!("{e}: {out}"));
    assert_eq!(document["failed"], 0);
    let phases = document["phases"].as_array().unwrap();
    assert_eq!(phases.len(), 7, "{document}");
    assert!(phases.iter().all(|phase| phase["requests"].as_u64().unwrap() > 0), "{document}");
    let left: Vec<_> = std::fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
    assert_eq!(barge_testkit::instance_processes(home.path()), [0; 0], "processes are left behind");
}

#[test]
fn the_demo_reads_as_a_story() {
    let home = tempfile::tempdir().unwrap();
    let output =
        Command::new(barge_binary()).args(["demo", "--replicas", "2"]).env("TMPDIR", home.path()).output().unwrap();
    assert!(output.status.success());
    let told = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    for expected in [
        "$ barge deploy --reason 'a better greeting'",
        "the first instance runs; the gate is closed",
        "$ barge approve --wait complete",
        "A very good day to you from greeter 2",
        "the setting \"greting_colour\" is unknown",
        "$ barge rollback --wait complete",
        "release 4 is complete",
        "slowest",
    ] {
        assert!(told.contains(expected), "{expected:?} is missing in:\n{told}");
    }
}
