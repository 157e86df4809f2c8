//! Images for several kinds of machines, and what they begin with.

use std::collections::{BTreeSet, HashSet};

use barge_image::base::{Means, manifest_for};
use barge_image::build::{BuildRequest, build_all, files};
use barge_image::image::{Image, Source, media_type};
use barge_image::layer::digest;
use barge_image::layout::{write_all, write_tar};
use barge_image::{Product, entrypoint};
use barge_model::manifest::Platform;
use serde_json::{Value, json};

use crate::support::{Served, anonymous, runtime, small, tree};

fn platform(text: &str) -> Platform {
    text.parse().unwrap()
}

fn program(architecture: &str) -> Option<&'static [u8]> {
    match architecture {
        "amd64" => Some(b"for amd64"),
        "arm64" => Some(b"for arm64"),
        _ => None,
    }
}

fn config(image: &Image) -> Value {
    let Source::Bytes(bytes) = &image.config.source else { panic!("{image:?}") };
    serde_json::from_slice(bytes).unwrap()
}

async fn product(base: &str, content: &str, platforms: &[&str]) -> Product {
    let own = tree(&[("greeter*", content)]);
    let platforms: Vec<Platform> = platforms.iter().map(|text| platform(text)).collect();
    let layers = vec![files(own.path(), &[]).unwrap()];
    let request =
        BuildRequest { platforms: &platforms, programs: Some(program), ..BuildRequest::new(layers, base, runtime()) };
    build_all(request, Some(&anonymous())).await.unwrap()
}

#[tokio::test]
async fn an_index_names_an_image_for_each_platform_from_the_same_layers() {
    let built = product("scratch", "own", &["linux/arm64", "linux/amd64", "linux/arm64"]).await;
    let [amd64, arm64] = built.images.as_slice() else { panic!("{built:?}") };
    assert_eq!((&config(amd64)["architecture"], &config(arm64)["architecture"]), (&json!("amd64"), &json!("arm64")));
    assert_eq!(amd64.layers[1].digest, arm64.layers[1].digest, "what is the project's own is for all");
    assert_ne!(amd64.layers[0].digest, arm64.layers[0].digest, "the program is not");
    let index: Value = serde_json::from_slice(&built.index.as_ref().unwrap().manifest).unwrap();
    let entry = |image: &Image, architecture: &str| {
        let platform = json!({ "os": "linux", "architecture": architecture });
        let size = image.manifest.len();
        json!({ "mediaType": media_type::MANIFEST, "digest": image.digest, "size": size, "platform": platform })
    };
    assert_eq!(index["manifests"], json!([entry(amd64, "amd64"), entry(arm64, "arm64")]));
    assert_eq!(built.digest(), digest(&built.index.as_ref().unwrap().manifest));
    // The order in which they are asked for is of no matter, and one alone needs no index.
    assert_eq!(product("scratch", "own", &["linux/amd64", "linux/arm64"]).await.digest(), built.digest());
    let alone = product("scratch", "own", &["linux/arm64"]).await;
    assert_eq!((alone.digest(), alone.index.is_none()), (arm64.digest.as_str(), true));
}

#[tokio::test]
async fn every_image_begins_with_the_same_layer_that_starts_its_command() {
    let (one, other) =
        (product("scratch", "one", &["linux/amd64"]).await, product("scratch", "other", &["linux/amd64"]).await);
    let image = &one.images[0];
    assert_eq!(image.layers[0].digest, other.images[0].layers[0].digest, "a registry has it once");
    let runtime = &config(image)["config"];
    assert_eq!(runtime["Entrypoint"], json!(["/barge/barge-init", "--"]));
    assert_eq!(runtime["Cmd"], json!(["./greeter", "--port=8080"]));
    let Source::Temporary(layer) = &image.layers[0].source else { panic!("{image:?}") };
    let mut archive = tar::Archive::new(flate2::read::MultiGzDecoder::new(layer.reopen().unwrap()));
    let names: Vec<_> = archive
        .entries()
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.path().unwrap().display().to_string(), entry.header().mode().unwrap())
        })
        .collect();
    assert_eq!(names, [("barge/".to_owned(), 0o755), (entrypoint::PROGRAM.to_owned(), 0o755)]);
    // Where there is no program the command starts itself.
    let strange = product("scratch", "one", &["linux/riscv64"]).await;
    assert_eq!(
        (config(&strange.images[0])["config"]["Entrypoint"].clone(), strange.images[0].layers.len()),
        (Value::Null, 1)
    );
}

