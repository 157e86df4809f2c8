//! What takes long, what stands still, what is too large, and what asks us to wait.

use std::collections::HashMap;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use barge_image::cache::LIMIT;
use barge_image::image::Source;
use barge_image::layout::{LayoutError, write_directory};
use barge_image::{Cache, Client, Image, Limits, Reference, RegistryError};
use nix::sys::stat::Mode;

use crate::support::{DEADLINE, Served, anonymous, listen, small};

fn limited(silence: u64, upload_answer: u64) -> Client {
    let (silence, upload_answer) = (Duration::from_millis(silence), Duration::from_millis(upload_answer));
    Client::with_limits(HashMap::new(), Limits { silence, upload_answer }).unwrap()
}

/// An image whose layer comes out of a pipe, the pipe, and what should come out of it.
async fn through_a_pipe(directory: &Path) -> (Image, PathBuf, Vec<u8>) {
    let mut image = small("hello").await;
    let Source::Temporary(file) = &image.layers[0].source else { panic!("{image:?}") };
    let bytes = std::fs::read(file.path()).unwrap();
    let pipe = directory.join("layer");
    nix::unistd::mkfifo(&pipe, Mode::S_IRWXU).unwrap();
    image.layers[0].source = Source::File(pipe.clone());
    (image, pipe, bytes)
}

#[tokio::test]
async fn an_upload_may_take_long_as_long_as_it_gets_on() {
    let served = Served::start().await;
    let directory = tempfile::tempdir().unwrap();
    let (image, pipe, bytes) = through_a_pipe(directory.path()).await;
    let writer = std::thread::spawn(move || {
        // Opens when the push reads it.
        let mut pipe = std::fs::File::options().write(true).open(pipe).unwrap();
        for piece in bytes.chunks(bytes.len().div_ceil(15)) {
            pipe.write_all(piece).unwrap();
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    let start = Instant::now();
    limited(1000, 20_000).push(&image, &served.reference("app:1"), &|_| {}).await.unwrap();
    assert!(start.elapsed() > Duration::from_millis(1200), "the upload was not slow enough to say anything");
    writer.join().unwrap();
}

#[tokio::test]
async fn an_upload_that_gets_no_further_is_given_up() {
    let served = Served::start().await;
    let directory = tempfile::tempdir().unwrap();
    let (image, pipe, _) = through_a_pipe(directory.path()).await;
    // Nothing is ever written. It is closed before the test ends, because the push's own reading ends with that.
    let pipe = std::fs::File::options().read(true).write(true).open(pipe).unwrap();
    let client = limited(500, 20_000);
    let target = served.reference("app:1");
    let pushed = tokio::time::timeout(DEADLINE, client.push(&image, &target, &|_| {})).await;
    drop(pipe);
    let error = pushed.unwrap().unwrap_err();
    assert!(matches!(error, RegistryError::Silent { .. }), "{error:?}");
    assert!(error.to_string().ends_with("took nothing more of an upload for 500ms"), "{error}");
}

/// A registry that takes so long to answer to the last byte of a blob.
async fn thoughtful(pause: Duration) -> SocketAddr {
    let router = Router::new().fallback(move |request: Request| async move {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        match method.as_str() {
            "POST" => (StatusCode::ACCEPTED, [("location", "/thoughtful")]).into_response(),
            "PUT" => {
                axum::body::to_bytes(request.into_body(), usize::MAX).await.unwrap();
                if path == "/thoughtful" {
                    tokio::time::sleep(pause).await;
                }
                StatusCode::CREATED.into_response()
            }
            _ => StatusCode::NOT_FOUND.into_response(),
        }
    });
    listen(router).await
}

#[tokio::test]
async fn the_answer_to_an_upload_may_take_longer_than_any_other_but_not_for_ever() {
    let image = small("hello").await;
    let push = |client: Client, address: SocketAddr| {
        let image = image.clone();
        let target = format!("{address}/app:1").parse().unwrap();
        async move { client.push(&image, &target, &|_| {}).await }
    };
    push(limited(500, 20_000), thoughtful(Duration::from_millis(1000)).await).await.unwrap();
    let error = push(limited(20_000, 300), thoughtful(3 * DEADLINE).await).await.unwrap_err();
    assert!(error.to_string().ends_with("did not answer an upload for 300ms"), "{error}");
}

fn later() -> Response {
    (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "1")]).into_response()
}

#[tokio::test]
async fn a_registry_that_asks_for_a_pause_gets_it() {
    let served = Served::start().await;
    let client = anonymous();
    let image = small("hello").await;
    let reference = served.reference("app:1");
    for (method, contains) in [("POST", "/blobs/uploads/"), ("GET", "/manifests/")] {
        served.fail(method, contains, 1, later);
        let start = Instant::now();
        if method == "POST" {
            client.push(&image, &reference, &|_| {}).await.unwrap();
        } else {
            client.manifest(&reference).await.unwrap();
        }
        assert!(start.elapsed() >= Duration::from_secs(1), "{method} came again after {:?}", start.elapsed());
    }
}

/// A registry in which everything is as long as its name says, and in which nothing else is, at length.
async fn bloated() -> SocketAddr {
    let router = Router::new().fallback(|request: Request| async move {
        match request.uri().path().rsplit('/').next().unwrap().parse() {
            Ok(length) => vec![b'x'; length].into_response(),
            Err(_) => (StatusCode::NOT_FOUND, vec![b'x'; 1 << 20]).into_response(),
        }
    });
    listen(router).await
}

#[tokio::test]
async fn no_more_is_read_than_anything_sensible_has() {
    let address = bloated().await;
    let client = anonymous();
    let manifest = |version: &str| client_manifest(&client, format!("{address}/app:{version}"));
    assert_eq!(manifest("4194304").await.unwrap(), 4 << 20);
    let error = manifest("4194305").await.unwrap_err();
    assert!(error.to_string().contains("sent more than 4194304 bytes as"), "{error}");
    let reference = format!("{address}/app:1").parse().unwrap();
    let error = client.blob(&reference, "16777216").await.unwrap_err();
    assert!(matches!(error, RegistryError::Digest { .. }), "{error}");
    let error = client.blob(&reference, "16777217").await.unwrap_err();
    assert!(error.to_string().ends_with("sent more than 16777216 bytes as 16777217; no more are taken"), "{error}");
    let error = manifest("unknown").await.unwrap_err();
    let RegistryError::Status { status: 404, message, .. } = &error else { panic!("{error}") };
    assert_eq!(message.len(), 200);
}

/// How long a manifest is.
async fn client_manifest(client: &Client, reference: String) -> Result<usize, RegistryError> {
    client.manifest(&reference.parse().unwrap()).await.map(|(bytes, _)| bytes.len())
}

/// A registry whose blobs have no end that anybody wants to see, and so many bytes of them that it has given.
async fn endless() -> (SocketAddr, Arc<AtomicUsize>) {
    let given = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&given);
    let router = Router::new().fallback(move || {
        let count = Arc::clone(&count);
        let piece = move || {
            count.fetch_add(64 << 10, Ordering::Relaxed);
            Ok::<_, std::io::Error>(vec![b'x'; 64 << 10])
        };
        let pieces = futures_util::stream::iter(std::iter::repeat_with(piece).take(4096));
        async move { axum::body::Body::from_stream(pieces).into_response() }
    });
    (listen(router).await, given)
}

