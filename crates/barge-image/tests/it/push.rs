//! Pushes and pulls: nothing twice, again after a failure, and never wrong bytes.

use std::collections::BTreeSet;
use std::sync::Mutex;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use barge_image::layer::digest;
use barge_image::layout::write_directory;
use barge_image::registry::{Progress, Pushed, Step};
use barge_image::{Image, RegistryError};

use crate::support::{
    Cut, DEADLINE, Served, anonymous, built, cutter, cutter_inside, incompressible, small, status, tree,
};

/// The image as the registry has it, pulled and compared byte for byte.
async fn check_pulled(served: &Served, name: &str, image: &Image) {
    let client = anonymous();
    let reference = served.reference(name);
    let (manifest, _) = client.manifest(&reference).await.unwrap();
    assert_eq!(manifest, image.manifest);
    let directory = tempfile::tempdir().unwrap();
    for blob in image.layers.iter().chain([&image.config]) {
        let path = directory.path().join("blob");
        client.blob_to_file(&reference, &blob.digest, blob.size, &path).await.unwrap();
        assert_eq!(digest(&std::fs::read(&path).unwrap()), blob.digest);
        assert_eq!(client.blob(&reference, &blob.digest).await.unwrap().len() as u64, blob.size);
    }
}

#[tokio::test]
async fn what_was_pushed_is_pulled_and_is_not_sent_again() {
    let served = Served::start().await;
    let client = anonymous();
    let image = small("hello").await;
    let total = image.layers[0].size + image.config.size;
    let target = served.reference("group/app:1");
    let told = Mutex::new(Vec::new());
    let pushed = client.push(&image, &target, &|progress| told.lock().unwrap().push(progress)).await.unwrap();
    assert_eq!(pushed, Pushed { sent: total, present: 0 });
    check_told(&told.into_inner().unwrap(), &image);
    check_pulled(&served, "group/app:1", &image).await;
    check_pulled(&served, &format!("group/app@{}", image.digest), &image).await;
    served.asked();
    let pushed = client.push(&image, &target, &|_| {}).await.unwrap();
    assert_eq!(pushed.sent, 0);
    let asked = served.asked();
    assert!(
        asked.len() == 2 && asked.iter().all(|line| line.starts_with("HEAD ")),
        "two questions, no more: {asked:?}"
    );
    // Another tag of the same image is one small request more.
    client.push(&image, &served.reference("group/app:2"), &|_| {}).await.unwrap();
    assert_eq!(served.asked().iter().filter(|line| !line.starts_with("HEAD ")).count(), 1);
}

/// Every blob is told of before any is sent, gets on without a step back, and ends once.
fn check_told(told: &[Progress], image: &Image) {
    let blobs = image.layers.len() + 1;
    assert!(told[..blobs].iter().all(|progress| progress.step == Step::Planned), "{told:?}");
    for blob in image.layers.iter().chain([&image.config]) {
        let steps: Vec<Step> = told[blobs..].iter().filter(|p| p.digest == blob.digest).map(|p| p.step).collect();
        let (last, moved) = steps.split_last().unwrap();
        assert_eq!(*last, Step::Sent, "{told:?}");
        let moved = moved.iter().map(|step| match step {
            Step::Moved { bytes } => *bytes,
            step => panic!("{step:?} in {told:?}"),
        });
        let moved: Vec<u64> = moved.collect();
        assert!(moved.is_sorted() && moved.iter().all(|bytes| *bytes <= blob.size), "{moved:?} of {}", blob.size);
    }
}

#[tokio::test]
async fn of_a_changed_image_only_what_changed_is_sent() {
    let served = Served::start().await;
    let client = anonymous();
    client.push(&small("base").await, &served.reference("bases/jre:21"), &|_| {}).await.unwrap();
    let base = format!("{}/bases/jre:21", served.address);
    for content in ["one", "two"] {
        let files = tree(&[("greeter*", content)]);
        let image = built(files.path(), &base, Some(&client)).await;
        let told = Mutex::new(Vec::new());
        let target = served.reference("app:1");
        client.push(&image, &target, &|progress| told.lock().unwrap().push(progress)).await.unwrap();
        let told = told.into_inner().unwrap();
        // The base's layer is mounted from its repository the first time, and there the second time.
        let (digest, size) = (image.layers[0].digest.clone(), image.layers[0].size);
        let step = if content == "one" { Step::Mounted } else { Step::Present };
        assert!(told.contains(&Progress { digest, size, step }), "{told:?}");
        assert_eq!(told.iter().filter(|progress| progress.step == Step::Sent).count(), 2);
        check_pulled(&served, "app:1", &image).await;
    }
}

