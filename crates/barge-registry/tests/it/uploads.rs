//! Uploads: in one request, in two, in pieces; wrong, cut off, too large, and two at once.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{DEADLINE, Registry, digest};

#[tokio::test]
async fn a_blob_can_be_sent_in_each_way_of_the_specification() {
    let registry = Registry::new();
    let content = "0123456789";
    let name = digest(content.as_bytes());
    // POST alone.
    assert_eq!(registry.blob("one", content).await, name);
    // POST, PUT.
    let location = registry.begin("two").await;
    let done = registry.call("PUT", &format!("{location}?digest={name}"), &[], content).await;
    assert_eq!((done.status, done.header("docker-content-digest")), (StatusCode::CREATED, name.as_str()));
    assert_eq!(done.header("location"), format!("/v2/two/blobs/{name}"));
    // POST, PATCH of everything as a stream, PUT.
    let location = registry.begin("three").await;
    assert_eq!(registry.call("PATCH", &location, &[], content).await.status, StatusCode::ACCEPTED);
    assert_eq!(registry.call("PUT", &format!("{location}?digest={name}"), &[], "").await.status, StatusCode::CREATED);
    // POST, PATCH in pieces, PUT with the last one.
    let location = registry.begin("four").await;
    let first = registry.call("PATCH", &location, &[("content-range", "0-3")], "0123").await;
    assert_eq!((first.status, first.header("range")), (StatusCode::ACCEPTED, "0-3"));
    let second = registry.call("PATCH", &location, &[("content-range", "4-7")], "4567").await;
    assert_eq!((second.status, second.header("range")), (StatusCode::ACCEPTED, "0-7"));
    let last = registry.call("PUT", &format!("{location}?digest={name}"), &[("content-range", "8-9")], "89").await;
    assert_eq!(last.status, StatusCode::CREATED);
    for repository in ["one", "two", "three", "four"] {
        assert_eq!(registry.get(&format!("/v2/{repository}/blobs/{name}")).await.body, content);
    }
    assert_eq!((registry.files("uploads"), registry.files("blobs")), (0, 1));
}

#[tokio::test]
async fn pieces_in_the_wrong_order_are_refused_and_the_upload_goes_on() {
    let registry = Registry::new();
    let location = registry.begin("a").await;
    for range in ["4-7", "1-3"] {
        let answer = registry.call("PATCH", &location, &[("content-range", range)], "4567").await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID"));
    }
    let bad = registry.call("PATCH", &location, &[("content-range", "four")], "4567").await;
    assert_eq!(bad.status, StatusCode::BAD_REQUEST);
    assert_eq!(registry.call("PATCH", &location, &[("content-range", "0-3")], "0123").await.status, 202);
    let repeated = registry.call("PATCH", &location, &[("content-range", "0-3")], "0123").await;
    assert_eq!(repeated.status, StatusCode::RANGE_NOT_SATISFIABLE);
    let state = registry.get(&location).await;
    assert_eq!((state.status, state.header("range")), (StatusCode::NO_CONTENT, "0-3"));
    let name = digest(b"0123");
    assert_eq!(registry.call("PUT", &format!("{location}?digest={name}"), &[], "").await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn content_with_another_digest_is_refused_and_leaves_nothing() {
    let registry = Registry::new();
    let location = registry.begin("a").await;
    for bad in ["", "?digest=", "?digest=sha256:12", "?digest=md5:12"] {
        let answer = registry.call("PUT", &format!("{location}{bad}"), &[], "content").await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::BAD_REQUEST, "DIGEST_INVALID"), "{bad}");
    }
    let other = digest(b"other");
    let answer = registry.call("PUT", &format!("{location}?digest={other}"), &[], "content").await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::BAD_REQUEST, "DIGEST_INVALID"));
    assert_eq!(registry.get(&location).await.status, StatusCode::NOT_FOUND);
    assert_eq!((registry.files("uploads"), registry.files("blobs")), (0, 0));
}

#[tokio::test]
async fn an_upload_can_be_given_up() {
    let registry = Registry::new();
    let location = registry.begin("a").await;
    assert_eq!(registry.call("DELETE", &location, &[], "").await.status, StatusCode::NO_CONTENT);
    for method in ["GET", "DELETE", "PATCH"] {
        let answer = registry.call(method, &location, &[], "").await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN"));
    }
}