#[tokio::test]
async fn a_blob_that_is_longer_than_its_manifest_says_is_given_up_and_leaves_nothing() {
    let (address, given) = endless().await;
    let reference: Reference = format!("{address}/app:1").parse().unwrap();
    let image = small("hello").await;
    let digest = &image.layers[0].digest;
    let place = tempfile::tempdir().unwrap();
    let error = anonymous().blob_to_file(&reference, digest, 1 << 20, &place.path().join("layer")).await.unwrap_err();
    let expected = format!("the registry {address} sent more than 1048576 bytes as {digest}; no more are taken");
    assert_eq!(error.to_string(), expected);
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
    // The same on the way through the cache, and without one.
    let cache = Cache::open(&place.path().join("cache"), LIMIT).unwrap();
    for cache in [Some(cache), None] {
        let mut image = image.clone();
        image.layers[0].source = Source::Remote { reference: reference.clone(), cache };
        let error = write_directory(&image, &place.path().join("layout"), Some(&anonymous())).await.unwrap_err();
        let LayoutError::Fetch { source: RegistryError::TooLarge { limit, .. }, .. } = error else { panic!("{error}") };
        assert_eq!(limit, image.layers[0].size);
    }
    assert_eq!(std::fs::read_dir(place.path().join("cache/tmp")).unwrap().count(), 0);
    let given = given.load(Ordering::Relaxed);
    assert!(given < 64 << 20, "{given} bytes were sent");
}
