//! What nobody can agree to, in words and with what to do next.

use barge_adopt::Asked;
use serde_json::{Value, json};

use crate::support::{CONTAINER, POD, pod, reading, with};

fn refused(changes: &[(&str, Value)], asked: &Asked) -> (String, String) {
    let refusal = reading(&with(changes), asked).unwrap_err();
    (refusal.to_string(), refusal.hint("shop"))
}

#[test]
fn each_obstacle_is_told_with_what_helps() {
    let target = |kind: &str, name: &str| {
        let spec = json!({ "maxReplicas": 9, "scaleTargetRef": { "kind": kind, "name": name } });
        json!([{ "metadata": { "name": "shop-scaler" }, "spec": spec }])
    };
    let mut unknown = pod("a", 'a');
    unknown["status"]["containerStatuses"][0]["imageID"] = json!("sha256:0123");
    let two = json!([{ "containerPort": 3000 }, { "containerPort": 4000 }]);
    for (changes, expected, hint) in [
        (
            vec![("/deployment/spec/replicas", json!(0))],
            "it has no instances",
            "kubectl scale deployment shop --replicas=1",
        ),
        (vec![("/pods", json!([]))], "it has no instances", "kubectl scale"),
        (
            vec![("/pods", json!([pod("a", 'a'), pod("b", 'b')]))],
            "its pods run different images: aaaaaaaaaaaa, bbbbbbbbbbbb",
            "kubectl rollout restart deployment shop",
        ),
        (
            vec![("/pods", json!([unknown]))],
            "the pod a runs the image \"sha256:0123\", which no registry has a digest of",
            "push the image",
        ),
        (
            vec![("image", json!("registry.example.com/Shop"))],
            "its image \"registry.example.com/Shop\" has no name",
            "push the image",
        ),
        (
            vec![("/deployment/spec/paused", json!(true))],
            "under way: it is paused",
            "kubectl rollout status deployment shop",
        ),
        (
            vec![("/deployment/metadata/generation", json!(4))],
            "under way: Kubernetes has not begun",
            "kubectl rollout status",
        ),
        (
            vec![("/deployment/status/updatedReplicas", json!(1))],
            "under way: 1 of 2 instances are of the last change",
            "kubectl rollout status",
        ),
        (
            vec![("/deployment/status/replicas", json!(3))],
            "under way: 2 of 2 instances are of the last change",
            "kubectl rollout status",
        ),
        (
            vec![("/deployment/status/availableReplicas", json!(1))],
            "under way: 1 of 2 instances are available",
            "kubectl rollout status",
        ),
        (
            vec![("/autoscalers", target("Deployment", "shop"))],
            "the HorizontalPodAutoscaler shop-scaler scales it",
            "kubectl delete hpa shop-scaler",
        ),
        (
            vec![("/deployment/metadata/annotations", json!({ "barge.dev/adopted-by": "WebService/shop" }))],
            "WebService/shop has taken its place already",
            "barge adopt --help",
        ),
        (vec![("/services", json!([])), ("ports", json!([]))], "does not say on which port", "--port NUMBER"),
        (vec![("/services", json!([])), ("ports", two)], "several ports: 3000, 4000", "--port 3000"),
        (
            vec![("ports", json!([{ "name": "http", "containerPort": 7070 }]))],
            "it listens on port 7070",
            "changed first",
        ),
        (
            vec![(
                "ports",
                json!([{ "name": "http", "containerPort": 3000 }, { "name": "ready", "containerPort": 9 }]),
            )],
            "port 9 has the name \"ready\"",
            "changed first",
        ),
    ] {
        let (told, helps) = refused(&changes, &Asked::default());
        assert!(told.contains(expected), "{changes:?}: {told}");
        assert!(helps.contains(hint), "{changes:?}: {helps}");
    }
    for other in [target("Deployment", "other"), target("StatefulSet", "shop")] {
        reading(&with(&[("/autoscalers", other)]), &Asked::default()).unwrap();
    }
}

#[test]
fn one_of_several_containers_has_to_be_named() {
    let main = serde_json::to_value(&with(&[]).deployment)
        .unwrap()
        .pointer(CONTAINER.strip_prefix("/deployment").unwrap())
        .cloned()
        .unwrap();
    let containers = format!("{POD}/containers");
    let two = [(containers.as_str(), json!([main, { "name": "proxy" }]))];
    let (told, hint) = refused(&two, &Asked::default());
    assert!(
        told == "its pods have several containers: main, proxy" && hint.contains("--container main"),
        "{told} {hint}"
    );
    let asked = |name: &str| Asked { container: Some(name.to_owned()), ..Asked::default() };
    let (told, _) = refused(&two, &asked("nobody"));
    assert_eq!(told, "its pods have no container \"nobody\", but main, proxy");
    reading(&with(&two), &asked("main")).unwrap();
}
