//! Our images under another program: skopeo.

use std::path::Path;
use std::process::Command;

use barge_image::Product;
use barge_image::layout::{write_directory, write_tar};
use serde_json::{Value, json};

use crate::support::{Served, anonymous, built, tree};

async fn run(program: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    command.arg("--insecure-policy").args(arguments);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn skopeo_understands_our_layout_our_tar_and_what_we_push() {
    let Some(skopeo) = barge_testkit::tool("skopeo") else { return };
    let files = tree(&[("greeter*", "hello"), ("static/a", "1")]);
    let image = built(files.path(), "scratch", None).await;
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name);
    write_directory(&image, &path("layout"), None).await.unwrap();
    write_tar(&Product::single(image.clone()), &path("image.tar"), None).await.unwrap();
    let served = Served::start().await;
    anonymous().push(&image, &served.reference("group/app:1"), &|_| {}).await.unwrap();
    let sources = [
        format!("oci:{}", path("layout").display()),
        format!("oci-archive:{}", path("image.tar").display()),
        format!("docker://{}/group/app:1", served.address),
    ];
    for source in &sources {
        let inspected = run(&skopeo, &["inspect", "--tls-verify=false", source]).await;
        let inspected: Value = serde_json::from_str(&inspected).unwrap();
        assert_eq!(inspected["Digest"], json!(image.digest), "{source}");
        assert_eq!(inspected["Labels"], json!({ "dev.barge.service": "greeter" }), "{source}");
        // A copy reads every layer and checks its digests, the uncompressed one as well.
        let copy = format!("dir:{}", path("copy").display());
        run(&skopeo, &["copy", "--src-tls-verify=false", "--dest-decompress", source, &copy]).await;
    }
}

#[tokio::test]
async fn an_image_that_skopeo_pushed_is_a_base_for_us() {
    let Some(skopeo) = barge_testkit::tool("skopeo") else { return };
    let files = tree(&[("jre", "base")]);
    let base = built(files.path(), "scratch", None).await;
    let place = tempfile::tempdir().unwrap();
    write_directory(&base, place.path(), None).await.unwrap();
    let served = Served::start().await;
    let (from, to) = (format!("oci:{}", place.path().display()), format!("docker://{}/bases/jre:21", served.address));
    // In Docker's older format, as most bases have it.
    run(&skopeo, &["copy", "--dest-tls-verify=false", "--format=v2s2", &from, &to]).await;
    let client = anonymous();
    let own = tree(&[("greeter*", "own")]);
    let image = built(own.path(), &format!("{}/bases/jre:21", served.address), Some(&client)).await;
    client.push(&image, &served.reference("app:1"), &|_| {}).await.unwrap();
    let inspected =
        run(&skopeo, &["inspect", "--tls-verify=false", &format!("docker://{}/app:1", served.address)]).await;
    let inspected: Value = serde_json::from_str(&inspected).unwrap();
    assert_eq!(inspected["Layers"].as_array().unwrap().len(), 2);
    assert_eq!(inspected["Digest"], json!(image.digest));
}
