//! What people are told when something is wrong, and with which exit code.

use std::os::unix::fs::PermissionsExt;

use insta::assert_snapshot;

use crate::fake::Fake;
use crate::support::Place;

#[test]
fn without_a_login_it_says_how_to_get_one() {
    let place = Place::new();
    place.greeter();
    assert_snapshot!(place.run("status").told(), @r"
    exit code 1
    --- stderr
    error: you are not logged in to a Barge server
    hint: `barge up` starts one on this machine and logs you in
    ");
    assert_snapshot!(place.run("deploy --json").told(), @r#"
    exit code 1
    --- stdout
    {"error":{"code":"failed","details":[],"exit_code":1,"hint":"`barge up` starts one on this machine and logs you in","message":"you are not logged in to a Barge server"}}
    --- stderr
    error: you are not logged in to a Barge server
    hint: `barge up` starts one on this machine and logs you in
    "#);
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let place = Place::new();
    place.greeter();
    // Nobody listens on this port of this address.
    place.log_in("http://127.9.9.9:1");
    let run = place.run("status");
    assert_eq!(run.code, 5);
    assert!(run.err.starts_with("error: reach the Barge server at http://127.9.9.9:1: "), "{}", run.err);
    assert!(run.err.ends_with("hint: `barge up` starts a server on this machine; --server names another one\n"));
}

#[test]
fn a_server_that_is_something_else_is_not_taken_for_one() {
    let place = Place::new();
    let fake = Fake::new();
    place.log_in(&format!("{}/v2", fake.address));
    let run = place.run("whoami");
    assert_eq!(run.code, 5, "{}", run.told());
    assert!(run.err.contains("not as a Barge server does"), "{}", run.err);
}

#[test]
fn a_token_that_is_not_valid_is_refused() {
    let fake = Fake::new();
    let place = Place::new();
    place.log_in(&fake.address);
    let run = place.finish(place.command(&["whoami"]).env("BARGE_TOKEN", "wrong"));
    assert_snapshot!(run.told(), @r"
    exit code 4
    --- stderr
    error: the token is not valid
    hint: `barge up` logs you in to the server on this machine
    ");
}

#[test]
fn a_token_never_goes_to_another_server() {
    let fake = Fake::new();
    let place = Place::new();
    place.log_in("http://127.9.9.9:1");
    let run = place.run(&format!("whoami --server {}", fake.address));
    assert!(run.code == 1 && run.err.starts_with("error: you are not logged in to http://127."), "{}", run.told());
    let run = place.run("whoami --server http://barge.example");
    assert_eq!(run.code, 1, "{}", run.told());
    let run = place.finish(place.command(&["whoami", "--server", "http://barge.example"]).env("BARGE_TOKEN", "x"));
    assert!(run.code == 2 && run.err.contains("in the open"), "{}", run.told());
}

#[test]
fn a_login_that_others_can_read_is_warned_of() {
    let fake = Fake::with_greeter();
    let place = Place::with(&fake);
    let login = place.config().join("client.json");
    std::fs::set_permissions(&login, std::fs::Permissions::from_mode(0o644)).unwrap();
    let run = place.run("whoami");
    assert_eq!(run.ok(), format!("admin at {} (Barge 0.1.0)\nmay do everything (admin)\n", fake.address));
    assert_eq!(run.err, "warning: others on this machine can read your token; run `chmod 600 CONFIG/client.json`\n");
}

#[test]
fn mistakes_in_barge_yaml_are_named_with_their_place() {
    let place = Place::new();
    place.write("barge.yaml", "name: greeter\nkind: web\nreplcas: 3\n");
    let run = place.run("build --digest");
    assert_eq!(run.code, 2);
    // The words are the model's, and tested there; the place and the hint are what we add.
    assert!(run.err.starts_with("error: PROJECT/barge.yaml:3:1: unknown field `replcas`"), "{}", run.err);
    assert!(run.err.ends_with("\nhint: did you mean `replicas`?\n"), "{}", run.err);
    place.write("barge.yaml", "name: greeter\nkind: wbe\n");
    let json = place.run("build --digest --json").json();
    assert_eq!(json["error"]["code"], "usage");
    assert_eq!(json["error"]["exit_code"], 2);
    assert!(json["error"]["message"].as_str().unwrap().contains("/barge.yaml:2:7: "), "{json}");
}

#[test]
fn unknown_words_are_wrong_usage() {
    let place = Place::new();
    let check = |line: &str, expected: &str| {
        let run = place.run(line);
        assert!(run.code == 2 && run.err.contains(expected), "{line}: {}", run.told());
    };
    check("delpoy", "deploy");
    check("status --wacth", "--watch");
    check("deploy --timeout soon", "is not a duration");
    check("scale many", "invalid value 'many'");
    check("scale 10001", "10000");
    check("build --output image", "oci:DIRECTORY or tar:FILE");
    check("status -m Greeter", "lower-case");
    check("status", "which service?");
    check("deploy", "there is no barge.yaml");
    let json = place.run("delpoy --json").json();
    assert_eq!(json["error"]["message"], "unrecognized subcommand 'delpoy'");
}

#[test]
fn what_the_server_does_not_know_is_refused() {
    let fake = Fake::with_greeter();
    let place = Place::with(&fake);
    assert_snapshot!(place.run("status -m other").told(), @r"
    exit code 4
    --- stderr
    error: test/other was never released
    hint: `barge services` lists what there is
    ");
    assert_snapshot!(place.run("services -e moon").told(), @r"
    exit code 4
    --- stderr
    error: there is no environment moon
    hint: choose one of: test, uat, cluster, bare
    ");
    assert_snapshot!(place.run("approve 7").told(), @r"
    exit code 4
    --- stderr
    error: greeter in test has no release 7
    hint: `barge releases` lists them
    ");
    assert_snapshot!(place.run("logs --instance ZZZZZZ").told(), @r"
    exit code 4
    --- stderr
    error: greeter in test has no instance ZZZZZZ
    hint: `barge instances` lists them
    ");
}
