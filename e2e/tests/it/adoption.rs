//! A platform that is killed: instances go on, and the next platform takes them over as they are.

use barge_testkit::TestPlatform;

use crate::support::{answers, greeter, greeter_version, load_plan, release_first, under_load, wait_for};

#[test]
fn instances_outlive_a_killed_platform_and_are_adopted() {
    let mut platform = TestPlatform::start();
    let project = greeter(&platform, 3);
    release_first(&platform, &project);
    let before = platform.instance_processes();
    assert_eq!(before.len(), 6, "three instances, each under its barge-init");

    platform.kill();
    assert_eq!(platform.instance_processes(), before, "nothing of an instance ends with the platform");
    platform.up();
    let status = platform.barge_json(&project, &["status"]);
    assert_eq!(status["replicas"], 3);
    wait_for("all instances to be available", || platform.barge_json(&project, &["status"])["available"] == 3);
    assert_eq!(platform.instance_processes(), before, "none was started again or twice");
    assert_eq!(answers(&load_plan(&platform, "greeter"), 6), ["Hello from greeter 1"]);
}

#[test]
fn a_release_at_its_gate_survives_a_killed_platform() {
    let mut platform = TestPlatform::start();
    let project = greeter(&platform, 2);
    release_first(&platform, &project);
    greeter_version(&project, "better");
    platform.barge(&project, &["deploy"]);
    platform.kill();
    platform.up();
    wait_for("the gate", || platform.barge_json(&project, &["status"])["waiting_on"]["on"] == "approval");
    let instances = platform.barge_json(&project, &["instances"]);
    let candidates = |list: &serde_json::Value| {
        let all = list["instances"].as_array().or(list.as_array()).unwrap();
        all.iter().filter(|one| one["role"] == "candidate").count()
    };
    assert_eq!(candidates(&instances), 1, "one instance before an approval, whatever happens");
    under_load(load_plan(&platform, "greeter"), |_| {
        platform.barge(&project, &["approve", "--wait", "complete"]);
    });
    assert_eq!(answers(&load_plan(&platform, "greeter"), 4), ["A very good day to you from greeter 2"]);
}

#[test]
fn a_stopped_platform_starts_its_instances_again() {
    let mut platform = TestPlatform::start();
    let project = greeter(&platform, 2);
    release_first(&platform, &project);
    platform.stop();
    wait_for("nothing to run any more", || platform.instance_processes().is_empty());
    platform.up();
    wait_for("all instances to be available", || platform.barge_json(&project, &["status"])["available"] == 2);
    assert_eq!(answers(&load_plan(&platform, "greeter"), 4), ["Hello from greeter 1"]);
}

#[test]
fn a_killed_instance_is_replaced() {
    let platform = TestPlatform::start();
    let project = greeter(&platform, 2);
    release_first(&platform, &project);
    let before = platform.instance_processes();
    barge_testkit::signal("KILL", before[1]);
    wait_for("the killed one to be started again", || {
        let now = platform.instance_processes();
        now.len() == 4 && !now.contains(&before[1])
    });
    wait_for("all instances to be available", || platform.barge_json(&project, &["status"])["available"] == 2);
}
