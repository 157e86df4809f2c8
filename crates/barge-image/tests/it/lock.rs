//! A base that is pinned, and what is fetched of it, once.

use barge_image::base::lock::{Change, FILE, Lock, LockError, pin};
use barge_image::base::{Means, Place, load_for};
use barge_image::build::{BuildRequest, files};
use barge_image::cache::LIMIT;
use barge_image::image::here;
use barge_image::layout::write_directory;
use barge_image::{Cache, Client, Image, Reference, build};
use barge_model::Digest;

use crate::support::{Served, anonymous, runtime, small, tree};

fn digest(image: &Image) -> Digest {
    Digest::new(image.digest.as_str()).unwrap()
}

async fn on(base: &str, cache: &Cache, client: Option<&Client>) -> Image {
    let own = tree(&[("greeter*", "own")]);
    let layers = vec![files(own.path(), &[]).unwrap()];
    let request = BuildRequest { cache: Some(cache), ..BuildRequest::new(layers, base, runtime()) };
    build(request, client).await.unwrap()
}

#[tokio::test]
async fn a_tag_is_asked_once_and_then_only_when_it_is_to_move() {
    let served = Served::start().await;
    let client = anonymous();
    let means = Means { client: Some(&client), cache: None };
    let (old, new) = (small("old").await, small("new").await);
    let tag = served.reference("bases/jre:21");
    client.push(&old, &tag, &|_| {}).await.unwrap();
    let first = pin(&tag, None, false, means).await.unwrap();
    let (lock, change) = first.change.unwrap();
    assert_eq!((change, &lock.digest, &lock.reference), (Change::First, &digest(&old), &tag.to_string()));
    client.push(&new, &tag, &|_| {}).await.unwrap();
    served.asked();
    let kept = pin(&tag, Some(&lock), false, means).await.unwrap();
    assert_eq!((kept.reference.version.as_str(), kept.change), (old.digest.as_str(), None));
    assert_eq!(served.asked(), [] as [&str; 0]);
    let moved = pin(&tag, Some(&lock), true, means).await.unwrap();
    let (lock, change) = moved.change.unwrap();
    assert_eq!((change, &lock.digest), (Change::Moved { from: digest(&old) }, &digest(&new)));
    assert_eq!(pin(&tag, Some(&lock), true, means).await.unwrap().change, None, "it means the same still");
    // Another base in barge.yaml.
    let other = served.reference("bases/jre:25");
    client.push(&old, &other, &|_| {}).await.unwrap();
    let renamed = pin(&other, Some(&lock), false, means).await.unwrap();
    assert_eq!(renamed.reference.version, old.digest);
    assert_eq!(renamed.change.unwrap().1, Change::Renamed { from: tag.to_string() });
    // Whoever writes the digest into barge.yaml needs no lock.
    let exact = tag.with_digest(&new.digest);
    let pinned = pin(&exact, Some(&lock), true, Means::default()).await.unwrap();
    assert_eq!((pinned.reference, pinned.change), (exact, None));
}

#[test]
fn a_lock_file_is_written_for_people_and_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE);
    assert_eq!(Lock::read(&path).unwrap(), None);
    let digest = Digest::new(format!("sha256:{}", "ab".repeat(32))).unwrap();
    let lock = Lock { reference: "registry.example/bases/jre:21".to_owned(), digest };
    lock.write(&path).unwrap();
    assert_eq!(Lock::read(&path).unwrap(), Some(lock.clone()));
    let text = std::fs::read_to_string(&path).unwrap();
    let told: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let expected = ["base:", "  reference: \"registry.example/bases/jre:21\"", &format!("  digest: {}", lock.digest)];
    assert_eq!(told, expected);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    for (bad, why) in [
        ("", "a lock file"),
        ("base: {}", "reference"),
        ("base: {reference: a, digest: sha256:12}", "digest"),
        ("base: {reference: a, digest: ../../x}", "digest"),
        (&format!("base: {{reference: a, digest: {}, more: c}}", lock.digest), "more"),
        ("<<<<<<< HEAD\nbase:\n", ""),
        (&"#".repeat(70_000), "65536"),
        ("a: &a [x, x]\nb: [*a, *a]", ""),
    ] {
        std::fs::write(&path, bad).unwrap();
        let error = Lock::read(&path).unwrap_err();
        assert!(matches!(error, LockError::Invalid { .. }), "{error:?}");
        assert!(error.to_string().contains(why), "{bad:.40}: {error}");
    }
    std::fs::write(&path, [0xff, 0xfe]).unwrap();
    assert!(Lock::read(&path).unwrap_err().to_string().contains("UTF-8"));
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert!(matches!(Lock::read(&path).unwrap_err(), LockError::Read { .. }));
    assert!(matches!(lock.write(&path).unwrap_err(), LockError::Write { .. }));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left beside it");
}

