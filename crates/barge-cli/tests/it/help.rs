//! `--help` and completions.

use crate::support::Place;

const VERBS: [&str; 20] = [
    "adopt",
    "init",
    "build",
    "deploy",
    "status",
    "approve",
    "abort",
    "rollback",
    "scale",
    "restart",
    "releases",
    "instances",
    "logs",
    "exec",
    "services",
    "open",
    "login",
    "logout",
    "whoami",
    "completions",
];

#[test]
fn every_command_teaches_by_example() {
    let place = Place::new();
    for verb in VERBS {
        let run = place.run(&format!("{verb} --help"));
        let help = run.ok();
        assert!(help.contains(&format!("Examples:\n  barge {verb}")) || help.contains("barge open"), "{help}");
        assert!(help.contains("--json") && help.contains("--environment"), "{help}");
        let wide: Vec<&str> = help.lines().filter(|line| line.chars().count() > 120).collect();
        assert!(wide.is_empty(), "{verb}: {wide:?}");
    }
}

#[test]
fn the_list_of_commands_comes_with_examples_and_exit_codes() {
    let place = Place::new();
    let run = place.run("--help");
    let help = run.ok();
    for verb in VERBS.iter().chain(&["up", "down", "demo", "gateway", "cluster"]) {
        assert!(help.contains(&format!("\n  {verb} ")), "{verb} is missing: {help}");
    }
    assert!(help.contains("Examples:") && help.contains("Exit codes:") && help.contains("  3    the release failed"));
    let without = place.run("");
    assert_eq!((without.code, without.out.as_str()), (2, ""), "without a command it is an error, with the same text");
    assert!(without.err.contains("Exit codes:"));
}

#[test]
fn completions_know_the_commands() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish"] {
        let run = place.run(&format!("completions {shell}"));
        assert!(VERBS.iter().all(|verb| run.ok().contains(verb)), "{shell}");
    }
    assert_eq!(place.run("completions tcsh").code, 2);
}

#[test]
fn it_says_its_version() {
    assert_eq!(Place::new().run("--version").ok(), concat!("barge ", env!("CARGO_PKG_VERSION"), "\n"));
}
