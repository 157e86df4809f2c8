//! Blobs on this machine whose bytes are no longer those of their digest, on their way into a registry.

use std::path::Path;

use barge_image::build::{BuildRequest, files};
use barge_image::cache::LIMIT;
use barge_image::layout::write_directory;
use barge_image::{Cache, Image, RegistryError, build};

use crate::support::{Served, anonymous, built, incompressible, runtime, small, tree};

async fn built_with(cache: &Cache, files_of: &Path, base: &str) -> Image {
    let layers = vec![files(files_of, &[]).unwrap()];
    let request = BuildRequest { cache: Some(cache), ..BuildRequest::new(layers, base, runtime()) };
    build(request, Some(&anonymous())).await.unwrap()
}

/// Changes a byte so that neither size nor time tells of it, as a disk does.
fn damage(path: &Path) {
    let modified = path.metadata().unwrap().modified().unwrap();
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
    std::fs::File::options().write(true).open(path).unwrap().set_modified(modified).unwrap();
}

fn blob(cache: &Cache, digest: &str) -> std::path::PathBuf {
    cache.directory().join("blobs/sha256").join(&digest[7..])
}

#[tokio::test]
async fn a_damaged_layer_in_the_cache_is_named_and_the_next_build_makes_it_anew() {
    let served = Served::start().await;
    let place = tempfile::tempdir().unwrap();
    let cache = Cache::open(place.path(), LIMIT).unwrap();
    let own = tree(&[("greeter*", &incompressible(300_000))]);
    let layer = built_with(&cache, own.path(), "scratch").await.layers[0].digest.clone();
    damage(&blob(&cache, &layer));
    let image = built_with(&cache, own.path(), "scratch").await;
    let target = served.reference("app:1");
    let error = anonymous().push(&image, &target, &|_| {}).await.unwrap_err();
    let RegistryError::Damaged { path, digest, cached: true, .. } = &error else { panic!("{error:?}") };
    assert_eq!((path, digest), (&blob(&cache, &layer), &layer));
    assert!(!path.exists());
    let image = built_with(&cache, own.path(), "scratch").await;
    anonymous().push(&image, &target, &|_| {}).await.unwrap();
}

#[tokio::test]
async fn a_damaged_layer_of_a_base_in_a_registry_is_fetched_anew() {
    let (from, to) = (Served::start().await, Served::start().await);
    let place = tempfile::tempdir().unwrap();
    let cache = Cache::open(place.path(), LIMIT).unwrap();
    let base = small(&incompressible(300_000)).await;
    anonymous().push(&base, &from.reference("bases/jre:21"), &|_| {}).await.unwrap();
    let own = tree(&[("greeter*", "own")]);
    let image = built_with(&cache, own.path(), &format!("{}/bases/jre:21", from.address)).await;
    for name in ["one:1", "two:1"] {
        let other = Served::start().await;
        anonymous().push(&image, &other.reference(name), &|_| {}).await.unwrap();
        damage(&blob(&cache, &base.layers[0].digest));
    }
    assert_eq!(from.count("GET /v2/bases/jre/blobs/"), 3, "configuration, layer, and the layer again");
    anonymous().push(&image, &to.reference("app:1"), &|_| {}).await.unwrap();
}

#[tokio::test]
async fn a_layer_of_a_layout_that_is_damaged_cut_short_or_gone_is_named() {
    let served = Served::start().await;
    let layout = tempfile::tempdir().unwrap();
    let base = small(&incompressible(300_000)).await;
    write_directory(&base, layout.path(), None).await.unwrap();
    let path = layout.path().join("blobs/sha256").join(&base.layers[0].digest[7..]);
    let whole = std::fs::read(&path).unwrap();
    let own = tree(&[("greeter*", "own")]);
    let image = built(own.path(), &format!("oci:{}", layout.path().display()), None).await;
    let push = async || anonymous().push(&image, &served.reference("app:1"), &|_| {}).await;
    damage(&path);
    let error = push().await.unwrap_err();
    assert!(matches!(&error, RegistryError::Damaged { path: named, cached: false, .. } if *named == path), "{error:?}");
    assert!(path.exists(), "it is somebody else's file");
    std::fs::write(&path, &whole[..1000]).unwrap();
    let error = push().await.unwrap_err();
    assert!(matches!(&error, RegistryError::Damaged { cached: false, .. }), "{error:?}");
    std::fs::remove_file(&path).unwrap();
    let error = push().await.unwrap_err();
    assert!(matches!(&error, RegistryError::File(what, _) if *what == format!("read {}", path.display())), "{error:?}");
    std::fs::write(&path, whole).unwrap();
    push().await.unwrap();
}
