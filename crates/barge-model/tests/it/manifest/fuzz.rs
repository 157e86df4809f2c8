//! Any bytes in the place of a `barge.yaml`: it is read or refused, soon, in one line that names a place; and what is read can be
//! written, read again and stored without becoming something else.

use std::time::{Duration, Instant};

use barge_model::EnvironmentName;
use barge_model::manifest::{Command, MAX_MANIFEST_BYTES, Manifest, ManifestError, ServiceConfig, parse};
use barge_testkit::fuzz::{damaged, fuzz};
use proptest::prelude::*;

/// So many cases are looked at in every run.
const CASES: u32 = 512;
/// Reading takes milliseconds; a machine that is busy is given more.
const LIMIT: Duration = Duration::from_secs(5);
/// YAML's keys are at most 1024 characters long, and those that are written here are longer than they were.
const LONGEST_NAME: usize = 300;

/// Documents in which everything occurs that may, in the ways in which it may be written.
const GOOD: [&str; 4] = [
    "name: greeter\nkind: web\n",
    "name: checkout
kind: web                      # HTTP behind the gateway
build: {type: files, path: dist, base: scratch}
command: ./checkout --port $PORT 'two words'
healthcheck: /healthcheck
templates: [conf/app.toml.template]
replicas: 4
env:
  LOG_LEVEL: info
  RATE: 1.10
  OFF: no
  DB_PASSWORD: {secret: db-password}
resources: {cpu: 0.5, memory: 512MiB}
rollout:
  first_batch: 1
  gate: {until: approved, for: 10m}
  batches: [25%, 3, {size: 50%, pause: 5m}]
  max_surge: 2
  max_unavailable: 25%
  progress_deadline: 1h30m
drain: {quiet: 250ms, limit: 1m, grace: 5}
start_deadline: 2m
environments:
  product: {replicas: 20, env: {LOG_LEVEL: warn}, resources: {memory: 1GiB}}
  test:
    rollout: {gate: {for: 30s}}
",
    "%YAML 1.2
---
name: \"greeter\"
kind: rpc
command:
  - java
  - -jar
  - 'greeter.jar'
env: &common
  A: &version 1.10
  B: *version
  \"C\\t\": |-
    two
    lines
environments:
  test: {env: {<<: *common, A: 2.0}}
  uat: &uat {env: *common}
  product: *uat
...
",
    "{\"name\": \"greeter\", \"kind\": \"web\", \"env\": {\"A\": \"\\u00e4\"}, \"rollout\": {\"gate\": {}}, \"replicas\": 0}",
];

/// What YAML and its quantities are made of.
const WORDS: [&str; 40] = [
    "&a ",
    "*a",
    "*common",
    "<<: *a",
    "<<: [*common, *common]",
    "- ",
    ": ",
    "? ",
    "|\n",
    ">-\n  ",
    "!!int ",
    "!!binary ",
    "!!str ",
    "---\n",
    "...\n",
    "\n",
    "\n  ",
    "\t",
    "\r",
    "#",
    "'",
    "\"",
    "{",
    "}",
    "]",
    "~",
    "0x1F",
    "0o17",
    ".inf",
    "25%",
    "250m",
    "512MiB",
    "99999999999999GiB",
    "1h30m",
    "213503982334d",
    "10000000",
    "\"a\\nb\"",
    "\"\\x1b[31m\"",
    "\u{feff}",
    "\u{85}",
];

#[test]
fn no_bytes_in_the_place_of_a_manifest_do_any_harm() {
    let good = prop::sample::select(GOOD.to_vec());
    let bytes = good.prop_flat_map(|good| damaged(good.as_bytes().to_vec(), &WORDS));
    fuzz(CASES, &bytes, |bytes| {
        let begin = Instant::now();
        let read = parse(&bytes);
        prop_assert!(begin.elapsed() < LIMIT, "it took {:?}", begin.elapsed());
        match read {
            Ok(manifest) => {
                stays_the_same(&manifest)?;
                means_the_same_everywhere(&manifest)
            }
            Err(error) => names_a_place(&bytes, &error),
        }
    });
}

