//! Several people at once, each with a command line: one change is made, and everybody is told what has become of his.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use barge_testkit::TestPlatform;

use crate::behaviours::{candidates, instances};
use crate::support::{answers, greeter, greeter_in, greeter_version, load_plan, release_first, under_load, wait_for};

/// Runs commands at the same time.
fn at_once<const N: usize>(commands: [Command; N]) -> [Output; N] {
    let children = commands.map(|mut command| command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    children.map(|child| child.wait_with_output().unwrap())
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn releases(platform: &TestPlatform, project: &Path) -> Vec<serde_json::Value> {
    platform.barge_json(project, &["releases"])["releases"].as_array().unwrap().clone()
}

#[test]
fn of_two_who_release_at_once_one_does_and_the_other_is_told_what_is_on_its_way() {
    let platform = TestPlatform::start();
    let project = greeter(&platform, 2);
    release_first(&platform, &project);
    greeter_version(&project, "better");
    let other = greeter_in(platform.project("other"), "greeter", 2);
    std::fs::write(other.join("dist/greeter.conf"), "version=2b\ngreeting=Good evening\n").unwrap();
    under_load(load_plan(&platform, "greeter"), |phase| {
        let outputs = at_once([platform.command(&project, &["deploy"]), platform.command(&other, &["deploy"])]);
        let mut codes = outputs.each_ref().map(|output| output.status.code());
        codes.sort_unstable();
        assert_eq!(codes, [Some(0), Some(4)], "{}", outputs.each_ref().map(told).concat());
        let lost = outputs.iter().find(|output| output.status.code() == Some(4)).map(told).unwrap();
        assert!(lost.contains("on its way") && lost.contains("--supersede"), "{lost}");
        assert_eq!(releases(&platform, &project).len(), 2);
        assert_eq!(candidates(&platform, &project).len(), 1);
        phase("at the gate");
        platform.barge(&project, &["abort"]);
        wait_for("it to be gone", || instances(&platform, &project).len() == 2);
    });
    assert_eq!(answers(&load_plan(&platform, "greeter"), 4), ["Hello from greeter 1"]);
}

#[test]
fn an_approval_is_for_a_release_that_is_there_and_a_second_one_changes_nothing() {
    let platform = TestPlatform::start();
    let elsewhere = greeter_in(platform.project("elsewhere"), "elsewhere", 1);
    release_first(&platform, &elsewhere);
    let foreign = releases(&platform, &elsewhere)[0]["id"].as_str().unwrap().to_owned();
    let project = greeter(&platform, 2);
    release_first(&platform, &project);
    greeter_version(&project, "better");
    platform.barge(&project, &["deploy"]);
    for wrong in ["9", "0", "01HF7YAT000000000000000000", "latest", &foreign] {
        let told = platform.barge_fails(&project, &["approve", wrong], 4);
        assert!(told.contains(&format!("greeter in local has no release {wrong}")), "{told}");
        assert!(told.contains("`barge releases` lists them"), "{told}");
    }
    assert_eq!(candidates(&platform, &project).len(), 1, "nothing was approved");
    let approve = || platform.command(&project, &["approve", "2"]);
    let outputs = at_once([approve(), approve()]);
    assert!(outputs.iter().all(|output| output.status.success()), "{}", outputs.each_ref().map(told).concat());
    let says = |words: &str| outputs.iter().filter(|output| told(output).contains(words)).count();
    let first = says("release 2 is approved; the remaining instances follow");
    assert_eq!((first, says("release 2 was approved by")), (1, 1));
    platform.barge(&project, &["approve", "2", "--wait", "complete"]);
    assert_eq!(releases(&platform, &project).len(), 2);
    assert_eq!(answers(&load_plan(&platform, "greeter"), 4), ["A very good day to you from greeter 2"]);
}

#[test]
fn two_who_go_back_at_once_are_both_back() {
    let platform = TestPlatform::start();
    let project = greeter(&platform, 2);
    // What they go back to is slow to start, so that it is on its way when the second one asks.
    let manifest = std::fs::read_to_string(project.join("barge.yaml")).unwrap();
    let slow = format!("{manifest}command: [sh, -c, 'sleep 3; exec ./greeter']\n");
    std::fs::write(project.join("barge.yaml"), slow).unwrap();
    release_first(&platform, &project);
    std::fs::write(project.join("barge.yaml"), manifest).unwrap();
    greeter_version(&project, "better");
    platform.barge(&project, &["deploy"]);
    platform.barge(&project, &["approve", "--wait", "complete"]);
    under_load(load_plan(&platform, "greeter"), |phase| {
        let back = || platform.command(&project, &["rollback", "--wait", "complete"]);
        let outputs = at_once([back(), back()]);
        assert!(outputs.iter().all(|output| output.status.success()), "{}", outputs.each_ref().map(told).concat());
        let says = |words: &str| outputs.iter().filter(|output| told(output).contains(words)).count();
        assert_eq!((says("as release 3"), says("release 3 goes back to release 1 already")), (1, 1));
        phase("back");
    });
    assert_eq!(releases(&platform, &project).len(), 3);
    assert_eq!(answers(&load_plan(&platform, "greeter"), 4), ["Hello from greeter 1"]);
}

#[test]
fn of_two_who_scale_at_once_the_last_one_is_obeyed() {
    let platform = TestPlatform::start();
    let project = greeter(&platform, 2);
    release_first(&platform, &project);
    under_load(load_plan(&platform, "greeter"), |phase| {
        let scale = |replicas: &str| platform.command(&project, &["scale", replicas]);
        let outputs = at_once([scale("3"), scale("4")]);
        assert!(outputs.iter().all(|output| output.status.success()), "{}", outputs.each_ref().map(told).concat());
        let replicas = platform.barge_json(&project, &["status"])["replicas"].as_u64().unwrap();
        // Whoever came second was told of the number of the first.
        let second = if replicas == 4 { "3 -> 4 instances" } else { "4 -> 3 instances" };
        assert!(outputs.iter().any(|output| told(output).contains(second)), "{replicas} instances");
        wait_for("so many instances", || {
            let status = platform.barge_json(&project, &["status"]);
            status["available"] == replicas && status["instances"].as_array().unwrap().len() as u64 == replicas
        });
        phase("scaled");
    });
}
