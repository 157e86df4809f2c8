//! Images on a base: from a layout, from a registry, and none that fits.

use std::path::Path;

use barge_image::base::{BaseError, load};
use barge_image::image::{architecture, media_type};
use barge_image::layer::digest;
use barge_image::layout::{LayoutError, write_directory};
use serde_json::{Value, json};

use crate::support::{Served, anonymous, built, small, tree};

fn config(image: &barge_image::Image) -> Value {
    let barge_image::image::Source::Bytes(bytes) = &image.config.source else { panic!("{image:?}") };
    serde_json::from_slice(bytes).unwrap()
}

/// Changes a layout's config document and all that names it.
pub(crate) fn with_config(directory: &Path, change: impl FnOnce(&mut Value)) {
    let blobs = directory.join("blobs/sha256");
    let read =
        |name: &str| -> Value { serde_json::from_slice(&std::fs::read(blobs.join(&name[7..])).unwrap()).unwrap() };
    let write = |document: &Value| {
        let name = digest(document.to_string().as_bytes());
        std::fs::write(blobs.join(&name[7..]), document.to_string()).unwrap();
        json!(name)
    };
    let mut index: Value = serde_json::from_slice(&std::fs::read(directory.join("index.json")).unwrap()).unwrap();
    let mut manifest = read(index["manifests"][0]["digest"].as_str().unwrap());
    let mut config = read(manifest["config"]["digest"].as_str().unwrap());
    change(&mut config);
    manifest["config"]["digest"] = write(&config);
    manifest["layers"][0]["mediaType"] = json!(media_type::DOCKER_LAYER);
    index["manifests"][0]["digest"] = write(&manifest);
    std::fs::write(directory.join("index.json"), index.to_string()).unwrap();
}

#[tokio::test]
async fn the_base_keeps_its_layers_and_environment_and_loses_its_entrypoint() {
    let layout = tempfile::tempdir().unwrap();
    let base = small("base").await;
    write_directory(&base, layout.path(), None).await.unwrap();
    with_config(layout.path(), |config| {
        config["config"] = json!({ "Env": ["A=b"], "Entrypoint": ["/init"], "Cmd": ["x"], "WorkingDir": "/" });
    });
    let files = tree(&[("greeter*", "own")]);
    let image = built(files.path(), &format!("oci:{}", layout.path().display()), None).await;
    assert_eq!(image.layers.len(), 2);
    assert_eq!(image.layers[0].digest, base.layers[0].digest);
    assert_eq!(image.layers[0].media_type, media_type::LAYER, "Docker's name for the same bytes is not taken over");
    let config = config(&image);
    assert_eq!(config["rootfs"]["diff_ids"].as_array().unwrap().len(), 2);
    assert_eq!(config["history"].as_array().unwrap().len(), 2);
    let runtime = &config["config"];
    assert_eq!(
        (&runtime["Env"], &runtime["Entrypoint"], &runtime["WorkingDir"]),
        (&json!(["A=b"]), &Value::Null, &json!("/app"))
    );
    assert_eq!(runtime["Cmd"], json!(["./greeter", "--port=8080"]));
    assert_eq!(runtime["Labels"], json!({ "dev.barge.service": "greeter" }));
}

#[tokio::test]
async fn a_base_in_a_registry_gives_the_same_image_as_the_same_base_in_a_layout() {
    let served = Served::start().await;
    let client = anonymous();
    let base = small("base").await;
    client.push(&base, &served.reference("bases/jre:21"), &|_| {}).await.unwrap();
    let layout = tempfile::tempdir().unwrap();
    write_directory(&base, layout.path(), None).await.unwrap();
    let files = tree(&[("greeter*", "own")]);
    let one = built(files.path(), &format!("{}/bases/jre:21", served.address), Some(&client)).await;
    let other = built(files.path(), &format!("oci:{}", layout.path().display()), None).await;
    assert_eq!(one.digest, other.digest);
    // Its base layer comes out of the registry when the image is written as files.
    let written = tempfile::tempdir().unwrap();
    write_directory(&one, written.path(), Some(&client)).await.unwrap();
    for blob in &one.layers {
        let bytes = std::fs::read(written.path().join("blobs/sha256").join(&blob.digest[7..])).unwrap();
        assert_eq!(digest(&bytes), blob.digest);
    }
}