#[tokio::test]
async fn an_upload_belongs_to_the_repository_that_it_was_begun_in() {
    let registry = Registry::new();
    let location = registry.begin("group/a").await;
    let elsewhere = location.replace("group/a", "group/b");
    let name = digest(b"content");
    let finish = format!("{elsewhere}?digest={name}");
    for (method, path) in [("GET", &elsewhere), ("PATCH", &elsewhere), ("PUT", &finish), ("DELETE", &elsewhere)] {
        let answer = registry.call(method, path, &[], "content").await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{method}: {answer:?}");
        assert_eq!(answer.code(), "BLOB_UPLOAD_UNKNOWN", "{method}");
    }
    let done = registry.call("PUT", &format!("{location}?digest={name}"), &[], "content").await;
    assert_eq!(done.status, StatusCode::CREATED, "{done:?}");
    assert_eq!(registry.get(&format!("/v2/group/b/blobs/{name}")).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_full_disk_is_told_as_what_it_is() {
    let registry = Registry::new();
    // One piece that is so small that it fails only when the file is flushed, and one that fails when it is written.
    for size in [10, 10 << 20] {
        let location = registry.begin("a").await;
        let file = registry.upload_file(&location);
        std::fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink("/dev/full", &file).unwrap();
        let answer = registry.call("PATCH", &location, &[], "x".repeat(size)).await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::INSUFFICIENT_STORAGE, "DENIED"), "{size}");
        assert_eq!(answer.json()["errors"][0]["message"], "the registry's disk is full", "{size}");
    }
}

#[tokio::test]
async fn the_limit_of_space_holds_and_what_is_given_up_makes_room() {
    let registry = Registry::with_limit(100);
    registry.blob("a", &"x".repeat(60)).await;
    let location = registry.begin("a").await;
    let full = registry.call("PATCH", &location, &[], "y".repeat(41)).await;
    assert_eq!((full.status, full.code().as_str()), (StatusCode::INSUFFICIENT_STORAGE, "DENIED"));
    assert_eq!(registry.get(&location).await.header("range"), "0-0", "nothing of the refused piece stays");
    assert_eq!(registry.call("PATCH", &location, &[], "y".repeat(40)).await.status, StatusCode::ACCEPTED);
    let second = registry.begin("a").await;
    assert_eq!(registry.call("PATCH", &second, &[], "z").await.status, StatusCode::INSUFFICIENT_STORAGE);
    assert_eq!(registry.call("DELETE", &location, &[], "").await.status, StatusCode::NO_CONTENT);
    assert_eq!(registry.call("PATCH", &second, &[], "z".repeat(40)).await.status, StatusCode::ACCEPTED);
    // A registry that is opened again counts what is there.
    let again = barge_registry::Storage::open(registry.directory.path().join("registry"), 100).unwrap();
    let router = barge_registry::router(again, std::sync::Arc::new(|_, _| barge_registry::Verdict::Granted));
    let third = crate::support::call(&router, "POST", "/v2/a/blobs/uploads/", &[], Body::empty()).await;
    let answer = crate::support::call(&router, "PATCH", third.header("location"), &[], Body::from("z")).await;
    assert_eq!(answer.status, StatusCode::INSUFFICIENT_STORAGE);
}

#[tokio::test]
async fn the_last_room_of_a_disk_is_left_to_others() {
    let registry = Registry::new();
    let piece = async |reserve: barge_registry::Reserve| {
        let location = registry.begin("a").await;
        let router = registry.router_of(registry.storage.clone().with_reserve(reserve));
        let answer = crate::support::call(&router, "PATCH", &location, &[], Body::from("content")).await;
        (answer, registry.get(&location).await.header("range").to_owned())
    };
    // As on a disk of which all is to stay free; it has less than that.
    let (refused, range) = piece(barge_registry::Reserve { one_in: 1, at_most: u64::MAX }).await;
    assert_eq!(range, "0-0", "nothing of it stays");
    assert_eq!((refused.status, refused.code().as_str()), (StatusCode::INSUFFICIENT_STORAGE, "DENIED"));
    let told = refused.json()["errors"][0]["message"].as_str().unwrap().to_owned();
    assert!(told.starts_with("the registry is full: the last ") && told.contains("kept free"), "{told}");
    assert_eq!(piece(barge_registry::Reserve { one_in: 1, at_most: 0 }).await.0.status, StatusCode::ACCEPTED);
}

/// A disk in memory that can hold so many files, for as long as the value lives.
struct FewFiles(tempfile::TempDir);

impl FewFiles {
    fn of(count: u32) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("nr_inodes={count}"), "none"]).arg(directory.path());
        if mount.output().is_ok_and(|output| output.status.success()) {
            return Some(Self(directory));
        }
        barge_testkit::skipped("nothing may be mounted here");
        None
    }
}

