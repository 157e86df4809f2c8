//! `barge deploy`: what it does, what it says, and how it ends.

use insta::assert_snapshot;
use serde_json::json;

use crate::fake::{Fake, at, candidate, complete, gate, id, instance, merge, release, status};
use crate::support::{Place, Run};

/// The two instances of release 1, and one more.
fn serving(more: serde_json::Value) -> serde_json::Value {
    json!([instance("AAAAAA", 1, "stable", "ready"), instance("BBBBBB", 1, "stable", "ready"), more])
}

fn starting() -> serde_json::Value {
    status(json!({
        "candidate": candidate("starting"), "sentence": "waiting for the new release to start",
        "waiting_on": { "on": "start", "release": id("R2"), "available": 0, "needed": 1, "deadline": at(9000) },
        "instances": serving(instance("CCCCCC", 2, "candidate", "starting")),
    }))
}

fn going_on() -> serde_json::Value {
    status(json!({
        "candidate": candidate("progressing"), "sentence": "batch 1: 1 of 2 new instances available, 1 old left",
        "waiting_on": { "on": "batch", "batch": 1, "available": 1, "needed": 2, "old": 1 },
        "instances": serving(instance("CCCCCC", 2, "candidate", "ready")),
    }))
}

fn failed() -> serde_json::Value {
    let failure = json!({ "reason": "start_failed", "instance": id("CCCCCC") });
    let mut held = instance("CCCCCC", 2, "defunct", "held");
    merge(&mut held, json!({ "reason": "exited with code 1" }));
    status(json!({
        "finished": [{ "release": id("R2"), "outcome": "failed", "failure": failure, "at": at(20) }],
        "instances": serving(held),
    }))
}

/// The digest changes with the formats of images, which are tested elsewhere.
fn told(run: &Run, fake: &Fake) -> String {
    let text = run.told().replace(&fake.address, "SERVER");
    let hidden = |line: &str| match line.split_once("built ") {
        Some((before, _)) => format!("{before}built ..."),
        None if line.starts_with("pushed ") => "pushed ...".to_owned(),
        None => match line.split_once(" (") {
            Some((before, _)) if before.starts_with("release 2 of") => format!("{before} (...)"),
            _ => line.to_owned(),
        },
    };
    text.lines().map(hidden).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_deploy_ends_at_the_gate_and_says_the_way_on_and_the_way_back() {
    let fake = Fake::with_greeter();
    let place = Place::with(&fake);
    fake.show([status(json!({})), starting(), gate()]);
    let run = place.run("deploy --reason checkout");
    assert_snapshot!(told(&run, &fake), @r"
    exit code 0
    --- stdout
    release 2 waits for approval: http://greeter.test.localhost:7402
      look        barge status
      go on       barge approve 2
      take back   barge abort 2
    --- stderr
    built ...
    pushed ...
    release 2 of greeter in test (...)
    instance CCCCCC is starting
    instance CCCCCC is available at 127.1.0.2:8080 (1 of 2)
    the first instance runs; the gate is closed
    ");
    let seen = fake.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].line, "test/services/greeter/releases");
    assert_eq!(seen[0].body["config"]["command"], json!(["./greeter"]));
    assert_eq!(seen[0].body["config"]["replicas"], 2);
    assert_eq!(seen[0].body["reason"], "checkout");
    assert_eq!(seen[0].body["image"], format!("{}/greeter", fake.address.trim_start_matches("http://")));
    assert_eq!(seen[0].key.as_ref().map(String::len), Some(26), "a repetition is harmless");
}

#[test]
fn it_stays_as_long_as_it_is_told_to() {
    let check = |line: &str, expected: &str| {
        let fake = Fake::with_greeter();
        let place = Place::with(&fake);
        fake.show([status(json!({})), starting(), gate(), going_on(), complete()]);
        let json = place.run(line).json();
        assert_eq!(json["result"], expected, "{line}: {json}");
        json
    };
    assert_eq!(check("deploy --json", "gate")["status"]["sentence"], "waiting for approval");
    check("deploy --json --wait approved", "approved");
    assert_eq!(check("deploy --json --wait complete", "complete")["undo"], "barge rollback");
    assert_eq!(check("deploy --json --detach", "detached")["release"]["number"], 2);
}

