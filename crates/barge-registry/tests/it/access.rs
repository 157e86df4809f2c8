//! Who may do what, and what is no name.

use std::sync::Arc;

use axum::body::Body;
use axum::http::StatusCode;
use barge_registry::router;

use crate::support::{Registry, call, digest};

#[tokio::test]
async fn wrong_credentials_are_refused_with_a_challenge_and_reading_is_apart_from_writing() {
    let registry = Registry::new();
    let access = |headers: &axum::http::HeaderMap, writes: bool| match headers.get("authorization") {
        Some(value) if value == "Basic writer" => true,
        Some(value) if value == "Basic reader" => !writes,
        _ => false,
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
        for (who, may) in [("", false), ("Basic other", false), ("Basic reader", !writes), ("Basic writer", true)] {
            let answer = call(&router, method, path, &[("authorization", who)], Body::empty()).await;
            assert_eq!(answer.status != StatusCode::UNAUTHORIZED, may, "{method} {path} as {who:?}: {answer:?}");
            if !may {
                assert_eq!(answer.header("www-authenticate"), "Basic realm=\"barge\"");
                assert!(*method == "HEAD" || answer.code() == "UNAUTHORIZED", "{answer:?}");
            }
        }
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
    let referrers = registry.get(&format!("/v2/a/referrers/{}", digest(b"x"))).await;
    assert!(referrers.status.is_client_error(), "clients fall back to tags then: {referrers:?}");
}
