//! Instances that never get ready, that exit, that hang: each is told of in words, and what served before goes on serving.

use std::process::Stdio;

use barge_testkit::{TestPlatform, signal};

use crate::behaviours::{alive, ask, candidates, instances, misbehave, python};
use crate::support::{answers, greeter, load_plan, release_first, under_load, wait_for};

#[test]
fn an_instance_that_never_gets_ready_is_ended_and_explained() {
    let Some(python) = python() else { return };
    let platform = TestPlatform::start();
    let project = greeter(&platform, 2);
    release_first(&platform, &project);
    let rows = [
        ("mute", "nobody listens there (connection refused)"),
        ("sick", "503 the database is away"),
        ("hung", "no answer within 2 s"),
    ];
    under_load(load_plan(&platform, "greeter"), |phase| {
        for (mode, why) in rows {
            misbehave(&project, &python, mode, "start_deadline: 6s\n");
            let told = platform.barge_fails(&project, &["deploy"], 3);
            let output = format!("| {mode}: it begins");
            for expected in [
                "could not start: it was not ready within 6 s (",
                why,
                "it ran until its start deadline, and was ended then (`start_deadline`)",
                output.as_str(),
                "release 1, as before: 2 of 2 instances available",
                "opens a shell in the held instance",
            ] {
                assert!(told.contains(expected), "{mode}: {expected:?} is missing in:\n{told}");
            }
            assert!(!told.contains("memory"), "it was the deadline, and nothing else:\n{told}");
            phase(mode);
            platform.barge(&project, &["abort"]);
            wait_for("the held instance to be let go", || instances(&platform, &project).len() == 2);
        }
    });
    assert_eq!(answers(&load_plan(&platform, "greeter"), 4), ["Hello from greeter 1"]);
}

#[test]
fn an_instance_that_exits_at_the_gate_is_started_again_alone_until_somebody_takes_it_back() {
    let Some(python) = python() else { return };
    let platform = TestPlatform::start();
    let project = greeter(&platform, 2);
    release_first(&platform, &project);
    misbehave(&project, &python, "well", "");
    under_load(load_plan(&platform, "greeter"), |phase| {
        platform.barge(&project, &["deploy"]);
        // The second restart waits a second.
        for crash in 1..=2 {
            ask(&candidates(&platform, &project)[0], "/exit");
            wait_for("the crash to be told", || {
                let all = candidates(&platform, &project);
                assert!(all.len() <= 1, "one instance before an approval: {all:?}");
                all.iter().any(|one| one["restarts"] == crash)
            });
            wait_for("the gate", || platform.barge_json(&project, &["status"])["waiting_on"]["on"] == "approval");
            phase("at the gate again");
        }
        let told = platform.barge(&project, &["status"]);
        assert!(told.contains("started again: it ended with exit code 7"), "{told}");
        platform.barge(&project, &["abort"]);
        wait_for("it to be gone", || instances(&platform, &project).len() == 2);
        phase("without it");
    });
    assert_eq!(answers(&load_plan(&platform, "greeter"), 4), ["Hello from greeter 1"]);
}

#[test]
fn an_instance_that_hangs_gets_no_more_requests_and_can_be_taken_away() {
    let Some(python) = python() else { return };
    let platform = TestPlatform::start();
    let project = greeter(&platform, 2);
    misbehave(&project, &python, "well", "drain: {grace: 1s}\n");
    release_first(&platform, &project);
    let all = instances(&platform, &project);
    let (hangs, works) = (&all[0], &all[1]);
    let pid = ask(hangs, "/pid");
    // Its port stays open: the system goes on taking connections for it.
    signal("STOP", pid.parse().unwrap());
    wait_for("it to be offline", || {
        instances(&platform, &project).iter().any(|one| one["id"] == hangs["id"] && one["online"] == false)
    });
    let told = platform.barge(&project, &["status"]);
    assert!(told.contains("no answer within 2 s") && told.contains("1 of 2 available"), "{told}");
    under_load(load_plan(&platform, "greeter"), |phase| {
        phase("beside one that hangs");
        platform.barge(&project, &["scale", "1"]);
        wait_for("it to be gone", || instances(&platform, &project).len() == 1);
        phase("without it");
    });
    assert_eq!(instances(&platform, &project)[0]["id"], works["id"], "the one that works stays");
    assert!(!alive(&pid));
}

#[test]
fn a_release_whose_instance_hangs_at_the_gate_fails_by_itself() {
    let Some(python) = python() else { return };
    let platform = TestPlatform::start();
    let project = greeter(&platform, 2);
    release_first(&platform, &project);
    misbehave(&project, &python, "well", "rollout: {progress_deadline: 10s}\ndrain: {grace: 1s}\n");
    let mut deploy = platform.command(&project, &["deploy", "--wait", "complete"]);
    let deploy = deploy.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for("the gate", || {
        // Before the release there is nothing of it.
        platform.barge_json(&project, &["status"])["waiting_on"]["on"] == "approval"
    });
    let pid = ask(&candidates(&platform, &project)[0], "/pid");
    signal("STOP", pid.parse().unwrap());
    let output = deploy.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{told}");
    for expected in [
        "release 2 of greeter in local failed: no progress before the deadline: 0 of 1 instances were available",
        "no answer within 2 s",
        "release 1, as before: 2 of 2 instances available",
        "hint: ",
    ] {
        assert!(told.contains(expected), "{expected:?} is missing in:\n{told}");
    }
    wait_for("it to be gone", || instances(&platform, &project).len() == 2);
    assert!(!alive(&pid));
    under_load(load_plan(&platform, "greeter"), |phase| phase("afterwards"));
    assert_eq!(answers(&load_plan(&platform, "greeter"), 4), ["Hello from greeter 1"]);
}