#[test]
fn a_release_that_fails_is_explained_and_has_its_own_exit_code() {
    let fake = Fake::with_greeter();
    let place = Place::with(&fake);
    fake.show([status(json!({})), starting(), failed()]);
    let run = place.run("deploy");
    assert_snapshot!(told(&run, &fake), @r"
    exit code 3
    --- stderr
    built ...
    pushed ...
    release 2 of greeter in test (...)
    instance CCCCCC is starting
    instance CCCCCC could not start and is held: exited with code 1
    error: release 2 of greeter in test failed: instance CCCCCC could not start

    instance CCCCCC:
      exited with code 1
    its readiness checks:
      none came before its end
    its last lines of output:
      | hello from CCCCCC
      | tail=20&follow=false
    what serves now:
      release 1, as before: 2 of 2 instances available

    hint: `barge exec --instance CCCCCC` opens a shell in the held instance; `barge abort` lets go of it; once it is mended, `barge deploy` again
    ");
    assert_eq!(run.code, 3);
    let json = place.run("deploy --json --force").json();
    assert_eq!(json["error"]["code"], "release_failed");
    assert_eq!(json["error"]["release"]["number"], 2, "{json}");
}

#[test]
fn a_wait_has_an_end() {
    let fake = Fake::with_greeter();
    let place = Place::with(&fake);
    fake.show([status(json!({})), gate()]);
    let run = place.run("deploy --wait approved --timeout 200ms");
    assert_eq!(run.code, 6, "{}", run.told());
    assert!(
        run.err.contains("error: after 200ms release 2 is still on its way: waiting for approval\n"),
        "{}",
        run.err
    );
    assert!(run.err.contains("the release goes on without this command"), "{}", run.err);
}

#[test]
fn an_interrupted_deploy_says_that_the_release_goes_on() {
    let fake = Fake::with_greeter();
    let place = Place::with(&fake);
    fake.show([status(json!({})), starting()]);
    let mut command = place.command(&["deploy"]);
    let mut child = command.spawn().unwrap();
    let mut err = String::new();
    let mut reader = std::io::BufReader::new(child.stderr.take().unwrap());
    // Once an instance is told of, the deploy is attached.
    while !err.contains("CCCCCC is starting") {
        assert!(std::io::BufRead::read_line(&mut reader, &mut err).unwrap() > 0, "{err}");
    }
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    std::io::Read::read_to_string(&mut reader, &mut err).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{err}");
    assert!(err.contains("the release goes on without this command; `barge status --watch` shows it"), "{err}");
}

#[test]
fn nothing_changed_means_no_release() {
    let fake = Fake::with_greeter();
    let place = Place::with(&fake);
    fake.show([status(json!({})), complete()]);
    place.run("deploy --wait complete").ok();
    // What was just made runs now.
    fake.show([complete()]);
    let run = place.run("deploy");
    assert!(run.ok().starts_with("nothing changed: release 2 runs already"), "{}", run.told());
    assert_eq!(fake.seen().len(), 1, "no second release");
    place.write("barge.yaml", "name: greeter\nkind: web\nreplicas: 3\n");
    place.run("deploy --detach").ok();
    assert_eq!(fake.seen().len(), 2, "another configuration is a change");
    place.run("deploy --detach --force").ok();
    assert_eq!(fake.seen().len(), 3, "--force does not ask");
}

#[test]
fn a_release_on_its_way_is_joined_when_it_is_the_same_and_not_pushed_aside_when_it_is_not() {
    let fake = Fake::with_greeter();
    let place = Place::with(&fake);
    fake.releases([release(2, "candidate"), release(1, "stable")]);
    fake.show([gate()]);
    let run = place.run("deploy");
    assert_snapshot!(told(&run, &fake), @r"
    exit code 4
    --- stderr
    built ...
    error: release 2 of greeter in test is still on its way: waiting for approval
    hint: `barge approve` lets it go on, `barge abort` takes it back, `barge deploy --supersede` takes its place
    ");
    assert!(fake.seen().is_empty(), "nothing was asked for");
    place.run("deploy --supersede").ok();
    assert_eq!(fake.seen()[0].body["supersede"], true);
    let run = place.run("deploy");
    assert!(run.err.contains("release 2 with exactly this is on its way already"), "{}", run.told());
    assert_eq!((run.code, fake.seen().len()), (0, 1));
}

#[test]
fn the_first_release_needs_nothing_before_it() {
    let fake = Fake::new();
    let place = Place::with(&fake);
    let json = place.run("deploy --detach --json").json();
    assert_eq!((&json["result"], &json["release"]["number"]), (&"detached".into(), &2.into()));
    let run = place.run("deploy -m other");
    assert!(run.code == 2 && run.err.contains("is the project of greeter, not of other"), "{}", run.told());
}

#[test]
fn a_connection_that_breaks_does_not_make_two_releases() {
    let fake = Fake::with_greeter();
    let place = Place::with(&fake);
    fake.break_next_change();
    place.run("deploy --detach").ok();
    let seen = fake.seen();
    assert_eq!(seen.len(), 2, "it was asked for again");
    assert!(seen[0].key.is_some() && seen[0].key == seen[1].key, "with the same key");
}
