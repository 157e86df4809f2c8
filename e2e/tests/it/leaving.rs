//! Instances that do not go when they should: they ignore the signal, or leave children behind.

use barge_testkit::TestPlatform;

use crate::behaviours::{alive, ask, instances, misbehave, python};
use crate::support::{answers, greeter, load_plan, release_first, under_load, wait_for};

#[test]
fn an_instance_that_ignores_its_end_is_killed_after_its_grace() {
    let Some(python) = python() else { return };
    let mut platform = TestPlatform::start();
    let project = greeter(&platform, 2);
    let greeters = std::fs::read(project.join("barge.yaml")).unwrap();
    misbehave(&project, &python, "deaf", "drain: {grace: 1s}\n");
    release_first(&platform, &project);
    let deaf: Vec<String> = instances(&platform, &project).iter().map(|one| ask(one, "/pid")).collect();
    let plan = load_plan(&platform, "greeter");
    under_load(plan.clone(), |phase| {
        std::fs::write(project.join("barge.yaml"), &greeters).unwrap();
        platform.barge(&project, &["deploy"]);
        platform.barge(&project, &["approve", "--wait", "complete"]);
        wait_for("the deaf ones to be gone", || !deaf.iter().any(|pid| alive(pid)));
        wait_for("nothing to be left of them", || instances(&platform, &project).len() == 2);
        phase("without them");
        assert_eq!(answers(&plan, 4), ["Hello from greeter 1"]);
        platform.barge(&project, &["rollback", "--wait", "complete"]);
        phase("with others of their kind");
        assert_eq!(answers(&plan, 4), ["this is deaf"]);
    });
    // A platform that stops does not wait for them for ever either, and leaves none behind.
    platform.stop();
    assert!(platform.instance_processes().is_empty());
    platform.up();
    wait_for("all instances to be available", || platform.barge_json(&project, &["status"])["available"] == 2);
}

#[test]
fn children_that_would_outlive_their_instance_end_with_it() {
    let Some(python) = python() else { return };
    let platform = TestPlatform::start();
    let project = greeter(&platform, 1);
    misbehave(&project, &python, "parent", "");
    release_first(&platform, &project);
    let one = || instances(&platform, &project).remove(0);
    let children = || -> Vec<String> { ask(&one(), "/children").split(' ').map(str::to_owned).collect() };
    let before = children();
    assert!(before.len() == 2 && before.iter().all(|pid| alive(pid)), "{before:?}");
    // One of them has the port as well, which the next process needs.
    ask(&one(), "/exit");
    wait_for("the restart", || {
        let one = one();
        one["restarts"] == 1 && one["phase"] == "ready"
    });
    assert!(!before.iter().any(|pid| alive(pid)), "they have outlived their process");
    let after = children();
    assert!(after.len() == 2 && after.iter().all(|pid| alive(pid)), "{after:?}");
    platform.barge(&project, &["scale", "0"]);
    wait_for("nothing to run", || instances(&platform, &project).is_empty());
    assert!(!after.iter().any(|pid| alive(pid)), "they have outlived their instance");
    assert!(platform.instance_processes().is_empty());
}
