//! `barge.yaml`: what is read, and what a mistake says.

use barge_model::manifest::{ManifestError, parse};

fn check_error(text: &str, expected: &str) {
    let error = parse(text.as_bytes()).unwrap_err();
    let hint = error.meant().map(|meant| format!(" | {meant}")).unwrap_or_default();
    assert_eq!(format!("{error}{hint}"), expected);
}

#[test]
fn name_and_kind_are_enough() {
    let manifest = parse(b"name: greeter\nkind: web\n").unwrap();
    assert_eq!(manifest.name.as_str(), "greeter");
    assert_eq!(manifest.rollout.first_batch, 1);
    assert!(manifest.rollout.gate.until.is_some(), "without a word about it, a person approves");
}

#[test]
fn mistakes_are_named_with_their_place() {
    check_error(
        "name: greeter\nkind: web\nreplcas: 3\n",
        "barge.yaml:3:1: unknown field `replcas`, expected one of name, kind, build, command, healthcheck, templates, \
         replicas, env, resources, rollout, drain, start_deadline, environments | did you mean `replicas`?",
    );
}

#[test]
fn what_is_no_text_is_refused() {
    assert_eq!(parse(b""), Err(ManifestError::Empty));
    assert_eq!(parse(b"# only a comment\n"), Err(ManifestError::Empty));
    assert_eq!(parse(b"name: \xff\n"), Err(ManifestError::NotUtf8 { offset: 6 }));
    assert!(parse("\u{feff}name: a\nkind: rpc\n".as_bytes()).is_ok());
}
