//! Bases in a tar, of tools that write one and of people who mean harm.

use std::io::Write;
use std::path::{Path, PathBuf};

use barge_image::base::{BaseError, Means, load_for};
use barge_image::cache::LIMIT;
use barge_image::image::{Base, Source, architecture, here, media_type};
use barge_image::layer::digest;
use barge_image::layout::write_tar;
use barge_image::{Cache, Product};
use serde_json::{Value, json};

use crate::support::{small, tree};

async fn load(path: &Path, cache: Option<&Cache>) -> Result<Base, BaseError> {
    let place = format!("tar:{}", path.display()).parse().unwrap();
    load_for(&place, &here(), Means { client: None, cache }).await
}

fn bytes(source: &Source) -> Vec<u8> {
    let Source::Temporary(held) = source else { panic!("{source:?}") };
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut held.reopen().unwrap(), &mut bytes).unwrap();
    bytes
}

/// A tar with these files; names are written as they are.
fn tar_of(directory: &Path, files: &[(&str, &[u8])]) -> PathBuf {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append(&header, *content).unwrap();
    }
    let path = directory.join("base.tar");
    std::fs::write(&path, tar.into_inner().unwrap()).unwrap();
    path
}

/// What `docker save` of earlier days writes.
fn saved(directory: &Path, change: impl FnOnce(&mut Value, &mut Value)) -> (PathBuf, Vec<u8>) {
    let mut layer = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(4);
    layer.append_data(&mut header, "etc/base", &b"base"[..]).unwrap();
    let layer = layer.into_inner().unwrap();
    let mut config = json!({
        "os": "linux", "architecture": architecture(), "config": { "Env": ["A=b"] },
        "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] },
    });
    let mut manifest = json!([{ "Config": "c.json", "RepoTags": ["base:1"], "Layers": ["l/layer.tar"] }]);
    change(&mut manifest, &mut config);
    let (manifest, config) = (manifest.to_string(), config.to_string());
    let files: [(&str, &[u8]); 3] =
        [("./l/layer.tar", &layer), ("c.json", config.as_bytes()), ("manifest.json", manifest.as_bytes())];
    (tar_of(directory, &files), layer)
}

#[tokio::test]
async fn a_layout_in_a_tar_is_a_base_and_its_layers_get_into_the_cache() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("base.tar");
    let image = small("base").await;
    write_tar(&Product::single(image.clone()), &path, None).await.unwrap();
    let cache = Cache::open(&place.path().join("cache"), LIMIT).unwrap();
    for cache in [None, Some(&cache), Some(&cache)] {
        let base = load(&path, cache).await.unwrap();
        assert_eq!(base.layers[0].digest, image.layers[0].digest);
        assert_eq!(digest(&bytes(&base.layers[0].source)), image.layers[0].digest);
    }
    assert_eq!(std::fs::read_dir(place.path().join("cache/blobs/sha256")).unwrap().count(), 1);
}

#[tokio::test]
async fn what_docker_saves_is_a_base_and_its_layers_are_compressed_once() {
    let place = tempfile::tempdir().unwrap();
    let (path, layer) = saved(place.path(), |_, _| {});
    let cache = Cache::open(&place.path().join("cache"), LIMIT).unwrap();
    let mut digests = Vec::new();
    for cache in [None, Some(&cache), Some(&cache)] {
        let base = load(&path, cache).await.unwrap();
        assert_eq!(base.config.unwrap()["config"]["Env"], json!(["A=b"]));
        let compressed = bytes(&base.layers[0].source);
        assert_eq!(
            (digest(&compressed), compressed.len() as u64),
            (base.layers[0].digest.clone(), base.layers[0].size)
        );
        assert_eq!(base.layers[0].media_type, media_type::LAYER);
        let mut found = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(compressed.as_slice()), &mut found).unwrap();
        assert!(found == layer);
        digests.push(base.layers[0].digest.clone());
    }
    digests.dedup();
    assert_eq!(digests.len(), 1);
}

