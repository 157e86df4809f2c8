//! The registry under another program's client: skopeo.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{INDEX, MANIFEST, Registry, digest, manifest};

/// Writes an OCI layout of one image by hand; the result is its manifest's digest.
fn layout(directory: &Path) -> String {
    let blobs = directory.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let put = |content: &str| {
        let name = digest(content.as_bytes());
        std::fs::write(blobs.join(&name[7..]), content).unwrap();
        name
    };
    let layer = "\0".repeat(1024);
    let layer_digest = put(&layer);
    let rootfs = json!({ "type": "layers", "diff_ids": [layer_digest] });
    let config =
        json!({ "architecture": "amd64", "os": "linux", "config": { "Labels": { "a": "b" } }, "rootfs": rootfs });
    let config = config.to_string();
    let mut document: Value = serde_json::from_str(&manifest(&put(&config), &[(&layer_digest, layer.len())])).unwrap();
    document["config"]["size"] = json!(config.len());
    let document = document.to_string();
    let name = put(&document);
    let entry = json!({ "mediaType": MANIFEST, "digest": name, "size": document.len() });
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [entry] });
    std::fs::write(directory.join("index.json"), index.to_string()).unwrap();
    std::fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    name
}

async fn run(program: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(["--insecure-policy"]).args(arguments);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn skopeo_pushes_inspects_pulls_and_deletes() {
    let Some(skopeo) = barge_testkit::tool("skopeo") else { return };
    let registry = Registry::new();
    let address = registry.listen().await;
    let (from, to) = (registry.directory.path().join("from"), registry.directory.path().join("to"));
    let name = layout(&from);
    let image = format!("docker://{address}/group/app:1");
    let (from, to) = (format!("oci:{}", from.display()), format!("oci:{}", to.display()));
    run(&skopeo, &["copy", "--dest-tls-verify=false", "--preserve-digests", &from, &image]).await;
    let inspected: Value =
        serde_json::from_str(&run(&skopeo, &["inspect", "--tls-verify=false", &image]).await).unwrap();
    assert_eq!((&inspected["Digest"], &inspected["Labels"]["a"]), (&json!(name), &json!("b")));
    assert_eq!(inspected["RepoTags"], json!(["1"]));
    run(&skopeo, &["copy", "--src-tls-verify=false", "--preserve-digests", &image, &to]).await;
    let copied = registry.directory.path().join("to/blobs/sha256").join(&name[7..]);
    assert_eq!(digest(&std::fs::read(copied).unwrap()), name);
    // From one repository to another, by mounting.
    let other = format!("docker://{address}/other:2");
    run(&skopeo, &["copy", "--src-tls-verify=false", "--dest-tls-verify=false", &image, &other]).await;
    run(&skopeo, &["delete", "--tls-verify=false", &other]).await;
    let tags = run(&skopeo, &["list-tags", "--tls-verify=false", &format!("docker://{address}/other")]).await;
    assert_eq!(serde_json::from_str::<Value>(&tags).unwrap()["Tags"], json!([]));
}