#[tokio::test]
async fn a_locked_base_that_was_fetched_once_needs_no_registry() {
    let served = Served::start().await;
    let client = anonymous();
    let home = tempfile::tempdir().unwrap();
    let cache = Cache::open(home.path(), LIMIT).unwrap();
    let base = small("base").await;
    client.push(&base, &served.reference("bases/jre:21"), &|_| {}).await.unwrap();
    let name = served.reference("bases/jre:21").with_digest(&base.digest).to_string();
    let first = on(&name, &cache, Some(&client)).await;
    let written = tempfile::tempdir().unwrap();
    write_directory(&first, written.path(), Some(&client)).await.unwrap();
    served.asked();
    // Not even a client, and the layer comes out of the cache as well.
    let second = on(&name, &cache, None).await;
    assert_eq!(second.digest, first.digest);
    let again = tempfile::tempdir().unwrap();
    write_directory(&second, again.path(), None).await.unwrap();
    assert_eq!(served.asked(), [] as [&str; 0]);
    // What was damaged in the cache is fetched again.
    for entry in std::fs::read_dir(home.path().join("blobs/sha256")).unwrap() {
        let path = entry.unwrap().path();
        let bytes: Vec<u8> = std::fs::read(&path).unwrap().iter().map(|byte| byte ^ 1).collect();
        std::fs::write(&path, bytes).unwrap();
    }
    let third = on(&name, &cache, Some(&client)).await;
    assert_eq!(third.digest, first.digest);
    let again = tempfile::tempdir().unwrap();
    write_directory(&third, again.path(), Some(&client)).await.unwrap();
    assert!(served.count("GET /v2/bases/jre/blobs/") >= 2, "{:?}", served.asked());
}

#[tokio::test]
async fn a_base_is_copied_to_another_registry_through_the_cache() {
    let (theirs, ours, third) = (Served::start().await, Served::start().await, Served::start().await);
    let client = anonymous();
    let home = tempfile::tempdir().unwrap();
    let cache = Cache::open(home.path(), LIMIT).unwrap();
    let base = small("base").await;
    client.push(&base, &theirs.reference("bases/jre:21"), &|_| {}).await.unwrap();
    let name = theirs.reference("bases/jre:21").with_digest(&base.digest).to_string();
    let image = on(&name, &cache, Some(&client)).await;
    client.push(&image, &ours.reference("app:1"), &|_| {}).await.unwrap();
    theirs.asked();
    client.push(&image, &third.reference("app:1"), &|_| {}).await.unwrap();
    assert_eq!(theirs.asked(), [] as [&str; 0]);
    for registry in [&ours, &third] {
        let reference: Reference = registry.reference("app:1");
        let bytes = client.blob(&reference, &base.layers[0].digest).await.unwrap();
        assert_eq!(barge_image::layer::digest(&bytes), base.layers[0].digest);
    }
    assert_eq!(std::fs::read_dir(home.path().join("tmp")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_base_that_is_gone_is_told_with_its_name() {
    let served = Served::start().await;
    let client = anonymous();
    let missing = served.reference("bases/jre:21").with_digest(&format!("sha256:{}", "0".repeat(64)));
    let means = Means { client: Some(&client), cache: None };
    let error = load_for(&Place::Registry(missing), &here(), means).await.unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("404") && source.contains("bases/jre@sha256:000"), "{source}");
}