#[tokio::test]
async fn a_tar_that_lies_is_refused_in_words() {
    let place = tempfile::tempdir().unwrap();
    let refused = async |path: PathBuf, words: &str| {
        for cache in [None, Some(&Cache::open(&place.path().join("cache"), LIMIT).unwrap())] {
            let error = load(&path, cache).await.unwrap_err();
            assert!(error.to_string().contains(words), "{error} should say {words:?}");
        }
        assert!(!place.path().parent().unwrap().join("outside").exists());
    };
    let saved_with = |change: fn(&mut Value, &mut Value)| saved(place.path(), change).0;
    refused(saved_with(|manifest, _| manifest[0]["Config"] = json!("../../outside")), "has no file \"../../outside\"")
        .await;
    refused(saved_with(|manifest, _| manifest[0]["Layers"] = json!(["../../outside"])), "has no file").await;
    refused(saved_with(|manifest, _| manifest[0]["Layers"] = json!(["l/layer.tar", "l/layer.tar"])), "names 1 layers")
        .await;
    refused(saved_with(|manifest, _| *manifest = json!([])), "several images, or none").await;
    refused(saved_with(|manifest, _| *manifest = json!({ "a": 1 })), "manifest.json is not a valid document").await;
    refused(saved_with(|_, config| config["architecture"] = json!("riscv64")), "only for linux/riscv64").await;
    let other = |_: &mut Value, config: &mut Value| {
        config["rootfs"]["diff_ids"] = json!([format!("sha256:{}", "0".repeat(64))]);
    };
    refused(saved_with(other), "it was changed or damaged").await;
    refused(saved_with(|_, config| config["rootfs"]["diff_ids"] = json!(["../x"])), "not a SHA-256 digest").await;
    refused(tar_of(place.path(), &[("readme", b"x")]), "neither index.json nor manifest.json").await;
    refused(tar_of(place.path(), &[("index.json", b"{}")]), "").await;
    let hostile: [(&str, &[u8]); 2] = [("../outside", b"x"), ("/outside", b"x")];
    refused(tar_of(place.path(), &hostile), "neither index.json nor manifest.json").await;
    refused(tar_of(place.path(), &[("index.json", &vec![b' '; 17 << 20])]), "no more than").await;
    let blob = format!("sha256:{}", "1".repeat(64));
    let index = json!({ "manifests": [{ "digest": blob }] }).to_string();
    let name = format!("blobs/sha256/{}", "1".repeat(64));
    refused(tar_of(place.path(), &[("index.json", index.as_bytes()), (&name, b"{}")]), "was changed or damaged").await;
    refused(tar_of(place.path(), &[("index.json", index.as_bytes())]), "has no file").await;
    let index = json!({ "manifests": [{ "digest": "sha256:../../../outside" }] }).to_string();
    refused(tar_of(place.path(), &[("index.json", index.as_bytes())]), "not a SHA-256 digest").await;
    refused(place.path().join("missing.tar"), "read ").await;
    refused(tree(&[("file", "")]).path().to_owned(), "read ").await;
}

#[tokio::test]
async fn a_tar_that_is_cut_short_or_compressed_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("base.tar");
    let image = small("base").await;
    write_tar(&Product::single(image), &path, None).await.unwrap();
    let whole = std::fs::read(&path).unwrap();
    // The ending of a tar is 1024 bytes without meaning, after up to 511 of the last file's block.
    for length in (0..whole.len() - 1024 - 511).step_by(97) {
        std::fs::write(&path, &whole[..length]).unwrap();
        assert!(load(&path, None).await.is_err(), "{length} of {} bytes", whole.len());
    }
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&whole).unwrap();
    std::fs::write(&path, gzip.finish().unwrap()).unwrap();
    let error = load(&path, None).await.unwrap_err();
    assert!(error.to_string().contains("gunzip"), "{error}");
}
