//! What is carried over, and that it means the same afterwards.

use barge_adopt::{Asked, running};
use barge_model::manifest::{EnvValue, Kind, Memory, MilliCpu};
use serde_json::{Value, json};

use crate::support::{POD, digest, reading, with};

fn command(changes: &[(&str, Value)]) -> Vec<String> {
    reading(&with(changes), &Asked::default()).unwrap().config.command
}

#[test]
fn what_runs_is_named_by_the_digest_that_nodes_have() {
    for (image, expected) in [
        ("registry.example.com/shop:1.2", "registry.example.com/shop"),
        ("localhost:5000/a/shop", "localhost:5000/a/shop"),
        ("shop", "docker.io/library/shop"),
        ("team/shop:latest", "docker.io/team/shop"),
        (&format!("registry.example.com/shop:1@{}", digest('f')), "registry.example.com/shop"),
    ] {
        let running = running(&with(&[("image", json!(image))]), None).unwrap();
        assert_eq!((running.image.as_str(), running.digest.as_str()), (expected, digest('a').as_str()));
        assert!(!running.starts_by_itself);
    }
}

#[test]
fn the_deployment_and_its_image_say_together_what_is_started() {
    let env = json!([{ "name": "MODE", "value": "fast" }]);
    for (said, arguments, expected) in [
        (Value::Null, Value::Null, vec!["/entry", "serve", "$$HOME"]),
        (Value::Null, json!(["other"]), vec!["/entry", "other"]),
        (json!(["./shop"]), Value::Null, vec!["./shop"]),
        (json!(["./shop"]), json!(["--x", "a"]), vec!["./shop", "--x", "a"]),
        // Kubernetes' $(NAME) is ${NAME} to barge-init, which replaces $NAME where Kubernetes does not.
        (
            json!(["sh", "-c", "echo $HOME $(MODE) $(NOBODY) $$(MODE) $(PORT)"]),
            Value::Null,
            vec!["sh", "-c", "echo $$HOME ${MODE} $$(NOBODY) $$(MODE) ${PORT}"],
        ),
        (json!(["a", "$", "$$", "$(", "$()"]), Value::Null, vec!["a", "$$", "$$", "$$(", "$$()"]),
    ] {
        let found = command(&[("command", said.clone()), ("args", arguments), ("env", env.clone())]);
        assert_eq!(found, expected, "{said}");
    }
}

#[test]
fn variables_say_what_they_have_said() {
    let env = json!([
        { "name": "A", "value": "1" },
        { "name": "B", "value": "$(A)2 $$(A) $(C) $x" },
        { "name": "C", "value": "3" },
        { "name": "A", "value": "4" },
        { "name": "EMPTY" },
        { "name": "KEY", "valueFrom": { "secretKeyRef": { "name": "store", "key": "api.key" } } },
        { "name": "PLAIN", "valueFrom": { "secretKeyRef": { "name": "store", "key": "value" } } },
        { "name": "PORT", "value": "3000" },
        { "name": "HOST", "value": "0.0.0.0" },
    ]);
    let reading = reading(&with(&[("env", env)]), &Asked::default()).unwrap();
    let text = |text: &str| EnvValue::Text(text.to_owned());
    let secret = |secret: &str| EnvValue::Secret { secret: secret.to_owned() };
    let expected = [
        ("A", text("4")),
        ("B", text("12 $(A) $(C) $x")),
        ("C", text("3")),
        ("EMPTY", text("")),
        ("KEY", secret("store/api.key")),
        ("PLAIN", secret("store")),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value));
    assert_eq!(reading.config.env, expected.into());
    assert_eq!(reading.losses, []);
}

#[test]
fn the_port_is_the_one_that_requests_are_sent_to() {
    let two = json!([{ "name": "http", "containerPort": 3000 }, { "name": "metrics", "containerPort": 9090 }]);
    let none = json!([]);
    let by_number = json!([{ "metadata": { "name": "shop" }, "spec": { "selector": { "app": "shop" }, "ports": [{ "port": 8000 }] } }]);
    let others = json!([{ "metadata": { "name": "other" }, "spec": { "selector": { "app": "other" }, "ports": [{ "port": 1 }] } }]);
    let probe = json!({ "httpGet": { "path": "/ready", "port": 9090 } });
    let env = json!([{ "name": "PORT", "value": "5000" }]);
    for (changes, asked, expected) in [
        (vec![("ports", two.clone())], None, 3000),
        (vec![("/services", by_number)], None, 8000),
        (vec![("/services", others.clone())], None, 3000),
        (vec![("/services", others), ("ports", two.clone()), ("readinessProbe", probe)], None, 9090),
        (vec![("/services", none.clone()), ("ports", none), ("env", env)], None, 5000),
        (vec![("ports", two)], Some(9090), 9090),
    ] {
        let asked = Asked { port: asked, ..Asked::default() };
        let reading = reading(&with(&changes), &asked).unwrap();
        assert_eq!(reading.pods.port, Some(expected), "{changes:?}");
    }
}

#[test]
fn callers_find_its_pods_by_labels_and_names_of_ports() {
    let labels = json!({ "app": "shop", "team": "sales", "pod-template-hash": "x" });
    let ports = json!([{ "name": "http", "containerPort": 3000 }, { "name": "metrics", "containerPort": 9090 }]);
    let metadata = json!({ "labels": labels });
    let source = with(&[("/deployment/spec/template/metadata", metadata), ("ports", ports)]);
    let reading = reading(&source, &Asked::default()).unwrap();
    let text = serde_json::to_value(&reading.pods).unwrap();
    let expected = json!({ "port": 3000, "labels": { "app": "shop", "team": "sales" }, "ports": { "http": 3000, "metrics": 9090 } });
    assert_eq!((text, reading.callers), (expected, vec!["shop".to_owned()]));
}

#[test]
fn the_rest_is_what_the_deployment_says_or_a_person() {
    let limits = json!({ "limits": { "cpu": "1.5", "memory": "1G" }, "requests": { "cpu": "1" } });
    let probe = json!({ "httpGet": { "path": "/alive", "port": "http" } });
    let grace = format!("{POD}/terminationGracePeriodSeconds");
    let source = with(&[("resources", limits), ("readinessProbe", probe), (&grace, json!(45))]);
    let config = reading(&source, &Asked::default()).unwrap().config;
    assert_eq!((config.resources.cpu, config.resources.memory), (Some(MilliCpu(1500)), Some(Memory(1_000_000_000))));
    assert_eq!((config.healthcheck.as_deref(), config.drain.grace.0, config.kind), (Some("/alive"), 45_000, Kind::Web));
    let asked = Asked {
        command: Some(vec!["./other".to_owned(), "$1".to_owned()]),
        healthcheck: Some("/health".to_owned()),
        kind: Some(Kind::Rpc),
        ..Asked::default()
    };
    let config = reading(&source, &asked).unwrap().config;
    assert_eq!(
        (config.command, config.healthcheck),
        (vec!["./other".to_owned(), "$$1".to_owned()], Some("/health".to_owned()))
    );
    assert_eq!(config.kind, Kind::Rpc);
}
