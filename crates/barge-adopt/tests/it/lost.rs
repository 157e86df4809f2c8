//! What is lost, each part by itself and by its name.

use barge_adopt::{Asked, Loss};
use serde_json::{Value, json};

use crate::support::{CONTAINER, POD, reading, with};

fn lost(path: &str, value: Value) -> Vec<String> {
    let losses = reading(&with(&[(path, value)]), &Asked::default()).unwrap().losses;
    losses.into_iter().map(|loss| format!("{}: {}", loss.name, loss.what)).collect()
}

#[test]
fn nothing_is_lost_of_what_says_nothing_special() {
    for (path, value) in [
        ("livenessProbe", json!({ "tcpSocket": { "port": 3000 } })),
        ("imagePullPolicy", json!("Always")),
        (&format!("{POD}/securityContext"), json!({})),
        (&format!("{POD}/serviceAccountName"), json!("default")),
        (&format!("{POD}/dnsPolicy"), json!("ClusterFirst")),
        (&format!("{POD}/schedulerName"), json!("default-scheduler")),
        ("readinessProbe", json!({ "httpGet": { "path": "/", "port": 3000 } })),
        ("/deployment/spec/template/metadata/annotations", json!({ "kubectl.kubernetes.io/restartedAt": "now" })),
        ("resources", json!({ "limits": { "memory": "64Mi" }, "requests": { "memory": "32Mi" } })),
    ] {
        assert_eq!(lost(path, value), Vec::<String>::new(), "{path}");
    }
}

#[test]
fn each_part_that_has_no_place_is_told() {
    let pod = |field: &str| format!("{POD}/{field}");
    let variable = |source: Value| json!([{ "name": "A", "valueFrom": source }]);
    let main = serde_json::to_value(&with(&[]).deployment)
        .unwrap()
        .pointer(CONTAINER.strip_prefix("/deployment").unwrap())
        .cloned()
        .unwrap();
    for (path, value, expected) in [
        (
            "volumeMounts".to_owned(),
            json!([{ "name": "data", "mountPath": "/data" }]),
            "volumes: volumes: data at /data",
        ),
        ("workingDir".to_owned(), json!("/srv"), "workingDir: a working directory other than the image's: /srv"),
        (
            "ports".to_owned(),
            json!([{ "name": "http", "containerPort": 3000, "hostPort": 80 }]),
            "hostPort: ports of the node: 80",
        ),
        (
            "ports".to_owned(),
            json!([{ "name": "http", "containerPort": 3000 }, { "containerPort": 53, "protocol": "UDP" }]),
            "protocols: ports that do not speak TCP: 53/UDP",
        ),
        ("lifecycle".to_owned(), json!({ "preStop": { "sleep": { "seconds": 5 } } }), "lifecycle: hooks: preStop"),
        (
            "securityContext".to_owned(),
            json!({ "runAsUser": 7 }),
            "securityContext: who its processes are and what they may do: of the container",
        ),
        (
            pod("securityContext"),
            json!({ "runAsUser": 7 }),
            "securityContext: who its processes are and what they may do: of the pod",
        ),
        (
            pod("serviceAccountName"),
            json!("shop"),
            "serviceAccount: an account with the API server: serviceAccountName",
        ),
        (pod("hostNetwork"), json!(true), "host: namespaces that it shares with its node: hostNetwork"),
        (pod("nodeSelector"), json!({ "disk": "fast" }), "scheduling: which nodes it goes to: nodeSelector"),
        (pod("hostAliases"), json!([{ "ip": "10.0.0.1" }]), "dns: names that it knows: hostAliases"),
        (pod("initContainers"), json!([{ "name": "before" }]), "initContainers: containers that run before: before"),
        (
            pod("imagePullSecrets"),
            json!([{ "name": "harbor" }]),
            "imagePullSecrets: secrets with which its image is pulled; those of `barge cluster install --pull-secret` are used: harbor",
        ),
        (
            "/deployment/spec/template/metadata/annotations".to_owned(),
            json!({ "prometheus.io/scrape": "true" }),
            "annotations: annotations of the pods: prometheus.io/scrape",
        ),
        (
            "env".to_owned(),
            variable(json!({ "configMapKeyRef": { "name": "shop", "key": "a" } })),
            "env.A: A comes from a in the ConfigMap shop",
        ),
        (
            "env".to_owned(),
            variable(json!({ "fieldRef": { "fieldPath": "status.podIP" } })),
            "env.A: A comes from the pod's status.podIP",
        ),
        (
            "env".to_owned(),
            variable(json!({ "secretKeyRef": { "name": "s", "key": "k", "optional": true } })),
            "env.A: A may do without k in the Secret s",
        ),
        (
            "env".to_owned(),
            json!([{ "name": "PORT", "value": "1" }]),
            "env.PORT: PORT is something else than 3000, which Barge says itself",
        ),
        (
            "env".to_owned(),
            json!([{ "name": "S", "valueFrom": { "secretKeyRef": { "name": "s", "key": "k" } } }, { "name": "A", "value": "x$(S)" }]),
            "env.A: A has the secret S within its value",
        ),
        (
            "envFrom".to_owned(),
            json!([{ "configMapRef": { "name": "all" } }]),
            "envFrom: variables come from all of the ConfigMap all",
        ),
        (
            "resources".to_owned(),
            json!({ "requests": { "memory": "64Mi" } }),
            "resources.memory: 64Mi of memory is requested without a limit; Barge's request is its limit",
        ),
        (
            "resources".to_owned(),
            json!({ "limits": { "nvidia.com/gpu": "1" } }),
            "resources.nvidia.com/gpu: 1 of nvidia.com/gpu",
        ),
        (
            "resources".to_owned(),
            json!({ "limits": { "cpu": "lots" } }),
            "resources.cpu: \"lots\" is no quantity that Barge reads",
        ),
        (
            "readinessProbe".to_owned(),
            json!({ "exec": { "command": ["ok"] } }),
            "readinessProbe: it is ready when a program in it says so; --healthcheck PATH says another way",
        ),
        (
            "readinessProbe".to_owned(),
            json!({ "httpGet": { "path": "/", "port": 9090 } }),
            "readinessProbe: it is ready when another port than the service's answers; --healthcheck PATH says another way",
        ),
        (
            "readinessProbe".to_owned(),
            json!({ "httpGet": { "path": "/", "port": 3000, "scheme": "HTTPS" } }),
            "readinessProbe: it is ready when it answers over HTTPS; --healthcheck PATH says another way",
        ),
    ] {
        assert_eq!(lost(&path, value), [expected], "{path}");
    }
    let with_sidecar = with(&[(&pod("containers"), json!([main, { "name": "proxy" }]))]);
    let asked = Asked { container: Some("main".to_owned()), ..Asked::default() };
    let losses = reading(&with_sidecar, &asked).unwrap().losses;
    assert_eq!(losses.len(), 1);
    assert_eq!((losses[0].name.as_str(), losses[0].what.as_str()), ("sidecars", "other containers: proxy"));
}

#[test]
fn a_part_is_accepted_by_its_name_or_all_of_a_kind() {
    let loss = |name: &str| Loss { name: name.to_owned(), what: String::new() };
    for (name, accepted, expected) in [
        ("volumes", &["volumes"][..], true),
        ("volumes", &["volume"], false),
        ("env.A", &["env.A"], true),
        ("env.A", &["env"], true),
        ("env.A", &["env.B"], false),
        ("envFrom", &["env"], false),
        ("env.A", &[], false),
    ] {
        let accepted: Vec<String> = accepted.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(loss(name).is_accepted(&accepted), expected, "{name} {accepted:?}");
    }
}
