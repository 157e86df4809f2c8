//! Who may do what, and what is no name.

use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode};
use barge_registry::{Kind, Operation, Verdict, router};

use crate::support::{Registry, call, digest};

/// What the hook was asked: the kind, and the repository.
type Seen = Arc<Mutex<Vec<(Kind, Option<String>)>>>;

#[tokio::test]
async fn wrong_credentials_are_refused_with_a_challenge_and_reading_is_apart_from_writing() {
    let registry = Registry::new();
    let access = |headers: &HeaderMap, operation: &Operation<'_>| match headers.get("authorization") {
        Some(value) if value == "Basic writer" => Verdict::Granted,
        Some(value) if value == "Basic reader" && operation.kind == Kind::Read => Verdict::Granted,
        Some(value) if value == "Basic reader" => Verdict::Denied,
        _ => Verdict::Unknown,
    };
    let router = router(registry.storage.clone(), Arc::new(access));
    let unknown = digest(b"unknown");
    let calls = [
        ("GET", "/v2/".to_owned(), false),
        ("GET", "/v2/a/tags/list".to_owned(), false),
        ("HEAD", format!("/v2/a/blobs/{unknown}"), false),
        ("GET", "/v2/a/manifests/1".to_owned(), false),
        ("POST", "/v2/a/blobs/uploads/".to_owned(), true),
        ("PATCH", "/v2/a/blobs/uploads/x".to_owned(), true),
        ("PUT", "/v2/a/manifests/1".to_owned(), true),
        ("DELETE", "/v2/a/manifests/1".to_owned(), true),
        ("GET", "/v2/nothing".to_owned(), false),
    ];
    for (method, path, writes) in &calls {
        for who in ["", "Basic other", "Basic reader", "Basic writer"] {
            let answer = call(&router, method, path, &[("authorization", who)], Body::empty()).await;
            let code = match who {
                "Basic writer" => None,
                "Basic reader" => writes.then_some((StatusCode::FORBIDDEN, "DENIED", "")),
                _ => Some((StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "Basic realm=\"barge\"")),
            };
            let Some((status, code, challenge)) = code else {
                let refused = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&answer.status);
                assert!(!refused, "{method} {path} as {who:?}: {answer:?}");
                continue;
            };
            assert_eq!(answer.status, status, "{method} {path} as {who:?}: {answer:?}");
            assert_eq!(answer.header("www-authenticate"), challenge);
            assert!(*method == "HEAD" || answer.code() == code, "{answer:?}");
        }
    }
}

#[tokio::test]
async fn whoever_decides_is_told_what_is_wanted_and_where() {
    let registry = Registry::new();
    let seen: Seen = Arc::default();
    let noted = Arc::clone(&seen);
    let access = move |_: &HeaderMap, operation: &Operation<'_>| {
        noted.lock().unwrap().push((operation.kind, operation.repository.map(str::to_owned)));
        Verdict::Denied
    };
    let router = router(registry.storage.clone(), Arc::new(access));
    let blob = digest(b"x");
    let calls = [
        ("GET", "/v2/".to_owned(), Kind::Read, None),
        ("GET", "/v2/_catalog".to_owned(), Kind::Read, None),
        ("GET", "/v2/group/a/tags/list".to_owned(), Kind::Read, Some("group/a")),
        ("HEAD", format!("/v2/group/a/blobs/{blob}"), Kind::Read, Some("group/a")),
        ("DELETE", format!("/v2/group/a/blobs/{blob}"), Kind::Delete, Some("group/a")),
        ("GET", "/v2/a/manifests/1".to_owned(), Kind::Read, Some("a")),
        ("PUT", "/v2/a/manifests/1".to_owned(), Kind::Write, Some("a")),
        ("DELETE", "/v2/a/manifests/1".to_owned(), Kind::Delete, Some("a")),
        ("POST", "/v2/a/blobs/uploads/".to_owned(), Kind::Write, Some("a")),
        ("PATCH", "/v2/a/b/c/blobs/uploads/x".to_owned(), Kind::Write, Some("a/b/c")),
        ("DELETE", "/v2/a/blobs/uploads/x".to_owned(), Kind::Write, Some("a")),
    ];
    for (method, path, kind, repository) in calls {
        assert_eq!(call(&router, method, &path, &[], Body::empty()).await.status, StatusCode::FORBIDDEN, "{path}");
        let seen = std::mem::take(&mut *seen.lock().unwrap());
        assert_eq!(seen, [(kind, repository.map(str::to_owned))], "{method} {path}");
    }
}

