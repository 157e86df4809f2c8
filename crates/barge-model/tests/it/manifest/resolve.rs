//! From a manifest to the configuration of one environment.

use barge_model::manifest::{Command, EnvValue, Memory, MilliCpu, ServiceConfig, parse};
use barge_model::{EnvironmentName, Millis};

fn resolve(text: &str, environment: &str) -> Result<ServiceConfig, String> {
    let manifest = parse(format!("name: greeter\nkind: web\n{text}\n").as_bytes()).unwrap();
    let detected = Some(Command(vec!["./detected".to_owned()]));
    manifest.resolve(&EnvironmentName::new(environment).unwrap(), detected).map_err(|error| error.to_string())
}

const LAYERS: &str = "
replicas: 2
env: {COMMON: common, BOTH: common}
resources: {cpu: 1, memory: 1GiB}
rollout: {first_batch: 2, batches: [50%]}
environments:
  product:
    replicas: 20
    env: {BOTH: product, PASSWORD: {secret: product-password}}
    resources: {memory: 4GiB}
    rollout: {batches: [10%, 20%]}
  uat: {}
";

#[test]
fn an_environment_changes_what_it_names_and_nothing_else() {
    let product = resolve(LAYERS, "product").unwrap();
    assert_eq!(product.replicas, Some(20));
    assert_eq!(product.env["COMMON"], EnvValue::Text("common".to_owned()));
    assert_eq!(product.env["BOTH"], EnvValue::Text("product".to_owned()));
    assert_eq!(product.env["PASSWORD"], EnvValue::Secret { secret: "product-password".to_owned() });
    assert_eq!(product.resources.cpu, Some(MilliCpu(1000)), "resources are overlaid field by field");
    assert_eq!(product.resources.memory, Some(Memory(4 << 30)));
    assert_eq!(product.rollout.batches.len(), 2);
    assert_eq!(product.rollout.first_batch, 1, "a rollout plan is replaced as a whole");

    for environment in ["uat", "test", "one-that-nobody-names"] {
        let common = resolve(LAYERS, environment).unwrap();
        assert_eq!(common.replicas, Some(2), "{environment}");
        assert_eq!(common.env["BOTH"], EnvValue::Text("common".to_owned()));
        assert!(!common.env.contains_key("PASSWORD"), "a secret of product is not even named in {environment}");
        assert_eq!(common.resources.memory, Some(Memory(1 << 30)));
        assert_eq!(common.rollout.first_batch, 2);
    }
}

#[test]
fn what_is_not_written_has_a_default_or_is_detected() {
    let config = resolve("", "test").unwrap();
    assert_eq!(config.command, ["./detected"]);
    assert_eq!(config.replicas, None);
    assert_eq!(config.start_deadline, Millis::from_secs(300));
    assert_eq!(config.drain.limit, Millis::from_secs(60), "not shorter than the gateway waits for an answer");
    assert_eq!(resolve("command: ./mine", "test").unwrap().command, ["./mine"]);
    let manifest = parse(b"name: greeter\nkind: web\n").unwrap();
    let error = manifest.resolve(&EnvironmentName::new("test").unwrap(), None).unwrap_err();
    assert_eq!(error.to_string(), "there is no command that starts the service");
}