#[test]
fn the_documents_that_are_damaged_are_good() {
    for good in GOOD {
        let manifest = parse(good.as_bytes()).unwrap_or_else(|error| panic!("{error}: {good}"));
        stays_the_same(&manifest).unwrap();
        means_the_same_everywhere(&manifest).unwrap();
    }
}

/// A mistake is told in one line, and where it is.
fn names_a_place(bytes: &[u8], error: &ManifestError) -> Result<(), TestCaseError> {
    let text = String::from_utf8_lossy(bytes);
    match error {
        ManifestError::TooLarge { size } => {
            prop_assert!(*size == bytes.len() && *size > MAX_MANIFEST_BYTES);
        }
        ManifestError::NotUtf8 { offset } => {
            prop_assert!(std::str::from_utf8(&bytes[..*offset]).is_ok() && *offset < bytes.len());
        }
        ManifestError::Empty => {
            let says_nothing = |line: &str| {
                let line = line.trim_start_matches('\u{feff}').trim_start();
                line.is_empty() || line.starts_with('#')
            };
            prop_assert!(text.lines().all(says_nothing), "{text:?} is not empty");
        }
        ManifestError::Invalid { line, column, message, .. } => {
            // In YAML a carriage return alone ends a line as well; and a mistake may be that the text has ended.
            let lines = text.matches(['\n', '\r']).count() as u64 + 2;
            prop_assert!((1..=lines).contains(line) && *column >= 1, "{line}:{column} of {text:?}");
            prop_assert!(!message.is_empty());
        }
    }
    let told = error.to_string();
    prop_assert!(!told.chars().any(char::is_control), "{told:?} would move a terminal's cursor");
    prop_assert!(error.meant().is_none_or(|meant| !meant.is_empty() && !meant.chars().any(char::is_control)));
    Ok(())
}

/// What was read is the same once it was written and read again.
fn stays_the_same(manifest: &Manifest) -> Result<(), TestCaseError> {
    let overlays = manifest.environments.values().map(|overlay| &overlay.env);
    if overlays.chain([&manifest.env]).flat_map(|env| env.keys()).any(|name| name.len() > LONGEST_NAME) {
        return Ok(());
    }
    let text = written(manifest);
    if text.len() > MAX_MANIFEST_BYTES {
        // Written out, aliases and escapes may be too much.
        return Ok(());
    }
    let again = parse(text.as_bytes());
    prop_assert_eq!(again.as_ref(), Ok(manifest), "written as {}", text);
    Ok(())
}

/// A manifest as YAML. JSON is YAML as well, where what YAML lets stand in no text is written as an escape.
fn written(manifest: &Manifest) -> String {
    let json = serde_json::to_string_pretty(manifest).unwrap();
    let mut text = String::with_capacity(json.len());
    for letter in json.chars() {
        if matches!(letter, '\n' | ' '..='~') || letter.is_alphanumeric() {
            text.push(letter);
        } else {
            text.push_str(&format!("\\U{:08x}", u32::from(letter)));
        }
    }
    text
}

/// In each environment there is a reason against it, or a configuration that a release can hold.
fn means_the_same_everywhere(manifest: &Manifest) -> Result<(), TestCaseError> {
    let other = EnvironmentName::new("other").unwrap();
    for environment in manifest.environments.keys().chain([&other]) {
        match manifest.resolve(environment, Some(Command(vec!["./found".to_owned()]))) {
            Ok(config) => {
                let stored = serde_json::to_string(&config).unwrap();
                let read: ServiceConfig = serde_json::from_str(&stored).unwrap();
                prop_assert_eq!(&read, &config, "stored as {}", stored);
                prop_assert_eq!(read.check(), Ok(()));
            }
            Err(error) => {
                let told = error.to_string();
                prop_assert!(!told.is_empty() && !told.chars().any(char::is_control), "{told:?}");
            }
        }
    }
    Ok(())
}