impl Drop for FewFiles {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn the_last_files_of_a_disk_are_left_to_others() {
    let Some(disk) = FewFiles::of(100) else { return };
    let root = disk.0.path().join("registry");
    let storage = barge_registry::Storage::open(root.clone(), u64::MAX).unwrap();
    let storage = storage.with_reserve(barge_registry::Reserve { one_in: 4, at_most: u64::MAX });
    let router = barge_registry::router(storage, std::sync::Arc::new(|_, _| barge_registry::Verdict::Granted));
    let begin = async || crate::support::call(&router, "POST", "/v2/a/blobs/uploads/", &[], Body::empty()).await;
    let mut begun = 0;
    let refused = loop {
        let answer = begin().await;
        if answer.status != StatusCode::ACCEPTED {
            break answer;
        }
        begun += 1;
        assert!(begun < 100, "uploads without a byte go on and on");
    };
    assert_eq!((refused.status, refused.code().as_str()), (StatusCode::INSUFFICIENT_STORAGE, "DENIED"));
    let told = refused.json()["errors"][0]["message"].as_str().unwrap().to_owned();
    assert!(told.contains("the last 25 files that its disk can hold are left"), "{told}");
    for file in 0..20 {
        std::fs::write(disk.0.path().join(file.to_string()), "of somebody else").unwrap();
    }
}

#[tokio::test]
async fn the_same_blob_sent_twice_takes_its_room_once() {
    let registry = Registry::with_limit(100);
    for _ in 0..5 {
        registry.blob("a", &"x".repeat(50)).await;
    }
    assert_eq!(registry.files("blobs"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_same_blob_sent_by_many_at_once_takes_its_room_once() {
    for _ in 0..20 {
        let registry = Registry::with_limit(400);
        let content = "x".repeat(50);
        let path = format!("/v2/a/blobs/uploads/?digest={}", digest(content.as_bytes()));
        let pushes = (0..8).map(|_| registry.call("POST", &path, &[], content.clone()));
        for answer in futures_util::future::join_all(pushes).await {
            assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        }
        registry.blob("a", &"y".repeat(350)).await;
    }
}

#[tokio::test]
async fn a_blob_in_one_request_that_does_not_come_through_leaves_no_upload() {
    let registry = Registry::with_limit(20);
    let path = format!("/v2/a/blobs/uploads/?digest={}", digest(b"0123456789"));
    let reset = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    let broken = Body::from_stream(futures_util::stream::iter([Ok(Bytes::from("0123")), Err(reset)]));
    for (body, status) in [
        (Body::from("x".repeat(21)), StatusCode::INSUFFICIENT_STORAGE),
        (Body::from("another"), StatusCode::BAD_REQUEST),
        (broken, StatusCode::BAD_REQUEST),
    ] {
        assert_eq!(registry.call("POST", &path, &[], body).await.status, status);
        assert_eq!((registry.files("uploads"), registry.files("blobs")), (0, 0), "{status}");
    }
    registry.blob("a", &"x".repeat(20)).await;
}

/// A body whose pieces the test sends; an error breaks it off.
fn piecewise() -> (tokio::sync::mpsc::Sender<Result<Bytes, std::io::Error>>, Body) {
    let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
    let stream = futures_util::stream::poll_fn(move |context| receiver.poll_recv(context));
    (sender, Body::from_stream(stream))
}

#[tokio::test]
async fn a_piece_that_breaks_off_leaves_the_upload_as_it_was() {
    let registry = Registry::with_limit(20);
    let location = registry.begin("a").await;
    assert_eq!(registry.call("PATCH", &location, &[], "0123").await.status, StatusCode::ACCEPTED);
    for _ in 0..5 {
        let (sender, body) = piecewise();
        let send = async {
            sender.send(Ok(Bytes::from("456789"))).await.unwrap();
            sender.send(Err(std::io::ErrorKind::ConnectionReset.into())).await.unwrap();
        };
        let (answer, ()) = tokio::join!(registry.call("PATCH", &location, &[], body), send);
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::BAD_REQUEST, "BLOB_UPLOAD_INVALID"));
        assert_eq!(registry.get(&location).await.header("range"), "0-3");
    }
    let name = digest(b"01234567");
    let done = registry.call("PUT", &format!("{location}?digest={name}"), &[], "4567").await;
    assert_eq!(done.status, StatusCode::CREATED);
}

#[tokio::test]
async fn a_client_that_stops_in_the_middle_is_given_up_and_its_upload_can_go_on() {
    let registry = Registry::new();
    let limit = std::time::Duration::from_millis(50);
    let router = registry.router_of(registry.storage.clone().with_stall_limit(limit));
    let location = registry.begin("a").await;
    // Held to the end: the connection stays, and nothing more comes.
    let (sender, body) = piecewise();
    sender.send(Ok(Bytes::from("0123"))).await.unwrap();
    let answer = crate::support::call(&router, "PATCH", &location, &[], body).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::BAD_REQUEST, "BLOB_UPLOAD_INVALID"));
    assert_eq!(registry.get(&location).await.header("range"), "0-0", "nothing of the piece stays");
    assert_eq!(registry.call("PATCH", &location, &[], "0123").await.status, StatusCode::ACCEPTED);
    let (manifest_sender, body) = piecewise();
    manifest_sender.send(Ok(Bytes::from("{"))).await.unwrap();
    let answer = crate::support::call(&router, "PUT", "/v2/a/manifests/one", &[], body).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::BAD_REQUEST, "MANIFEST_INVALID"));
    drop((sender, manifest_sender));
}