#[tokio::test]
async fn a_layer_that_an_image_has_twice_is_sent_once() {
    let served = Served::start().await;
    let layout = tempfile::tempdir().unwrap();
    write_directory(&small("base").await, layout.path(), None).await.unwrap();
    crate::base::with_config(layout.path(), |config| {
        let layer = config["rootfs"]["diff_ids"][0].clone();
        config["rootfs"]["diff_ids"] = serde_json::json!([layer, layer]);
    });
    crate::base::with_manifest(layout.path(), |manifest| {
        let layer = manifest["layers"][0].clone();
        manifest["layers"] = serde_json::json!([layer, layer]);
    });
    let files = tree(&[("greeter*", "own")]);
    let image = built(files.path(), &format!("oci:{}", layout.path().display()), None).await;
    assert_eq!(image.layers.len(), 3);
    let told = Mutex::new(Vec::new());
    let target = served.reference("app:1");
    let pushed = anonymous().push(&image, &target, &|progress| told.lock().unwrap().push(progress)).await.unwrap();
    let planned = told.into_inner().unwrap().iter().filter(|progress| progress.step == Step::Planned).count();
    assert_eq!((served.count("POST "), planned), (3, 3), "two layers and the configuration");
    let total = image.layers[0].size + image.layers[2].size + image.config.size;
    assert_eq!(pushed, Pushed { sent: total, present: 0 });
    check_pulled(&served, "app:1", &image).await;
}

#[tokio::test]
async fn a_base_in_another_registry_is_copied() {
    let (from, to) = (Served::start().await, Served::start().await);
    let client = anonymous();
    client.push(&small("base").await, &from.reference("bases/jre:21"), &|_| {}).await.unwrap();
    let files = tree(&[("greeter*", "own")]);
    let image = built(files.path(), &format!("{}/bases/jre:21", from.address), Some(&client)).await;
    client.push(&image, &to.reference("app:1"), &|_| {}).await.unwrap();
    check_pulled(&to, "app:1", &image).await;
}

async fn check_retried(method: &'static str, contains: &'static str, times: usize, answer: fn() -> Response) -> Served {
    let served = Served::start().await;
    served.fail(method, contains, times, answer);
    let image = small("hello").await;
    let pushed = anonymous().push(&image, &served.reference("app:1"), &|_| {}).await;
    pushed.unwrap_or_else(|error| panic!("{method} {contains}: {error:?}"));
    check_pulled(&served, "app:1", &image).await;
    served
}

#[tokio::test]
async fn passing_failures_are_tried_again_from_the_beginning_of_the_upload() {
    let cases = tokio::join!(
        check_retried("POST", "/blobs/uploads/", 1, || status(500)),
        check_retried("POST", "/blobs/uploads/", 2, || status(429)),
        check_retried("PUT", "/blobs/uploads/", 1, || status(503)),
        check_retried("PUT", "/blobs/uploads/", 1, || status(408)),
        check_retried("PUT", "/manifests/", 1, || status(502)),
        check_retried("HEAD", "/manifests/", 1, || status(500)),
    );
    // One try more for a PUT means one POST more: a session that failed is never continued.
    assert_eq!(cases.2.count("POST "), 3);
    assert_eq!(cases.2.count("PATCH "), 0);
}

#[tokio::test]
async fn a_connection_that_is_cut_is_no_failure() {
    for begins in ["POST ", "PUT /v2/app/blobs", "PUT /v2/app/manifests", "HEAD "] {
        let served = Served::start().await;
        let front = cutter(served.address, begins, 1).await;
        let image = small("hello").await;
        let target = format!("{front}/app:1").parse().unwrap();
        let pushed = tokio::time::timeout(DEADLINE, anonymous().push(&image, &target, &|_| {})).await.unwrap();
        pushed.unwrap_or_else(|error| panic!("{begins}: {error:?}"));
        check_pulled(&served, "app:1", &image).await;
    }
}

#[tokio::test]
async fn a_push_that_is_cut_in_the_middle_of_a_layer_sends_it_again_and_ends_well() {
    let served = Served::start().await;
    let image = small(&incompressible(2 << 20)).await;
    let after = usize::try_from(image.layers[0].size).unwrap() / 2;
    assert!(after > 256 * 1024, "the layer is too small to have a middle");
    let front = cutter_inside(served.address, Cut { begins: "PUT /v2/app/blobs/uploads/", after, times: 1 }).await;
    let target = format!("{front}/app:1").parse().unwrap();
    let pushed = tokio::time::timeout(DEADLINE, anonymous().push(&image, &target, &|_| {})).await.unwrap().unwrap();
    assert_eq!(pushed, Pushed { sent: image.layers[0].size + image.config.size, present: 0 });
    assert!(served.count("POST /v2/app/blobs/uploads/") > 2, "nothing was begun again: {:?}", served.asked());
    check_pulled(&served, "app:1", &image).await;
}