#[tokio::test]
async fn each_image_is_on_the_base_for_its_platform_and_the_index_is_found_by_every_machine() {
    let served = Served::start().await;
    let client = anonymous();
    let base = product("scratch", "base", &["linux/amd64", "linux/arm64"]).await;
    client.push_all(&base, &served.reference("bases/jre:21"), &|_| {}).await.unwrap();
    let name = format!("{}/bases/jre:21", served.address);
    let built = product(&name, "own", &["linux/amd64", "linux/arm64"]).await;
    for (image, base) in built.images.iter().zip(&base.images) {
        let digests = |image: &Image| image.layers.iter().map(|layer| layer.digest.clone()).collect::<Vec<_>>();
        assert_eq!(digests(image)[..2], digests(base)[..]);
    }
    let target = served.reference("app:1");
    client.push_all(&built, &target, &|_| {}).await.unwrap();
    let asked = served.asked();
    let puts: Vec<_> = asked.iter().filter(|line| line.starts_with("PUT /v2/app/manifests/")).collect();
    assert_eq!(puts.last().unwrap().as_str(), "PUT /v2/app/manifests/1");
    assert!(puts.iter().all(|line| !line.contains("sha256%3A")), "{puts:?}");
    let (bytes, kind) = client.manifest(&target).await.unwrap();
    assert_eq!((digest(&bytes).as_str(), kind.as_str()), (built.digest(), media_type::INDEX));
    for image in &built.images {
        let means = Means { client: Some(&client), cache: None };
        let found = manifest_for(&target, &image.platform, means).await.unwrap();
        assert_eq!(found, serde_json::from_slice::<Value>(&image.manifest).unwrap());
    }
    let error = manifest_for(&target, &platform("linux/s390x"), Means { client: Some(&client), cache: None }).await;
    assert_eq!(error.unwrap_err().to_string(), "it has no image for linux/s390x, only for linux/amd64, linux/arm64");
    // A second push finds everything there.
    let pushed = client.push_all(&built, &target, &|_| {}).await.unwrap();
    assert_eq!(pushed.sent, 0);
}

#[tokio::test]
async fn a_layout_and_a_tar_hold_all_images() {
    let built = product("scratch", "own", &["linux/amd64", "linux/arm64"]).await;
    let place = tempfile::tempdir().unwrap();
    let (directory, file) = (place.path().join("layout"), place.path().join("image.tar"));
    write_all(&built, &directory, None).await.unwrap();
    write_tar(&built, &file, None).await.unwrap();
    let first = std::fs::read(&file).unwrap();
    write_tar(&built, &file, None).await.unwrap();
    assert!(std::fs::read(&file).unwrap() == first, "the tar is the same each time");
    let mut names = HashSet::new();
    for entry in tar::Archive::new(first.as_slice()).entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        assert_eq!(bytes, std::fs::read(directory.join(&name)).unwrap(), "{name}");
        assert!(names.insert(name));
    }
    // Two files, the index, and for each image: manifest, config, program; and the layer of both.
    assert_eq!(names.len(), 2 + 1 + 2 * 3 + 1);
    // Both are bases again.
    for base in [format!("oci:{}", directory.display()), format!("tar:{}", file.display())] {
        let on = product(&base, "more", &["linux/arm64"]).await;
        assert_eq!(on.images[0].layers[0].digest, built.images[1].layers[0].digest, "{base}");
    }
    let Some(skopeo) = barge_testkit::tool("skopeo") else { return };
    for source in [format!("oci:{}", directory.display()), format!("oci-archive:{}", file.display())] {
        let output = std::process::Command::new(&skopeo).args(["inspect", "--raw", &source]).output().unwrap();
        assert_eq!(digest(&output.stdout), built.digest(), "{output:?}");
        let target = format!("dir:{}", place.path().join("copy").display());
        let output = std::process::Command::new(&skopeo).args(["copy", "--all", &source, &target]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

#[tokio::test]
async fn an_index_keeps_its_images_in_the_registry() {
    let served = Served::start().await;
    let client = anonymous();
    let built = product("scratch", "own", &["linux/amd64", "linux/arm64"]).await;
    // Without a tag, as it is deployed: a release names the index alone.
    let target = served.reference("app:1").with_digest(built.digest());
    client.push_all(&built, &target, &|_| {}).await.unwrap();
    // Nothing names this one.
    let lost = small("lost").await;
    client.push(&lost, &served.reference("app:1").with_digest(&lost.digest), &|_| {}).await.unwrap();
    let collected =
        served.storage.collect(&BTreeSet::from([built.digest().to_owned()]), std::time::Duration::ZERO).unwrap();
    assert_eq!(collected.manifests, 1);
    let copy = tempfile::tempdir().unwrap();
    for image in &built.images {
        let (bytes, _) = client.manifest(&target.with_digest(&image.digest)).await.unwrap();
        assert_eq!(bytes, image.manifest);
        for layer in &image.layers {
            client.blob_to_file(&target, &layer.digest, layer.size, &copy.path().join("layer")).await.unwrap();
        }
    }
}
