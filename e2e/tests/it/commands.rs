//! The daily commands, each once, as a person would use them.

use barge_testkit::TestPlatform;

use crate::support::{answers, greeter, greeter_version, load_plan, release_first, under_load, wait_for};

#[test]
fn a_release_goes_from_one_instance_over_its_gate_to_all_and_back() {
    let platform = TestPlatform::start();
    let project = greeter(&platform, 3);
    release_first(&platform, &project);
    let plan = load_plan(&platform, "greeter");
    under_load(plan.clone(), |phase| {
        greeter_version(&project, "better");
        platform.barge(&project, &["deploy"]);
        phase("at the gate");
        let status = platform.barge_json(&project, &["status"]);
        assert_eq!(status["waiting_on"]["on"], "approval");
        assert_eq!((&status["replicas"], &status["available"]), (&3.into(), &4.into()), "one beside the others");
        assert_eq!(answers(&plan, 60).len(), 2, "both versions answer");
        platform.barge(&project, &["approve", "--wait", "complete"]);
        phase("complete");
        assert_eq!(answers(&plan, 6), ["A very good day to you from greeter 2"]);
        let told = platform.barge(&project, &["rollback", "--wait", "complete"]);
        assert!(told.contains("rollback --to 2"), "it says how to undo itself: {told}");
        phase("back");
        assert_eq!(answers(&plan, 6), ["Hello from greeter 1"]);
    });
}

#[test]
fn an_unchanged_project_is_not_released_again() {
    let platform = TestPlatform::start();
    let project = greeter(&platform, 1);
    release_first(&platform, &project);
    assert!(platform.barge(&project, &["deploy"]).contains("nothing changed"));
    assert_eq!(platform.barge_json(&project, &["releases"])["releases"].as_array().unwrap().len(), 1);
}