#[tokio::test]
async fn of_an_index_the_image_for_this_machine_is_taken() {
    let layout = tempfile::tempdir().unwrap();
    let (ours, theirs) = (small("ours").await, small("theirs").await);
    write_directory(&theirs, layout.path(), None).await.unwrap();
    write_directory(&ours, layout.path(), None).await.unwrap();
    let name = format!("oci:{}", layout.path().display());
    let entry = |image: &barge_image::Image, os: &str, architecture: &str| {
        let platform = json!({ "os": os, "architecture": architecture });
        json!({ "mediaType": media_type::MANIFEST, "digest": image.digest, "size": 1, "platform": platform })
    };
    let write = |entries: Value| {
        let index = json!({ "schemaVersion": 2, "manifests": entries });
        std::fs::write(layout.path().join("index.json"), index.to_string()).unwrap();
    };
    write(json!([
        entry(&theirs, "linux", "riscv"),
        entry(&theirs, "windows", architecture()),
        entry(&ours, "linux", architecture())
    ]));
    assert_eq!(load(&name, None).await.unwrap().layers[0].digest, ours.layers[0].digest);
    write(json!([entry(&theirs, "linux", "riscv")]));
    let error = load(&name, None).await.unwrap_err();
    assert_eq!(error.to_string(), format!("it has no image for linux/{}, only for linux/riscv", architecture()));
}

#[tokio::test]
async fn a_base_for_another_system_is_refused_and_one_that_does_not_say_is_taken() {
    let layout = tempfile::tempdir().unwrap();
    let name = format!("oci:{}", layout.path().display());
    write_directory(&small("base").await, layout.path(), None).await.unwrap();
    let ours = architecture();
    let refused = |only: &str| Some(format!("it has no image for linux/{ours}, only for {only}"));
    for (os, machine, expected) in [
        (json!("windows"), json!(ours), refused(&format!("windows/{ours}"))),
        (json!("windows"), Value::Null, refused("windows")),
        (Value::Null, json!("riscv64"), refused("linux/riscv64")),
        (json!("linux"), json!("riscv64"), refused("linux/riscv64")),
        (Value::Null, Value::Null, None),
        (json!(""), json!(""), None),
        (json!("linux"), json!(ours), None),
    ] {
        with_config(layout.path(), |config| {
            config["os"] = os.clone();
            config["architecture"] = machine.clone();
        });
        let told = load(&name, None).await.err().map(|error| error.to_string());
        assert_eq!(told, expected, "{os}/{machine}");
    }
}

