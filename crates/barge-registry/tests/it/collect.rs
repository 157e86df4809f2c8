//! Garbage collection keeps what is named and what is young, and nothing else.

use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::StatusCode;
use barge_registry::{Collected, Storage, Verdict, router};
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use serde_json::json;

use crate::support::{DEADLINE, INDEX, Registry, call, digest};

const NONE: Duration = Duration::ZERO;
const HOUR: Duration = Duration::from_secs(3600);

async fn has(registry: &Registry, path: &str) -> bool {
    registry.call("HEAD", path, &[], Body::empty()).await.status == StatusCode::OK
}

#[tokio::test]
async fn what_a_tag_or_a_release_names_stays_and_the_rest_goes() {
    let registry = Registry::new();
    let tagged = registry.image("a", "latest", "tagged").await;
    let released = registry.image("a", "", "released").await;
    let forgotten = registry.image("b", "", "forgotten").await;
    registry.blob("a", "never named").await;
    registry.begin("a").await;
    let keep = BTreeSet::from([released.clone()]);
    assert_eq!(registry.storage.collect(&keep, HOUR).unwrap(), Collected::default(), "all of it is young");
    let collected = registry.storage.collect(&keep, NONE).unwrap();
    // Of b's image the manifest and the layer go; the config is named by the others as well.
    assert_eq!((collected.manifests, collected.blobs, collected.uploads), (1, 3, 1));
    assert!(collected.bytes > "never namedforgotten".len() as u64);
    for (path, there) in [
        (format!("/v2/a/manifests/{tagged}"), true),
        ("/v2/a/manifests/latest".to_owned(), true),
        (format!("/v2/a/manifests/{released}"), true),
        (format!("/v2/a/blobs/{}", digest(b"tagged")), true),
        (format!("/v2/a/blobs/{}", digest(b"released")), true),
        (format!("/v2/a/blobs/{}", digest(b"{}")), true),
        (format!("/v2/b/manifests/{forgotten}"), false),
        (format!("/v2/b/blobs/{}", digest(b"forgotten")), false),
        (format!("/v2/a/blobs/{}", digest(b"never named")), false),
    ] {
        assert_eq!(has(&registry, &path).await, there, "{path}");
    }
    assert_eq!(registry.storage.collect(&keep, NONE).unwrap(), Collected::default());
    // What is gone can be pushed again.
    assert_eq!(registry.image("b", "", "forgotten").await, forgotten);
}

#[tokio::test]
async fn a_tagged_index_keeps_the_manifests_that_it_names() {
    let registry = Registry::new();
    let child = registry.image("a", "", "layer").await;
    let entry = json!({ "mediaType": crate::support::MANIFEST, "digest": child, "size": 1 });
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [entry] }).to_string();
    let answer = registry.call("PUT", "/v2/a/manifests/all", &[("content-type", INDEX)], index).await;
    assert_eq!(answer.status, StatusCode::CREATED);
    assert_eq!(registry.storage.collect(&BTreeSet::new(), NONE).unwrap(), Collected::default());
    assert!(has(&registry, &format!("/v2/a/manifests/{child}")).await);
    assert!(has(&registry, &format!("/v2/a/blobs/{}", digest(b"layer"))).await);
}

#[tokio::test]
async fn a_digest_that_is_written_with_escapes_keeps_its_blob() {
    let registry = Registry::new();
    let config = registry.blob("a", "{}").await;
    let layer = registry.blob("a", "layer").await;
    let part = |kind: &str, digest: &str| json!({ "mediaType": kind, "digest": digest, "size": 1 });
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": crate::support::MANIFEST,
        "config": part("application/vnd.oci.image.config.v1+json", &config),
        "layers": [part("application/vnd.oci.image.layer.v1.tar", &layer)],
    });
    // The same to every reader of JSON.
    let text = manifest.to_string().replace(&layer, &layer.replace(':', "\\u003a"));
    assert!(text.contains("sha256\\u003a"), "{text}");
    let answer = registry.call("PUT", "/v2/a/manifests/1", &[("content-type", crate::support::MANIFEST)], text).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    assert_eq!(registry.storage.collect(&BTreeSet::new(), NONE).unwrap(), Collected::default());
    assert!(has(&registry, &format!("/v2/a/blobs/{layer}")).await);
}

#[tokio::test]
async fn a_collection_makes_room() {
    let registry = Registry::with_limit(100);
    registry.blob("a", &"x".repeat(90)).await;
    let location = registry.begin("a").await;
    assert_eq!(registry.call("PATCH", &location, &[], "y".repeat(20)).await.status, StatusCode::INSUFFICIENT_STORAGE);
    assert_eq!(registry.storage.collect(&BTreeSet::new(), NONE).unwrap().bytes, 90);
    registry.blob("a", &"y".repeat(90)).await;
}

/// Makes a file look as if it had been written two hours ago.
fn age(path: &Path) {
    let file = std::fs::File::options().append(true).open(path).unwrap();
    file.set_modified(std::time::SystemTime::now() - 2 * HOUR).unwrap();
}

