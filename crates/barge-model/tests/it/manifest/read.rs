//! What is read, and what the least of it is.

use barge_model::manifest::{BuildType, Count, EnvValue, Kind, Memory, MilliCpu, parse};
use barge_model::rollout::{Batch, Until};
use barge_model::{EnvironmentName, Millis};

#[test]
fn name_and_kind_are_enough() {
    let manifest = parse(b"name: greeter\nkind: web\n").unwrap();
    assert_eq!(manifest.name.as_str(), "greeter");
    assert_eq!(manifest.kind, Kind::Web);
    assert_eq!(manifest.build.build_type, BuildType::Files);
    assert_eq!(manifest.rollout.first_batch, 1);
    assert!(manifest.rollout.gate.until.is_some(), "without a word about it, a person approves");
}

#[test]
fn everything_at_once() {
    let text = r#"
name: greeter
kind: rpc
build: {type: files, path: target, base: scratch}
command: ./greeter --port $PORT 'two words'
healthcheck: /healthz
templates: [conf/app.toml.template]
replicas: 4
env:
  TEXT: text
  NUMBER: 5
  FLOAT: 1.5
  FLAG: true
  PASSWORD: {secret: database-password}
resources: {cpu: 0.5, memory: 512MiB}
rollout:
  first_batch: 2
  gate: {until: approved, for: 10m}
  batches: [25%, 3, {size: 50%, pause: 5m}]
  max_surge: 2
  max_unavailable: 25%
  progress_deadline: 1h30m
drain: {quiet: 250ms, limit: 1m, grace: 5}
start_deadline: 2m
environments:
  product:
    replicas: 40
"#;
    let manifest = parse(text.as_bytes()).unwrap();
    let words = ["./greeter", "--port", "$PORT", "two words"].map(str::to_owned).to_vec();
    assert_eq!(manifest.command.unwrap().0, words);
    let text_of = |name: &str| match &manifest.env[name] {
        EnvValue::Text(text) => text.clone(),
        EnvValue::Secret { secret } => format!("secret {secret}"),
    };
    let values = ["TEXT", "NUMBER", "FLOAT", "FLAG", "PASSWORD"].map(text_of);
    assert_eq!(values, ["text", "5", "1.5", "true", "secret database-password"]);
    assert_eq!(manifest.resources.cpu, Some(MilliCpu(500)));
    assert_eq!(manifest.resources.memory, Some(Memory(512 << 20)));
    assert_eq!(manifest.rollout.gate.until, Some(Until::Approved));
    assert_eq!(manifest.rollout.gate.hold, Some(Millis::from_secs(600)));
    let batch = |size, pause| Batch { size, pause };
    assert_eq!(
        manifest.rollout.batches,
        [
            batch(Count::Percent(25), None),
            batch(Count::Absolute(3), None),
            batch(Count::Percent(50), Some(Millis::from_secs(300)))
        ]
    );
    assert_eq!(manifest.drain.grace, Millis::from_secs(5), "a bare number is seconds");
    assert_eq!(manifest.environments[&EnvironmentName::new("product").unwrap()].replicas, Some(40));
}

#[test]
fn ways_of_writing_that_mean_the_same() {
    let rows = [
        ("replicas: 3", "replicas: '3'"),
        ("command: a b", "command: [a, b]"),
        ("command: [a, 5, true]", "command: a 5 true"),
        ("rollout: {batches: [2]}", "rollout: {batches: [{size: 2}]}"),
        ("start_deadline: 90", "start_deadline: 1m30s"),
        ("resources: {cpu: 1}", "resources: {cpu: 1000m}"),
        ("resources: {memory: 1GiB}", "resources: {memory: 1024Mi}"),
        ("env: &e {A: b}", "env: {A: 'b'}"),
        ("build: {path: 5}", "build: {path: '5'}"),
        ("build: {context_path: 1.10, jvm: [-Xss1m]}", "build: {context_path: '1.10', jvm: ['-Xss1m']}"),
    ];
    for (one, other) in rows {
        let read = |text: &str| parse(format!("name: greeter\nkind: web\n{text}\n").as_bytes()).unwrap();
        assert_eq!(read(one), read(other), "{one} and {other}");
    }
}

