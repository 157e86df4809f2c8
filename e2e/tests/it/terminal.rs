//! Terminals and commands in instances, output, and the explanation of a failed start.

use std::io::Write;
use std::process::Stdio;

use barge_testkit::TestPlatform;

use crate::support::{greeter, greeter_version, release_first, wait_for};

#[test]
fn a_command_in_an_instance_ends_with_its_own_code_and_sees_its_environment() {
    let platform = TestPlatform::start();
    let project = greeter(&platform, 1);
    release_first(&platform, &project);
    let exec = |command: &str| platform.barge_output(&project, &["exec", "--", "sh", "-c", command]);
    let output = exec("echo out; echo err >&2; exit 42");
    assert_eq!(output.status.code(), Some(42));
    assert_eq!((output.stdout, output.stderr), (b"out\n".to_vec(), b"err\n".to_vec()));
    let seen = String::from_utf8(exec("echo $BARGE_SERVICE in $BARGE_ENVIRONMENT; ls").stdout).unwrap();
    assert_eq!(seen, "greeter in local\ngreeter\ngreeter.conf\n");

    let mut child = platform
        .command(&project, &["exec", "-m", "greeter", "--", "wc", "-c"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&vec![b'x'; 3_000_000]).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "3000000", "input arrives whole, with its end");
}

#[test]
fn a_terminal_has_the_size_of_the_one_it_is_opened_from() {
    let platform = TestPlatform::start();
    let project = greeter(&platform, 1);
    release_first(&platform, &project);
    let Some(script) = barge_testkit::tool("script") else { return };
    // `script` gives the command a terminal; stty sets the size that the instance's terminal must take over.
    let barge = barge_testkit::barge_binary();
    let line = format!("stty rows 33 cols 77; {} exec -m greeter -- stty size", barge.display());
    let command = platform.command(&project, &[]);
    let output = std::process::Command::new(script)
        .args(["-qec", &line, "/dev/null"])
        .current_dir(&project)
        .envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("33 77"), "{told}");
}

#[test]
fn output_is_followed_and_that_of_a_held_instance_is_there() {
    let platform = TestPlatform::start();
    let project = greeter(&platform, 1);
    release_first(&platform, &project);
    assert!(platform.barge(&project, &["logs"]).contains("greeter 1: listening on"));

    greeter_version(&project, "broken");
    let told = platform.barge_fails(&project, &["deploy"], 3);
    for expected in [
        "could not start",
        "it ended with exit code 1",
        "the setting \"greting_colour\" is unknown",
        "its readiness checks:",
        "its life:",
        "what serves now:",
        "1 of 1 instances available",
        "hint: ",
    ] {
        assert!(told.contains(expected), "{expected:?} is missing in:\n{told}");
    }
    let instances = platform.barge_json(&project, &["instances"]);
    let list = instances["instances"].as_array().or(instances.as_array()).unwrap();
    let held = list.iter().find(|one| one["phase"] == "held").expect("it is held");
    let id = held["id"].as_str().unwrap();
    assert!(platform.barge(&project, &["logs", "--instance", id]).contains("greting_colour"));
    let looked = platform.barge_output(&project, &["exec", "--instance", id, "--", "cat", "greeter.conf"]);
    assert!(String::from_utf8_lossy(&looked.stdout).contains("version=3"), "the scene is there to look at: {looked:?}");
    platform.barge(&project, &["abort"]);
    wait_for("the held instance to be let go", || {
        platform.barge_json(&project, &["status"])["instances"].as_array().unwrap().len() == 1
    });

    let mut follow = platform.command(&project, &["logs", "-f", "--tail", "0"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(follow.stdout.take().unwrap()));
    // Again and again: what is written before somebody follows is not shown.
    let again = "while echo written by hand >> ../output.log; do sleep 0.1; done";
    let mut writer =
        platform.command(&project, &["exec", "--", "sh", "-c", again]).stdin(Stdio::null()).spawn().unwrap();
    assert!(lines.next().unwrap().unwrap().contains("written by hand"));
    writer.kill().unwrap();
    writer.wait().unwrap();
    follow.kill().unwrap();
    follow.wait().unwrap();
}