#[tokio::test]
async fn an_old_blob_that_a_push_has_just_asked_for_or_mounted_is_young_again() {
    for ask in ["HEAD", "mount", "nothing"] {
        let registry = Registry::new();
        let blob = registry.blob("a", "layer").await;
        age(&registry.directory.path().join("registry/blobs").join(&blob[7..]));
        match ask {
            "HEAD" => assert!(has(&registry, &format!("/v2/a/blobs/{blob}")).await),
            "mount" => {
                let path = format!("/v2/b/blobs/uploads/?mount={blob}&from=a");
                assert_eq!(registry.call("POST", &path, &[], "").await.status, StatusCode::CREATED);
            }
            _ => {}
        }
        let gone = registry.storage.collect(&BTreeSet::new(), HOUR).unwrap().blobs;
        assert_eq!(gone, usize::from(ask == "nothing"), "{ask}");
    }
}

#[tokio::test]
async fn an_old_manifest_that_a_push_has_just_found_is_young_again_with_its_blobs() {
    for method in ["HEAD", "GET"] {
        let registry = Registry::new();
        let image = registry.image("a", "", "layer").await;
        let place = registry.directory.path().join("registry");
        for part in ["blobs", "repositories/a/_barge/manifests"] {
            for entry in std::fs::read_dir(place.join(part)).unwrap() {
                age(&entry.unwrap().path());
            }
        }
        let path = format!("/v2/a/manifests/{image}");
        assert_eq!(registry.call(method, &path, &[], Body::empty()).await.status, StatusCode::OK);
        let collected = registry.storage.collect(&BTreeSet::new(), HOUR).unwrap();
        let expected = if method == "HEAD" { (0, 0) } else { (1, 3) };
        assert_eq!((collected.manifests, collected.blobs), expected, "{method}");
    }
}

#[tokio::test]
async fn what_cannot_be_read_ends_the_collection_before_anything_is_removed() {
    let registry = Registry::new();
    let image = registry.image("a", "1", "layer").await;
    let other = registry.blob("a", "never named").await;
    let file = registry.blob_file(&image);
    let kept = std::fs::read(&file).unwrap();
    // A directory cannot be read as a file, even by root.
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    assert!(registry.storage.collect(&BTreeSet::new(), NONE).is_err());
    std::fs::remove_dir(&file).unwrap();
    std::fs::write(&file, kept).unwrap();
    for blob in [digest(b"layer"), digest(b"{}"), other] {
        assert!(has(&registry, &format!("/v2/a/blobs/{blob}")).await, "{blob}");
    }
    assert!(has(&registry, "/v2/a/manifests/1").await);
}

#[tokio::test]
async fn what_an_interrupted_collection_left_takes_room_until_the_next_one() {
    let registry = Registry::new();
    let place = registry.directory.path().join("registry");
    std::fs::write(place.join("trash/left"), "x".repeat(60)).unwrap();
    let storage = Storage::open(place, 100).unwrap();
    let router = router(storage.clone(), Arc::new(|_, _| Verdict::Granted));
    let content = "y".repeat(50);
    let path = format!("/v2/a/blobs/uploads/?digest={}", digest(content.as_bytes()));
    for status in [StatusCode::INSUFFICIENT_STORAGE, StatusCode::CREATED] {
        let answer = call(&router, "POST", &path, &[], Body::from(content.clone())).await;
        assert_eq!(answer.status, status, "{answer:?}");
        storage.collect(&BTreeSet::new(), NONE).unwrap();
        assert_eq!(registry.files("trash"), 0);
    }
}

/// A pipe, opened for writing as soon as somebody reads it.
fn opened(pipe: &Path) -> std::fs::File {
    let start = Instant::now();
    loop {
        match std::fs::File::options().write(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(pipe) {
            Ok(file) => return file,
            Err(error) => assert!(start.elapsed() < DEADLINE, "{error}"),
        }
        std::thread::yield_now();
    }
}

/// Asks for things while a collection stands still: one of the tags that it reads is a pipe.
async fn ask_during_a_collection() {
    let registry = Registry::new();
    let image = registry.image("a", "1", "layer").await;
    let pipe = registry.directory.path().join("registry/repositories/a/_barge/tags/pipe");
    nix::unistd::mkfifo(&pipe, Mode::S_IRWXU).unwrap();
    let storage = registry.storage.clone();
    let collection = std::thread::spawn(move || storage.collect(&BTreeSet::new(), NONE));
    let mut tag = opened(&pipe);
    let layer = format!("/v2/a/blobs/{}", digest(b"layer"));
    let waits = has(&registry, &layer);
    tokio::pin!(waits);
    tokio::select! {
        biased;
        found = &mut waits => panic!("the collection has not decided yet, and the answer is {found}"),
        base = registry.get("/v2/") => assert_eq!(base.status, StatusCode::OK),
    }
    tag.write_all(image.as_bytes()).unwrap();
    drop(tag);
    assert!(waits.await);
    collection.join().unwrap().unwrap();
}

#[test]
fn a_collection_that_takes_long_keeps_no_thread_from_other_requests() {
    let (told, done) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        // With one thread alone, a request that blocks it would block all of them.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(ask_during_a_collection());
        told.send(()).unwrap();
    });
    done.recv_timeout(DEADLINE).unwrap();
}