#[test]
fn what_has_no_meaning_is_refused() {
    let rows = [
        ("replicas: 10001", "replicas is 10001; at most 10000 are allowed"),
        (
            "env: {1A: x}",
            "\"1A\" cannot be the name of an environment variable: letters, digits and '_' only, not starting with a digit",
        ),
        (
            "env: {'A-B': x}",
            "\"A-B\" cannot be the name of an environment variable: letters, digits and '_' only, not starting with a \
             digit",
        ),
        (
            "env: {'': x}",
            "\"\" cannot be the name of an environment variable: letters, digits and '_' only, not starting with a digit",
        ),
        ("env: {PORT: 8080}", "the variable PORT is set by Barge and cannot be given in env"),
        ("env: {HOST: x}", "the variable HOST is set by Barge and cannot be given in env"),
        ("env: {SERVER_PORT: 1}", "the variable SERVER_PORT is set by Barge and cannot be given in env"),
        (
            "env: {A: {secret: 'a b'}}",
            "the secret of A, \"a b\", is not a secret's name: NAME or NAME/KEY, of letters, digits, '-', '_' and '.'",
        ),
        (
            "env: {A: {secret: ''}}",
            "the secret of A, \"\", is not a secret's name: NAME or NAME/KEY, of letters, digits, '-', '_' and '.'",
        ),
        (
            "env: {A: {secret: ../a}}",
            "the secret of A, \"../a\", is not a secret's name: NAME or NAME/KEY, of letters, digits, '-', '_' and '.'",
        ),
        (
            "env: {A: {secret: a/..}}",
            "the secret of A, \"a/..\", is not a secret's name: NAME or NAME/KEY, of letters, digits, '-', '_' and '.'",
        ),
        (
            "env: {A: {secret: a/b/c}}",
            "the secret of A, \"a/b/c\", is not a secret's name: NAME or NAME/KEY, of letters, digits, '-', '_' and '.'",
        ),
        (
            "env: {A: {secret: /a}}",
            "the secret of A, \"/a\", is not a secret's name: NAME or NAME/KEY, of letters, digits, '-', '_' and '.'",
        ),
        ("env: {A: \"a\\0b\"}", "the value of A has a zero byte, which no environment variable can have"),
        ("command: [./run, \"a\\0b\"]", "the command's word \"a\\0b\" has a zero byte, which no program can be given"),
        ("healthcheck: healthz", "healthcheck \"healthz\" must be a path that starts with '/' and has no spaces"),
        ("healthcheck: '/a b'", "healthcheck \"/a b\" must be a path that starts with '/' and has no spaces"),
        (
            "templates: [/etc/passwd.template]",
            "template \"/etc/passwd.template\" must be a relative path inside the built files that ends in .template",
        ),
        (
            "templates: [a/../../b.template]",
            "template \"a/../../b.template\" must be a relative path inside the built files that ends in .template",
        ),
        (
            "templates: [a.conf]",
            "template \"a.conf\" must be a relative path inside the built files that ends in .template",
        ),
        ("rollout: {first_batch: 0}", "rollout: first_batch must be at least 1: somebody has to see the release run"),
        ("rollout: {batches: [0]}", "rollout: a batch of size 0 would never make progress"),
        ("rollout: {progress_deadline: 0s}", "rollout: progress_deadline must be longer than 0s"),
        ("environments: {test: {replicas: 10001}}", "replicas is 10001; at most 10000 are allowed"),
        ("environments: {test: {env: {PORT: 1}}}", "the variable PORT is set by Barge and cannot be given in env"),
        (
            "environments: {test: {rollout: {first_batch: 0}}}",
            "rollout: first_batch must be at least 1: somebody has to see the release run",
        ),
    ];
    for (text, expected) in rows {
        assert_eq!(resolve(text, "test").unwrap_err(), expected, "{text}");
    }
}

#[test]
fn a_secret_has_a_name_and_maybe_a_key() {
    for name in ["db-password", "store/api.key", "my.store/value"] {
        let config = resolve(&format!("env: {{A: {{secret: {name}}}}}"), "test").unwrap();
        assert_eq!(config.env["A"], EnvValue::Secret { secret: name.to_owned() });
    }
}

#[test]
fn what_only_another_environment_gets_wrong_does_not_matter_here() {
    resolve("environments: {uat: {replicas: 10001}}", "test").unwrap();
}

#[test]
fn a_configuration_is_stored_and_read_again() {
    let config = resolve(LAYERS, "product").unwrap();
    let text = serde_json::to_string(&config).unwrap();
    assert_eq!(serde_json::from_str::<ServiceConfig>(&text).unwrap(), config);
    assert!(text.contains(r#""PASSWORD":{"secret":"product-password"}"#), "a reference, never the secret: {text}");
}
