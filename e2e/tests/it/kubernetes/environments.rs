//! One server with environments on this machine and on clusters, each with a gate policy of its own. The second cluster is a namespace of the first one.

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use barge_crds::{ServiceStatus, WebService};
use barge_testkit::{Surroundings, TestPlatform, cluster};
use barge_world::Place;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::json;

use super::turn;
use super::world::{install, on_cluster, until};
use crate::support::greeter_version;

/// How the namespaces of this run begin.
fn prefix() -> String {
    format!("envs-{}", std::process::id())
}

/// A platform with the environments local, test and product.
pub(super) fn platform(kubeconfig: &Path) -> TestPlatform {
    let port = TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port();
    let there = cluster::trusted_registry(port);
    let kubernetes = json!({
        "kubeconfig": kubeconfig, "namespace": format!("{}-{{environment}}", prefix()), "pulls_from": there,
        "gateway": "gateway.example.com:80", "domain": "example.com",
    });
    let config = json!({ "environments": [
        { "name": "local" },
        { "name": "test", "kubernetes": kubernetes },
        { "name": "product", "gate": "second_person", "kubernetes": kubernetes },
    ] });
    // Everything that is JSON is YAML as well.
    let path = std::env::temp_dir().join(format!("{}.yaml", prefix()));
    std::fs::write(&path, config.to_string()).unwrap();
    let options = [
        "--config",
        &path.display().to_string(),
        "--registry-address",
        "0.0.0.0",
        "--registry-port",
        &port.to_string(),
    ];
    let options = options.map(str::to_owned).into();
    TestPlatform::start_in(Surroundings { options, ..Surroundings::default() })
}

fn project(platform: &TestPlatform) -> PathBuf {
    let project = platform.greeter_project("greeter", "name: greeter\nkind: web\nreplicas: 2\n");
    // One that needs nothing of the image that it is in.
    std::fs::copy(barge_world::greeter(), project.join("dist/greeter")).unwrap();
    greeter_version(&project, "good");
    project
}

/// A colleague's token, who may approve.
async fn colleague(platform: &TestPlatform) -> String {
    let url = format!("{}/api/v1/tokens", platform.address);
    let made = reqwest::Client::new()
        .post(url)
        .bearer_auth(&platform.token)
        .json(&json!({ "name": "bob", "role": "releaser" }));
    let made: serde_json::Value = made.send().await.unwrap().json().await.unwrap();
    made["secret"].as_str().unwrap().to_owned()
}

async fn status(place: &Place, environment: &str) -> ServiceStatus {
    let namespace = format!("{}-{environment}", prefix());
    let services: Api<WebService> = Api::namespaced(place.client.clone(), &namespace);
    services.get("greeter").await.unwrap().status.unwrap_or_default()
}

/// Deletes what is left of environments.
pub(super) async fn delete_namespaces(place: &Place, environments: &[&str]) {
    let namespaces: Api<Namespace> = Api::all(place.client.clone());
    for environment in environments {
        let name = format!("{}-{environment}", prefix());
        namespaces.delete(&name, &DeleteParams::default()).await.unwrap();
        until("the namespace is gone", async || namespaces.get_opt(&name).await.unwrap().is_none()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_server_has_environments_here_and_on_clusters() {
    let _turn = turn().await;
    let Some(place) = Place::new("environments").await else { return };
    let kubeconfig = cluster::kubeconfig().unwrap();
    install(&place.images, &kubeconfig, None);
    let mut platform = platform(&kubeconfig);
    let project = project(&platform);

    for environment in ["local", "test"] {
        platform.barge(&project, &["deploy", "-e", environment]);
        platform.barge(&project, &["approve", "-e", environment, "--wait", "complete"]);
        let told = platform.barge_json(&project, &["status", "-e", environment]);
        assert_eq!(told["available"], 2, "{told}");
    }
    let logs = platform.barge(&project, &["logs", "-e", "test"]);
    assert!(logs.contains("greeter"), "{logs}");
    let run = platform.barge(&project, &["exec", "-e", "test", "--", "/barge/barge-init", "--help"]);
    assert!(run.contains("barge-init"), "{run}");

    // The same project elsewhere knows nothing of it, and who has made the release does not approve it there.
    platform.barge(&project, &["deploy", "-e", "product"]);
    let refused = platform.barge_fails(&project, &["approve", "-e", "product"], 4);
    assert!(refused.contains("another person has to approve it"), "{refused}");
    assert_eq!(status(&place, "product").await.instances.len(), 1, "I1");
    let bob = colleague(&platform).await;
    let approved = platform
        .command(&project, &["approve", "-e", "product", "--wait", "complete"])
        .env("BARGE_TOKEN", &bob)
        .output()
        .unwrap();
    assert!(approved.status.success(), "{approved:?}");

    greeter_version(&project, "better");
    platform.barge(&project, &["deploy", "-e", "test"]);
    platform.barge(&project, &["approve", "-e", "test", "--wait", "complete"]);
    // Both nodes have the image: with the platform goes the registry that it was pulled from.
    platform.barge(&project, &["scale", "-e", "test", "4"]);
    let second = status(&place, "test").await.stable.unwrap();
    until("four of the second release", async || status(&place, "test").await.available == 4).await;

    // What was told to a cluster goes on without the server.
    platform.barge(&project, &["restart", "-e", "test"]);
    platform.kill();
    until("all instances anew, without the server", async || {
        let status = status(&place, "test").await;
        let of_restart = status.instances.iter().filter(|instance| instance.release != second);
        status.candidate.is_none() && status.available == 4 && of_restart.count() == 4
    })
    .await;
    let restarted = status(&place, "test").await.stable.unwrap();
    platform.up();
    let told = platform.barge_json(&project, &["releases", "-e", "test"]);
    assert_eq!(told["releases"][0]["id"].as_str(), Some(restarted.as_str()), "{told}");
    let product = status(&place, "product").await;
    assert_ne!(product.stable.as_ref(), Some(&restarted), "environments have releases of their own");

    delete_namespaces(&place, &["test", "product"]).await;
    on_cluster(&kubeconfig, &["uninstall"]);
    place.end().await;
}