#[test]
fn a_second_release_is_refused_while_one_is_on_its_way_unless_it_supersedes() {
    let platform = TestPlatform::start();
    let project = greeter(&platform, 2);
    release_first(&platform, &project);
    greeter_version(&project, "better");
    platform.barge(&project, &["deploy"]);
    std::fs::write(project.join("dist/greeter.conf"), "version=2b\ngreeting=Good evening\n").unwrap();
    let told = platform.barge_fails(&project, &["deploy"], 4);
    assert!(told.contains("on its way") && told.contains("--supersede"), "{told}");
    platform.barge(&project, &["deploy", "--supersede"]);
    let states: Vec<String> = platform.barge_json(&project, &["releases"])["releases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|release| release["state"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(states, ["candidate", "superseded", "stable"]);
    let told = platform.barge_fails(&project, &["approve", "2"], 4);
    assert!(told.contains("has ended"), "an approval is for one release alone: {told}");
    platform.barge(&project, &["abort"]);
    wait_for("the candidate to be gone", || {
        platform.barge_json(&project, &["status"])["instances"].as_array().unwrap().len() == 2
    });
    assert_eq!(answers(&load_plan(&platform, "greeter"), 4), ["Hello from greeter 1"]);
}

#[test]
fn scaling_and_restarting_lose_nothing() {
    let platform = TestPlatform::start();
    let project = greeter(&platform, 2);
    release_first(&platform, &project);
    let available = |count: u32| {
        wait_for("the new number of instances", || {
            let status = platform.barge_json(&project, &["status"]);
            status["available"] == count && status["instances"].as_array().unwrap().len() == count as usize
        });
    };
    under_load(load_plan(&platform, "greeter"), |phase| {
        platform.barge(&project, &["scale", "5"]);
        available(5);
        phase("five");
        platform.barge(&project, &["scale", "1"]);
        available(1);
        phase("one");
        let before = platform.instance_processes();
        platform.barge(&project, &["restart", "--wait", "complete"]);
        available(1);
        assert!(platform.instance_processes().iter().all(|pid| !before.contains(pid)), "every process is a new one");
    });
}

#[test]
fn a_number_of_instances_that_makes_no_sense_is_refused_and_changes_nothing() {
    let platform = TestPlatform::start();
    let project = greeter(&platform, 2);
    release_first(&platform, &project);
    greeter_version(&project, "better");
    for (replicas, why) in [
        ("-1", "barge.yaml:3:11: `-1` is not a whole number of 0 or more"),
        ("10000000", "replicas is 10000000; at most 10000 are allowed"),
        ("99999999999", "barge.yaml:3:11: `99999999999` is too large"),
        ("1.5", "barge.yaml:3:11: `1.5` is not a whole number of 0 or more"),
    ] {
        let manifest = format!("name: greeter\nkind: web\nreplicas: {replicas}\n");
        std::fs::write(project.join("barge.yaml"), manifest).unwrap();
        let told = platform.barge_fails(&project, &["deploy"], 2);
        assert!(told.contains(why), "{replicas}: {told}");
    }
    for replicas in ["-1", "10000000", "99999999999999999999", "many"] {
        let told = platform.barge_fails(&project, &["scale", replicas], 2);
        assert!(told.contains(replicas), "{told}");
    }
    let told = platform.barge_fails(&project, &["scale", "-1"], 2);
    assert!(told.contains("-1 is not in 0..=10000"), "{told}");
    let status = platform.barge_json(&project, &["status"]);
    assert_eq!((&status["replicas"], &status["available"]), (&2.into(), &2.into()));
    assert_eq!(platform.barge_json(&project, &["releases"])["releases"].as_array().unwrap().len(), 1);
    assert_eq!(answers(&load_plan(&platform, "greeter"), 4), ["Hello from greeter 1"]);
}

#[test]
fn no_instance_at_all_is_a_number_and_nothing_is_lost_by_it() {
    let platform = TestPlatform::start();
    let project = greeter(&platform, 2);
    release_first(&platform, &project);
    let plan = load_plan(&platform, "greeter");
    let nobody = || {
        wait_for("nobody", || {
            let status = platform.barge_json(&project, &["status"]);
            status["instances"].as_array().unwrap().is_empty() && status["waiting_on"]["on"] == "nothing"
        });
        let told = answers(&plan, 1);
        assert!(told[0].starts_with("failed: "), "nobody answers: {told:?}");
    };
    platform.barge(&project, &["scale", "0"]);
    nobody();
    platform.barge(&project, &["scale", "2", "--wait"]);
    assert_eq!(answers(&plan, 4), ["Hello from greeter 1"]);
    // In barge.yaml it waits for the approval like any other number; until then one instance shows the release.
    std::fs::write(project.join("barge.yaml"), "name: greeter\nkind: web\nreplicas: 0\n").unwrap();
    greeter_version(&project, "better");
    platform.barge(&project, &["deploy"]);
    assert_eq!(platform.barge_json(&project, &["status"])["available"], 3);
    platform.barge(&project, &["approve", "--wait", "complete"]);
    nobody();
    platform.barge(&project, &["scale", "1", "--wait"]);
    assert_eq!(answers(&plan, 4), ["A very good day to you from greeter 2"]);
}

#[test]
fn what_is_there_is_listed_and_named() {
    let platform = TestPlatform::start();
    let project = greeter(&platform, 1);
    release_first(&platform, &project);
    let elsewhere = platform.project("elsewhere");
    assert!(platform.barge(&elsewhere, &["services"]).contains("greeter"));
    assert!(platform.barge(&elsewhere, &["whoami"]).contains("admin"));
    assert!(
        platform
            .barge(&elsewhere, &["open", "--print", "-m", "greeter"])
            .starts_with("http://greeter.local.localhost:")
    );
    let told = platform.barge_fails(&elsewhere, &["status", "-m", "greter"], 4);
    assert!(told.contains("was never released"), "{told}");
    let told = platform.barge_fails(&elsewhere, &["status"], 2);
    assert!(told.contains("which service?"), "{told}");
}