#[tokio::test]
async fn what_will_not_pass_is_told_at_once() {
    for (code, expected) in
        [(403, "refuses access to"), (413, "answered 413"), (507, "has no room for an upload of sha256:")]
    {
        let served = Served::start().await;
        let answer: fn() -> Response = match code {
            403 => || status(403),
            413 => || status(413),
            _ => || status(507),
        };
        served.fail("POST", "/blobs/uploads/", 100, answer);
        let error = anonymous().push(&small("hello").await, &served.reference("app:1"), &|_| {}).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        // One for the layer and one for the config, which are under way at once.
        assert!(served.count("POST ") <= 2, "{code}: {} tries", served.count("POST "));
    }
}

#[tokio::test]
async fn a_tag_that_cannot_be_moved_is_no_failure_when_it_is_right_already() {
    let served = Served::start().await;
    let client = anonymous();
    let (first, second) = (small("one").await, small("two").await);
    client.push(&first, &served.reference("app:1"), &|_| {}).await.unwrap();
    served.fail("PUT", "/manifests/1", 100, || status(412));
    client.push(&first, &served.reference("app:1"), &|_| {}).await.unwrap();
    let error = client.push(&second, &served.reference("app:1"), &|_| {}).await.unwrap_err();
    assert!(error.to_string().contains("answered 412"), "{error}");
    check_pulled(&served, &format!("app@{}", second.digest), &second).await;
}

#[tokio::test]
async fn locations_are_followed_in_every_form_that_registries_give() {
    // Relative to the host, relative to the path, and with a query of its own.
    for (prefix, suffix) in [("", ""), ("http://HOST", ""), ("", "?state=abc%3D")] {
        let served = Served::start().await;
        let front = locations(served.address, prefix, suffix).await;
        let image = small("hello").await;
        let target = format!("{front}/app:1").parse().unwrap();
        anonymous().push(&image, &target, &|_| {}).await.unwrap();
        let kept = served.seen.lock().unwrap().iter().any(|line| line.contains("?state=abc%3D&digest=sha256%3A"));
        assert_eq!(kept, !suffix.is_empty());
        check_pulled(&served, "app:1", &image).await;
    }
}

/// A registry that answers with other forms of Location than `served` itself.
async fn locations(server: std::net::SocketAddr, prefix: &'static str, suffix: &'static str) -> std::net::SocketAddr {
    let http = reqwest_client();
    let router = axum::Router::new().fallback(move |request: axum::extract::Request| {
        let http = http.clone();
        async move {
            let (parts, body) = request.into_parts();
            let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
            let url = format!("http://{server}{}", parts.uri);
            let answer =
                http.request(parts.method, url).headers(parts.headers.clone()).body(body).send().await.unwrap();
            let status = answer.status();
            let mut headers = answer.headers().clone();
            if status == StatusCode::ACCEPTED {
                let own = parts.headers["host"].to_str().unwrap();
                let location = headers["location"].to_str().unwrap();
                let location = format!("{}{location}{suffix}", prefix.replace("HOST", own));
                headers.insert("location", location.parse().unwrap());
            }
            (status, headers, answer.bytes().await.unwrap()).into_response()
        }
    });
    crate::support::listen(router).await
}

fn reqwest_client() -> reqwest::Client {
    // Sets the provider of TLS that reqwest asks for.
    drop(anonymous());
    reqwest::Client::new()
}

#[tokio::test]
async fn bytes_with_another_digest_are_refused_and_leave_no_file() {
    let served = Served::start().await;
    let client = anonymous();
    let image = small("hello").await;
    client.push(&image, &served.reference("app:1"), &|_| {}).await.unwrap();
    served.fail("GET", "sha256:", 100, || "something else".into_response());
    let layer = &image.layers[0].digest;
    let reference = served.reference("app:1");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("layer");
    let results = [
        client.blob(&reference, layer).await.map(drop),
        client.blob_to_file(&reference, layer, image.layers[0].size, &path).await,
        client.manifest(&reference.with_digest(&image.digest)).await.map(drop),
    ];
    for result in results {
        assert!(matches!(result, Err(RegistryError::Digest { .. })), "{result:?}");
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_pull_that_breaks_off_is_tried_again() {
    let served = Served::start().await;
    let client = anonymous();
    let image = small(&"hello".repeat(1000)).await;
    client.push(&image, &served.reference("app:1"), &|_| {}).await.unwrap();
    served.fail("GET", "/blobs/", 1, || {
        let pieces = [Ok("half"), Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset))];
        axum::body::Body::from_stream(futures_util::stream::iter(pieces)).into_response()
    });
    check_pulled(&served, "app:1", &image).await;
}

#[tokio::test]
async fn a_collection_between_two_pushes_costs_nothing_but_sending_again() {
    let served = Served::start().await;
    let client = anonymous();
    let image = small("hello").await;
    let target = served.reference(&format!("app@{}", image.digest));
    client.push(&image, &target, &|_| {}).await.unwrap();
    served.storage.collect(&BTreeSet::new(), std::time::Duration::ZERO).unwrap();
    assert!(client.push(&image, &target, &|_| {}).await.unwrap().sent > 0);
    check_pulled(&served, &format!("app@{}", image.digest), &image).await;
}
