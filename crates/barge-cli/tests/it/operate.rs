//! Everything that looks at a service or changes what runs.

use insta::assert_snapshot;
use serde_json::json;

use crate::fake::{Fake, candidate, complete, gate, id, instance, release, status};
use crate::support::Place;

fn at_gate() -> (Fake, Place) {
    let fake = Fake::with_greeter();
    fake.releases([release(2, "candidate"), release(1, "stable")]);
    fake.show([gate()]);
    let place = Place::with(&fake);
    (fake, place)
}

#[test]
fn status_is_a_page_for_people_and_the_apis_document_for_programs() {
    let (_fake, place) = at_gate();
    assert_snapshot!(place.run("status").ok(), @r"
    greeter in test  http://greeter.test.localhost:7402
    waiting for approval

      release 2  candidate  at its gate for 1h  by admin, 1h ago
      release 1  stable     2 available         by admin, 1h ago

      INSTANCE  RELEASE  ROLE       PHASE  ONLINE  ADDRESS         RESTARTS  AGE
      AAAAAA    1        stable     ready  yes     127.1.0.1:8080  0         1h
      BBBBBB    1        stable     ready  yes     127.1.0.1:8080  0         1h
      CCCCCC    2        candidate  ready  yes     127.1.0.2:8080  0         1h

      go on       barge approve
      take back   barge abort
    ");
    assert_eq!(place.run("status --json").json(), gate());
    assert!(place.run("status --color always").ok().contains("\x1b[33mwaiting for approval\x1b[0m"));
}

#[test]
fn watching_prints_a_line_for_each_change_where_there_is_no_terminal() {
    let (fake, place) = at_gate();
    fake.show([gate(), gate(), complete()]);
    let mut child = place.command(&["status", "--watch"]).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    assert_eq!(lines.next().unwrap().unwrap(), "greeter in test: waiting for approval (2 of 2 available)");
    assert_eq!(lines.next().unwrap().unwrap(), "greeter in test: everything runs as it should (2 of 2 available)");
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (output.status.code(), output.stderr.as_slice()),
        (Some(130), b"".as_slice()),
        "Ctrl-C is no error here"
    );
}

