//! Java programs in pods, on bases of Debian's packages: they start by what was built, and the JVM takes its memory from the container's limit.

use std::path::Path;
use std::process::Command;

use barge_load::LoadPlan;
use barge_testkit::{TestPlatform, cluster, tool};
use barge_world::{Bases, Place};

use super::environments::{delete_namespaces, platform};
use super::turn;
use super::world::{gateway, install, on_cluster};
use crate::java::{boot, war};

/// What a pod may have.
const MEMORY: u64 = 400 << 20;

/// Pushes a base to where services' images are; the result is its name there.
fn push(platform: &TestPlatform, layout: &Path, name: &str) -> String {
    let to = format!("{}/{name}:latest", platform.registry);
    let credentials = format!("barge:{}", platform.token);
    let copied = Command::new("skopeo")
        .args(["copy", "--quiet", "--dest-tls-verify=false", "--dest-creds", &credentials])
        .args([format!("oci:{}:latest", layout.display()), format!("docker://{to}")])
        .output()
        .unwrap();
    assert!(copied.status.success(), "{copied:?}");
    to
}

/// Releases the project to the cluster, and gives what it says at `path` by the gateway there.
async fn released(
    platform: &TestPlatform,
    place: &Place,
    project: &Path,
    base: &str,
    (service, path): (&str, &str),
) -> String {
    let manifest = format!("name: {service}\nkind: web\nbuild: {{base: '{base}'}}\nresources: {{memory: 400MiB}}\n");
    std::fs::write(project.join("barge.yaml"), manifest).unwrap();
    platform.barge(project, &["deploy", "-e", "test"]);
    platform.barge(project, &["approve", "-e", "test", "--wait", "complete"]);
    let plan = LoadPlan::new(gateway(place).await, format!("{service}.test.localhost:7402"));
    let answers = barge_load::some_answers(&LoadPlan { path: path.to_owned(), ..plan }, 1).await.unwrap();
    answers.into_keys().next().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_boot_jar_and_a_war_serve_from_pods() {
    let _turn = turn().await;
    let Some(place) = Place::new("java").await else { return };
    let (Some(_), Some(bases)) = (tool("skopeo"), Bases::new()) else { return };
    let kubeconfig = cluster::kubeconfig().unwrap();
    install(&place.images, &kubeconfig, None);
    let platform = platform(&kubeconfig);
    let (Some(application), Some(shop)) = (boot(&platform), war(&platform)) else { return };

    let base = push(&platform, &bases.java, "java");
    let told = released(&platform, &place, &application.path("web"), &base, ("boot", "/jvm")).await;
    assert_heap(&told);
    let base = push(&platform, &bases.tomcat, "tomcat");
    let told = released(&platform, &place, &shop.path(""), &base, ("shop", "/orders")).await;
    assert_heap(&told);

    delete_namespaces(&place, &["test"]).await;
    on_cluster(&kubeconfig, &["uninstall"]);
    place.end().await;
}

fn assert_heap(told: &str) {
    let told: serde_json::Value = serde_json::from_str(told).unwrap_or_else(|_| panic!("{told}"));
    let heap = told["heap"].as_u64().unwrap();
    assert!(heap > MEMORY / 2 && heap < MEMORY * 4 / 5, "{heap} of {MEMORY}");
}