#[tokio::test]
async fn nothing_is_mounted_from_a_repository_that_may_not_be_read() {
    let registry = Registry::new();
    let blob = registry.blob("secret", "layer").await;
    registry.blob("open", "layer").await;
    let access = |_: &HeaderMap, operation: &Operation<'_>| match operation.repository {
        Some("secret") => Verdict::Denied,
        _ => Verdict::Granted,
    };
    let router = router(registry.storage.clone(), Arc::new(access));
    for (from, status) in [("secret", StatusCode::ACCEPTED), ("open", StatusCode::CREATED)] {
        let path = format!("/v2/mine/blobs/uploads/?mount={blob}&from={from}");
        assert_eq!(call(&router, "POST", &path, &[], Body::empty()).await.status, status, "{from}");
        let found = call(&router, "GET", &format!("/v2/mine/blobs/{blob}"), &[], Body::empty()).await.status;
        assert_eq!(found == StatusCode::OK, status == StatusCode::CREATED, "{from}");
    }
}

#[tokio::test]
async fn names_that_could_leave_the_directory_are_no_names() {
    let registry = Registry::new();
    registry.image("group/app", "1", "layer").await;
    let blob = digest(b"layer");
    std::fs::write(registry.directory.path().join("secret"), "secret").unwrap();
    let long = "a".repeat(300);
    let paths = [
        "/v2/../secret/manifests/1".to_owned(),
        "/v2/group/../group/app/manifests/1".to_owned(),
        "/v2/%2e%2e/%2e%2e/secret/manifests/1".to_owned(),
        "/v2/..%2f..%2fsecret/manifests/1".to_owned(),
        "/v2/Group/app/manifests/1".to_owned(),
        "/v2/group//app/manifests/1".to_owned(),
        "/v2/group/app/_barge/manifests/1".to_owned(),
        "/v2/group/app/.hidden/manifests/1".to_owned(),
        "/v2/group/app-/manifests/1".to_owned(),
        "/v2/group/a..b/manifests/1".to_owned(),
        "/v2/group/app/manifests/..".to_owned(),
        "/v2/group/app/manifests/.new".to_owned(),
        "/v2/group/app/manifests/%2e%2e%2fsecret".to_owned(),
        format!("/v2/group/app/manifests/{long}"),
        format!("/v2/{long}/manifests/1"),
        "/v2/group/app/manifests/sha256:../../../../secret".to_owned(),
        "/v2/group/app/blobs/sha256:..".to_owned(),
        format!("/v2/group/app/blobs/{}", blob.to_uppercase()),
        format!("/v2/group/app/blobs/{}", blob.replace("sha256", "sha512")),
        format!("/v2/group/app/blobs/{}", &blob[7..]),
        "/v2/_catalog".to_owned(),
    ];
    for path in &paths {
        let answer = registry.get(path).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}: {answer:?}");
        assert!(["NAME_INVALID", "DIGEST_INVALID"].contains(&answer.code().as_str()), "{path}: {answer:?}");
    }
    for id in ["..", "x", "%2e%2e", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "01arz3ndektsv4rrffq69g5fav/../x"] {
        let answer = registry.call("PATCH", &format!("/v2/group/app/blobs/uploads/{id}"), &[], "x").await;
        assert!(answer.status.is_client_error(), "{id}: {answer:?}");
    }
    assert_eq!(registry.files("uploads"), 0);
}

#[tokio::test]
async fn the_base_says_that_this_is_a_registry() {
    let registry = Registry::new();
    for path in ["/v2/", "/v2"] {
        let answer = registry.get(path).await;
        assert_eq!((answer.status, answer.header("docker-distribution-api-version")), (StatusCode::OK, "registry/2.0"));
    }
}