#[tokio::test]
async fn of_images_without_a_platform_none_is_guessed() {
    let layout = tempfile::tempdir().unwrap();
    let (one, other) = (small("one").await, small("other").await);
    write_directory(&one, layout.path(), None).await.unwrap();
    write_directory(&other, layout.path(), None).await.unwrap();
    let name = format!("oci:{}", layout.path().display());
    let entry = |image: &barge_image::Image| json!({ "mediaType": media_type::MANIFEST, "digest": image.digest, "size": image.manifest.len() });
    let write = |entries: Value| {
        let index = json!({ "schemaVersion": 2, "manifests": entries });
        std::fs::write(layout.path().join("index.json"), index.to_string()).unwrap();
    };
    write(json!([entry(&one), entry(&other), entry(&one)]));
    let error = load(&name, None).await.unwrap_err();
    assert!(matches!(&error, BaseError::Unnamed { count: 2, .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.starts_with("it has 2 images and does not say for which machines they are: sha256:"), "{text}");
    assert!(text.contains(&one.digest) && text.contains(&other.digest), "{text}");
    // One that is named fits without a doubt, and the same image twice is one.
    let mut named = entry(&other);
    named["platform"] = json!({ "os": "linux", "architecture": architecture() });
    write(json!([entry(&one), entry(&one), named]));
    assert_eq!(load(&name, None).await.unwrap().layers[0].digest, other.layers[0].digest);
    write(json!([entry(&one), entry(&one)]));
    assert_eq!(load(&name, None).await.unwrap().layers[0].digest, one.layers[0].digest);
}

#[tokio::test]
async fn a_base_that_makes_no_sense_is_refused_in_words() {
    let layout = tempfile::tempdir().unwrap();
    let name = format!("oci:{}", layout.path().display());
    let error = load(&name, None).await.unwrap_err();
    assert!(error.to_string().ends_with("index.json"), "{error}");
    write_directory(&small("base").await, layout.path(), None).await.unwrap();
    let kept = std::fs::read(layout.path().join("index.json")).unwrap();
    for bad in
        [json!("text"), json!({ "config": "text" }), json!({ "config": { "Labels": [] } }), json!({ "rootfs": 1 })]
    {
        std::fs::write(layout.path().join("index.json"), &kept).unwrap();
        with_config(layout.path(), |config| *config = bad.clone());
        let error = load(&name, None).await.unwrap_err();
        assert_eq!(error.to_string(), "the config is not a valid document of the OCI image specification", "{bad}");
    }
    for index in ["", "{}", "{\"manifests\":[]}", "{\"manifests\":[{\"digest\":3}]}"] {
        std::fs::write(layout.path().join("index.json"), index).unwrap();
        assert!(load(&name, None).await.is_err(), "{index}");
    }
    for name in ["debian", "Scratch", "oci"] {
        assert!(load(name, None).await.unwrap_err().to_string().starts_with(&format!("{name:?} is neither")), "{name}");
    }
}

/// Changes a layout's manifest and the index that names it.
pub(crate) fn with_manifest(directory: &Path, change: impl FnOnce(&mut Value)) {
    let blobs = directory.join("blobs/sha256");
    let mut index: Value = serde_json::from_slice(&std::fs::read(directory.join("index.json")).unwrap()).unwrap();
    let name = index["manifests"][0]["digest"].as_str().unwrap().to_owned();
    let mut manifest: Value = serde_json::from_slice(&std::fs::read(blobs.join(&name[7..])).unwrap()).unwrap();
    change(&mut manifest);
    let text = manifest.to_string();
    let name = digest(text.as_bytes());
    std::fs::write(blobs.join(&name[7..]), text).unwrap();
    index["manifests"][0]["digest"] = json!(name);
    std::fs::write(directory.join("index.json"), index.to_string()).unwrap();
}

#[tokio::test]
async fn a_base_that_names_something_else_than_digests_is_refused() {
    let layout = tempfile::tempdir().unwrap();
    let name = format!("oci:{}", layout.path().display());
    write_directory(&small("base").await, layout.path(), None).await.unwrap();
    let index = layout.path().join("index.json");
    let kept = std::fs::read(&index).unwrap();
    let upper = format!("sha256:{}", "A".repeat(64));
    for bad in ["", "x", "../../secret", "sha256:../../../secret", "/etc/passwd", "sha256:12", upper.as_str()] {
        let refused = async |what: &str| {
            let error = load(&name, None).await.unwrap_err();
            assert!(matches!(error, BaseError::Digest { .. }), "{what} {bad:?}: {error:?}");
            std::fs::write(&index, &kept).unwrap();
        };
        with_manifest(layout.path(), |manifest| manifest["layers"][0]["digest"] = json!(bad));
        refused("layer").await;
        with_manifest(layout.path(), |manifest| manifest["config"]["digest"] = json!(bad));
        refused("config").await;
        std::fs::write(&index, json!({ "manifests": [{ "digest": bad }] }).to_string()).unwrap();
        refused("manifest").await;
    }
    let mut image = small("own").await;
    image.layers[0].digest = "../../../outside".to_owned();
    let written = layout.path().join("deep/deeper");
    let error = write_directory(&image, &written, None).await.unwrap_err();
    assert!(matches!(error, LayoutError::Digest(_)), "{error:?}");
    assert!(!layout.path().join("deep/outside").exists());
}

#[tokio::test]
async fn a_base_that_was_damaged_is_refused() {
    let layout = tempfile::tempdir().unwrap();
    let name = format!("oci:{}", layout.path().display());
    let base = small("base").await;
    write_directory(&base, layout.path(), None).await.unwrap();
    let blob = |digest: &str| layout.path().join("blobs/sha256").join(&digest[7..]);
    for damaged in [&base.digest, &base.config.digest] {
        let kept = std::fs::read(blob(damaged)).unwrap();
        std::fs::write(blob(damaged), [&kept[..], &b" "[..]].concat()).unwrap();
        let error = load(&name, None).await.unwrap_err();
        assert!(matches!(&error, BaseError::Changed { path, .. } if *path == blob(damaged)), "{error:?}");
        std::fs::write(blob(damaged), kept).unwrap();
    }
    // A layer may be large; it is read once, when it is copied.
    let files = tree(&[("greeter*", "own")]);
    let image = built(files.path(), &name, None).await;
    std::fs::write(blob(&base.layers[0].digest), "something else").unwrap();
    let written = tempfile::tempdir().unwrap();
    let error = write_directory(&image, written.path(), None).await.unwrap_err();
    assert!(matches!(&error, LayoutError::Changed { digest, .. } if *digest == base.layers[0].digest), "{error:?}");
    let names: Vec<_> = std::fs::read_dir(written.path().join("blobs/sha256"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    let damaged = |name: &std::ffi::OsString| name.to_string_lossy().starts_with(&base.layers[0].digest[7..]);
    assert!(!names.iter().any(damaged), "{names:?}");
    assert!(!written.path().join("index.json").exists());
}