#[test]
fn an_approval_names_the_digest_that_was_looked_at() {
    let (fake, place) = at_gate();
    assert_snapshot!(place.run("approve").told(), @r"
    exit code 0
    --- stdout
    release 2 is approved and goes on
      watch it    barge status --watch
    --- stderr
    approving release 2 (000000000000, by admin, 1h ago)
    the server says yes to test/services/greeter/releases/01HF7YAT0000000000000000R2/approval
    ");
    let seen = fake.seen();
    assert_eq!(seen[0].line, format!("test/services/greeter/releases/{}/approval", id("R2")));
    assert_eq!(seen[0].body, json!({ "digest": release(2, "candidate")["digest"] }));
    fake.show([gate(), complete()]);
    let run = place.run("approve 2 --wait complete --json");
    assert_eq!(run.json()["result"], "complete");
    assert!(!run.err.contains("CCCCCC is available"), "what was so before the approval is no news: {}", run.err);
}

#[test]
fn there_is_nothing_to_approve_before_the_gate_and_after_the_end() {
    let (fake, place) = at_gate();
    fake.show([status(json!({ "candidate": candidate("starting"), "sentence": "starting" }))]);
    assert_snapshot!(place.run("approve").told(), @r"
    exit code 4
    --- stderr
    error: release 2 is not at its gate yet: starting
    hint: `barge status --watch` shows when it is
    ");
    fake.show([status(json!({}))]);
    assert_snapshot!(place.run("approve -e test -m greeter").told(), @r"
    exit code 4
    --- stderr
    error: no release of greeter in test waits for approval
    hint: `barge status -m greeter -e test` shows how it stands
    ");
    fake.show([status(json!({ "candidate": candidate("progressing") }))]);
    assert!(place.run("approve").err.starts_with("release 2 was approved already"));
    assert!(fake.seen().is_empty());
}

#[test]
fn abort_takes_back_what_is_on_its_way_or_lets_go_of_what_is_held() {
    let (fake, place) = at_gate();
    place.run("abort --reason slow").ok();
    let failure = json!({ "reason": "start_failed", "instance": id("CCCCCC") });
    let held = instance("CCCCCC", 2, "defunct", "held");
    let finished = json!([{ "release": id("R2"), "outcome": "failed", "failure": failure, "at": 1 }]);
    fake.show([status(json!({ "finished": finished, "instances": [held] }))]);
    place.run("abort").ok();
    fake.show([status(json!({ "finished": finished }))]);
    let run = place.run("abort");
    assert!(run.code == 4 && run.err.contains("no release of greeter in test is on its way"), "{}", run.told());
    let seen = fake.seen();
    assert_eq!(seen.len(), 2);
    assert!(seen.iter().all(|seen| seen.line.ends_with(&format!("{}/abort", id("R2")))));
    assert_eq!(seen[0].body, json!({ "reason": "slow" }));
}

#[test]
fn a_rollback_says_how_to_undo_itself() {
    let (fake, place) = at_gate();
    fake.show([status(json!({})), complete()]);
    let run = place.run("rollback --to 2 --reason slow --json");
    let json = run.json();
    assert_eq!((&json["result"], &json["undo"]), (&"complete".into(), &"barge rollback --to 1".into()), "{json}");
    assert_eq!(fake.seen()[0].body, json!({ "to": id("R2"), "reason": "slow" }));
    // The release on its way is taken back, which leaves what serves: it can only be made again.
    fake.show([complete()]);
    let run = place.run("rollback");
    assert!(run.ok().ends_with("  undo        barge deploy\n"), "{}", run.told());
    assert_eq!(fake.seen()[1].body, json!({ "to": null, "reason": null }));
}

#[test]
fn scale_and_restart_ask_for_what_they_say() {
    let (fake, place) = at_gate();
    fake.show([status(json!({}))]);
    assert!(place.run("scale 2 --wait").ok().starts_with("the server says yes"));
    assert!(place.run("scale 4 --wait --timeout 100ms").code == 6);
    place.run("restart --detach").ok();
    let seen: Vec<(String, serde_json::Value)> = fake.seen().into_iter().map(|seen| (seen.line, seen.body)).collect();
    assert_eq!(seen[0], ("test/services/greeter/scale".to_owned(), json!({ "replicas": 2 })));
    assert_eq!(seen[2], ("test/services/greeter/restart".to_owned(), json!({ "reason": null })));
}

#[test]
fn tables_are_plain_where_there_is_no_terminal() {
    let (_fake, place) = at_gate();
    assert_snapshot!(place.run("releases").ok(), @r"
    RELEASE  STATE      IMAGE         MADE    BY     APPROVED BY  ABOUT
    2        candidate  000000000000  1h ago  admin
    1        stable     000000000000  1h ago  admin
    ");
    assert_snapshot!(place.run("instances").ok(), @r"
    INSTANCE  RELEASE  ROLE       PHASE  ONLINE  ADDRESS         RESTARTS  AGE
    AAAAAA    1        stable     ready  yes     127.1.0.1:8080  0         1h
    BBBBBB    1        stable     ready  yes     127.1.0.1:8080  0         1h
    CCCCCC    2        candidate  ready  yes     127.1.0.2:8080  0         1h
    ");
    assert_snapshot!(place.run("services").ok(), @r"
    SERVICE  ENVIRONMENT  AVAILABLE  STANDS                URL
    greeter  test         2 of 2     waiting for approval  http://greeter.test.localhost:7402
    ");
    assert_eq!(place.run("instances --json").json()["instances"].as_array().unwrap().len(), 3);
    assert_eq!(place.run("releases -n 1 --json").json()["releases"].as_array().unwrap().len(), 1);
}

#[test]
fn logs_tell_whose_they_are() {
    let (_fake, place) = at_gate();
    assert_snapshot!(place.run("logs --tail 7").ok(), @r"
    AAAAAA hello from AAAAAA
    AAAAAA tail=7&follow=false
    BBBBBB hello from BBBBBB
    BBBBBB tail=7&follow=false
    CCCCCC hello from CCCCCC
    CCCCCC tail=7&follow=false
    ");
    assert_eq!(place.run("logs --instance cccccc --tail 5").ok(), "hello from CCCCCC\ntail=5&follow=false\n");
    let json = place.run("logs --instance CCCCCC --json").ok().lines().next().unwrap().to_owned();
    assert_eq!(json, format!(r#"{{"instance":"{}","line":"hello from CCCCCC"}}"#, id("CCCCCC")));
}

#[test]
fn open_prints_the_address() {
    let (fake, place) = at_gate();
    assert_eq!(place.run("open --print").ok(), "http://greeter.test.localhost:7402\n");
    fake.show([status(json!({ "url": null }))]);
    assert_eq!(place.run("open").code, 4);
}

#[test]
fn a_mistake_in_barge_yaml_keeps_nobody_from_rolling_back() {
    let (fake, place) = at_gate();
    place.write("barge.yaml", "name: greeter # ours\nkind: web\nreplicas: lots\n");
    place.run("status").ok();
    place.run("abort").ok();
    assert_eq!(fake.seen().len(), 1);
    place.write("barge.yaml", "nome: greeter\nkind: web\n");
    let run = place.run("status");
    assert!(run.code == 2 && run.err.contains("barge.yaml:1:1"), "{}", run.told());
}