/// Texts that YAML takes for something else, and what has to come of them.
const SPELLINGS: [(&str, &str); 32] = [
    ("no", "no"),
    ("off", "off"),
    ("yes", "yes"),
    ("On", "On"),
    ("y", "y"),
    ("N", "N"),
    ("true", "true"),
    ("True", "True"),
    ("FALSE", "FALSE"),
    ("5", "5"),
    ("+5", "+5"),
    ("-0", "-0"),
    ("01234", "01234"),
    ("007", "007"),
    ("1_000", "1_000"),
    ("0x1F", "0x1F"),
    ("0o17", "0o17"),
    ("0b11", "0b11"),
    ("1.10", "1.10"),
    ("1.0", "1.0"),
    ("-2.50", "-2.50"),
    ("12e5", "12e5"),
    ("123e4567", "123e4567"),
    (".inf", ".inf"),
    (".5", ".5"),
    ("99999999999999999999", "99999999999999999999"),
    ("2026-11-25", "2026-11-25"),
    ("12:30:45", "12:30:45"),
    ("'no'", "no"),
    ("\"1.10\"", "1.10"),
    ("'~'", "~"),
    ("!!str 1.10", "1.10"),
];

#[test]
fn texts_are_as_they_are_written() {
    let read = |text: String| parse(format!("name: greeter\nkind: web\n{text}\n").as_bytes()).unwrap();
    let test = EnvironmentName::new("test").unwrap();
    for (written, expected) in SPELLINGS {
        let value = EnvValue::Text(expected.to_owned());
        assert_eq!(read(format!("env: {{A: {written}}}")).env["A"], value, "{written}");
        assert_eq!(read(format!("env:\n  A: {written}\n  B: x")).env["A"], value, "{written}");
        let overlaid = read(format!("environments: {{test: {{env: {{A: {written}}}}}}}"));
        assert_eq!(overlaid.environments[&test].env["A"], value, "{written}");
        let command = read(format!("command: [./run, --color, {written}]")).command.unwrap();
        assert_eq!(command.0, ["./run", "--color", expected], "{written}");
        let secret = read(format!("env: {{A: {{secret: {written}}}}}"));
        assert_eq!(secret.env["A"], EnvValue::Secret { secret: expected.to_owned() }, "{written}");
        let path = read(format!("build: {{path: {written}}}")).build.path;
        assert_eq!(path.as_deref(), Some(expected), "{written}");
    }
}

#[test]
fn texts_are_as_they_are_written_where_an_alias_stands_for_them() {
    let text = "name: greeter
kind: web
env: &common {A: &version 1.10, B: *version, secret: 012, P: {secret: 0x1F}}
environments:
  test: {env: {<<: *common, A: 2.0}}
  uat: &uat {env: *common}
  product: *uat
";
    let manifest = parse(text.as_bytes()).unwrap();
    let told = |env: &std::collections::BTreeMap<String, EnvValue>| {
        ["A", "B", "secret", "P"].map(|name| match &env[name] {
            EnvValue::Text(text) => text.clone(),
            EnvValue::Secret { secret } => format!("secret {secret}"),
        })
    };
    assert_eq!(told(&manifest.env), ["1.10", "1.10", "012", "secret 0x1F"]);
    let overlay = |name: &str| told(&manifest.environments[&EnvironmentName::new(name).unwrap()].env);
    assert_eq!(overlay("test"), ["2.0", "1.10", "012", "secret 0x1F"]);
    assert_eq!(overlay("uat"), ["1.10", "1.10", "012", "secret 0x1F"]);
    assert_eq!(overlay("product"), ["1.10", "1.10", "012", "secret 0x1F"]);
}

#[test]
fn a_byte_order_mark_and_dos_line_ends_do_no_harm() {
    let plain = parse(b"name: greeter\nkind: rpc\nreplicas: 3\n").unwrap();
    assert_eq!(parse("\u{feff}name: greeter\nkind: rpc\nreplicas: 3\n".as_bytes()), Ok(plain.clone()));
    assert_eq!(parse(b"name: greeter\r\nkind: rpc\r\nreplicas: 3\r\n"), Ok(plain.clone()));
    assert_eq!(parse(b"%YAML 1.2\n---\nname: greeter\nkind: rpc\nreplicas: 3\n...\n"), Ok(plain));
}