#[tokio::test]
async fn a_piece_whose_request_is_dropped_is_taken_back_as_well() {
    let registry = Registry::new();
    let location = registry.begin("a").await;
    let path = registry.upload_file(&location);
    let (sender, body) = piecewise();
    let taken = async {
        sender.send(Ok(Bytes::from("012345"))).await.unwrap();
        until(|| std::fs::metadata(&path).unwrap().len() == 6).await;
    };
    tokio::select! {
        answer = registry.call("PATCH", &location, &[], body) => panic!("the body has not ended: {answer:?}"),
        () = taken => {}
    }
    sender.send(Err(std::io::ErrorKind::ConnectionReset.into())).await.unwrap();
    until(|| std::fs::metadata(&path).unwrap().len() == 0).await;
}

#[tokio::test]
async fn a_second_request_for_an_upload_is_refused_while_the_first_goes_on() {
    let registry = Registry::new();
    let location = registry.begin("a").await;
    let (sender, body) = piecewise();
    let others = async {
        sender.send(Ok(Bytes::from("01"))).await.unwrap();
        sender.send(Ok(Bytes::from("23"))).await.unwrap();
        // The first request has taken a piece by now, so it holds the upload.
        let name = digest(b"0123");
        for (method, path) in
            [("PATCH", location.clone()), ("PUT", format!("{location}?digest={name}")), ("DELETE", location.clone())]
        {
            assert_eq!(registry.call(method, &path, &[], "x").await.status, StatusCode::CONFLICT, "{method}");
        }
        let collected = registry.storage.collect(&BTreeSet::new(), Duration::ZERO).unwrap();
        assert_eq!(collected.uploads, 0, "a collection leaves it alone as well");
        drop(sender);
    };
    let (first, ()) = tokio::join!(registry.call("PATCH", &location, &[], body), others);
    assert_eq!((first.status, first.header("range")), (StatusCode::ACCEPTED, "0-3"));
}

#[tokio::test]
async fn a_client_that_vanishes_in_the_middle_leaves_an_upload_that_can_go_on() {
    let registry = Registry::new();
    let address = registry.listen().await;
    let location = registry.begin("a").await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf");
    stream.write_all(head.as_bytes()).await.unwrap();
    let path = registry.upload_file(&location);
    until(|| std::fs::metadata(&path).unwrap().len() == 4).await;
    drop(stream);
    until(|| std::fs::metadata(&path).unwrap().len() == 0).await;
    let name = digest(b"whole");
    // The lost request may hold the upload for a moment longer.
    let start = Instant::now();
    loop {
        let answer = registry.call("PUT", &format!("{location}?digest={name}"), &[], "whole").await;
        if answer.status != StatusCode::CONFLICT {
            assert_eq!(answer.status, StatusCode::CREATED);
            break;
        }
        assert!(start.elapsed() < DEADLINE);
        tokio::task::yield_now().await;
    }
    assert_eq!(registry.get(&format!("/v2/a/blobs/{name}")).await.body, "whole");
}

async fn until(mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < DEADLINE, "waited in vain");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_clients_that_push_the_same_blob_at_once_all_succeed() {
    let registry = Registry::new();
    let address = registry.listen().await;
    let content = "x".repeat(300_000);
    let name = digest(content.as_bytes());
    let pushes = (0..8).map(|client| {
        let (content, name) = (content.clone(), name.clone());
        tokio::spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let head = format!(
                "POST /v2/r{}/blobs/uploads/?digest={name} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                client % 2,
                content.len()
            );
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(content.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
        })
    });
    for push in futures_util::future::join_all(pushes).await {
        push.unwrap();
    }
    for repository in ["r0", "r1"] {
        assert_eq!(registry.get(&format!("/v2/{repository}/blobs/{name}")).await.body.len(), content.len());
    }
    assert_eq!((registry.files("uploads"), registry.files("blobs")), (0, 1));
}
