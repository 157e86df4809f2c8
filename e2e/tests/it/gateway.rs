//! The gateway in a process of its own: requests outlive the platform, and the gateway its own death.

use std::time::{Duration, Instant};

use barge_load::LoadPlan;
use barge_testkit::{TestGateway, TestPlatform};

use crate::support::{answers, greeter, greeter_version, load_plan, release_first, under_load, wait_for};

#[test]
fn requests_are_answered_while_the_platform_is_killed_and_comes_back() {
    let gateway = TestGateway::start();
    let mut platform = TestPlatform::start_behind(&gateway);
    let project = greeter(&platform, 2);
    release_first(&platform, &project);
    greeter_version(&project, "better");
    under_load(load_plan(&platform, "greeter"), |phase| {
        platform.kill();
        phase("without a platform");
        platform.up();
        phase("with a platform again");
        platform.barge(&project, &["deploy"]);
        platform.kill();
        phase("without a platform, at the gate");
        platform.up();
        wait_for("the gate", || platform.barge_json(&project, &["status"])["waiting_on"]["on"] == "approval");
        platform.barge(&project, &["approve", "--wait", "complete"]);
    });
    assert_eq!(answers(&load_plan(&platform, "greeter"), 4), ["A very good day to you from greeter 2"]);
}

#[test]
fn requests_are_answered_while_the_platform_is_stopped_and_comes_back() {
    let gateway = TestGateway::start();
    let mut platform = TestPlatform::start_behind(&gateway);
    let project = greeter(&platform, 2);
    release_first(&platform, &project);
    let before = platform.instance_processes();
    under_load(load_plan(&platform, "greeter"), |phase| {
        platform.stop();
        phase("without a platform");
        platform.up();
        wait_for("all instances to be available", || platform.barge_json(&project, &["status"])["available"] == 2);
        phase("with a platform again");
    });
    assert_eq!(platform.instance_processes(), before, "none was stopped or started");
}

/// Runs `barge down`; what it said, and whether it has done it.
fn down(platform: &TestPlatform) -> (bool, String) {
    let output = std::process::Command::new(barge_testkit::barge_binary())
        .args(["down", "--data"])
        .arg(platform.data())
        .output()
        .unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn what_a_stopped_platform_has_left_is_ended_in_order_and_comes_back() {
    let gateway = TestGateway::start();
    let mut platform = TestPlatform::start_behind(&gateway);
    let project = greeter(&platform, 2);
    release_first(&platform, &project);
    let (done, told) = down(&platform);
    assert!(!done && told.contains("in use by another Barge") && told.contains("hint: stop that one first"), "{told}");
    platform.stop();
    assert_eq!(platform.instance_processes().len(), 4, "two instances, each under its barge-init");
    let (done, told) = down(&platform);
    assert!(done, "{told}");
    assert!(platform.instance_processes().is_empty());
    assert!(gateway.online("local", "greeter").is_empty(), "the gateway still passes requests on");
    platform.up();
    wait_for("all instances to be available", || platform.barge_json(&project, &["status"])["available"] == 2);
    assert_eq!(answers(&load_plan(&platform, "greeter"), 4), ["Hello from greeter 1"]);
}

#[test]
fn a_second_platform_on_a_gateway_is_refused_and_costs_the_first_one_nothing() {
    let gateway = TestGateway::start();
    let platform = TestPlatform::start_behind(&gateway);
    let project = greeter(&platform, 1);
    release_first(&platform, &project);
    let data = tempfile::tempdir().unwrap();
    let output = std::process::Command::new(barge_testkit::barge_binary())
        .args(["up", "--no-login", "--port", "0", "--registry-port", "0", "--data"])
        .arg(data.path().join("data"))
        .arg("--gateway")
        .arg(gateway.data())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains(&format!("has a platform already (process {}", platform.pid())), "{told}");
    assert!(told.contains("hint: ") && told.contains("barge gateway --data DIRECTORY"), "{told}");
    assert_eq!(gateway.online("local", "greeter").len(), 1);
}

#[test]
fn a_killed_gateway_serves_from_its_snapshot_with_the_platform_down() {
    let mut gateway = TestGateway::start();
    let mut platform = TestPlatform::start_behind(&gateway);
    let project = greeter(&platform, 2);
    release_first(&platform, &project);
    let plan = load_plan(&platform, "greeter");
    platform.kill();
    gateway.kill();
    let begin = Instant::now();
    gateway.up();
    assert_eq!(answers(&plan, 4), ["Hello from greeter 1"]);
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(1), "it served again only after {took:?}");
    platform.up();
    wait_for("all instances to be available", || platform.barge_json(&project, &["status"])["available"] == 2);
}

#[test]
fn without_its_gateway_a_release_freezes_and_goes_on_when_it_is_back() {
    let mut gateway = TestGateway::start();
    let platform = TestPlatform::start_behind(&gateway);
    let project = greeter(&platform, 2);
    release_first(&platform, &project);
    let before = platform.instance_processes();
    greeter_version(&project, "better");
    gateway.kill();
    platform.barge(&project, &["deploy", "--detach"]);
    wait_for("the freeze", || platform.barge_json(&project, &["status"])["waiting_on"]["on"] == "registrar");
    let now = platform.instance_processes();
    assert!(before.iter().all(|pid| now.contains(pid)), "nothing that served was stopped");
    gateway.up();
    wait_for("the gate", || platform.barge_json(&project, &["status"])["waiting_on"]["on"] == "approval");
    platform.barge(&project, &["approve", "--wait", "complete"]);
    let plan: LoadPlan = load_plan(&platform, "greeter");
    assert_eq!(answers(&plan, 4), ["A very good day to you from greeter 2"]);
}

#[test]
fn a_platform_whose_gateway_is_nowhere_says_what_to_start() {
    let data = tempfile::tempdir().unwrap();
    let output = std::process::Command::new(barge_testkit::barge_binary())
        .args(["up", "--no-login", "--data"])
        .arg(data.path().join("data"))
        .arg("--gateway")
        .arg(data.path().join("nowhere"))
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("there is no gateway in") && told.contains("hint: `barge gateway --data"), "{told}");
}
