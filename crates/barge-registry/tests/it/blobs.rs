//! Blobs: there or not, whole or in part, in one repository or another.

use axum::body::Body;
use axum::http::StatusCode;

use crate::support::{Registry, digest};

#[tokio::test]
async fn a_blob_is_found_in_the_repository_that_has_it_and_in_no_other() {
    let registry = Registry::new();
    let blob = registry.blob("a", "0123456789").await;
    for method in ["GET", "HEAD"] {
        let found = registry.call(method, &format!("/v2/a/blobs/{blob}"), &[], Body::empty()).await;
        assert_eq!(found.status, StatusCode::OK);
        assert_eq!((found.header("content-length"), found.header("docker-content-digest")), ("10", blob.as_str()));
        assert_eq!(found.body.len(), if method == "GET" { 10 } else { 0 });
        for path in [format!("/v2/b/blobs/{blob}"), format!("/v2/a/blobs/{}", digest(b"other"))] {
            let answer = registry.call(method, &path, &[], Body::empty()).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
            assert_eq!(answer.code(), if method == "GET" { "BLOB_UNKNOWN" } else { "" }, "{path}");
        }
    }
}

#[tokio::test]
async fn a_part_of_a_blob_can_be_asked_for() {
    let registry = Registry::new();
    let blob = registry.blob("a", "0123456789").await;
    let cases = [
        ("bytes=0-0", 206, "0", "bytes 0-0/10"),
        ("bytes=2-4", 206, "234", "bytes 2-4/10"),
        ("bytes=8-", 206, "89", "bytes 8-9/10"),
        ("bytes=8-99", 206, "89", "bytes 8-9/10"),
        ("bytes=-3", 206, "789", "bytes 7-9/10"),
        ("bytes=-99", 206, "0123456789", "bytes 0-9/10"),
        ("bytes=10-", 416, "", "bytes */10"),
        ("bytes=-0", 416, "", "bytes */10"),
        ("bytes=4-2", 200, "0123456789", ""),
        ("bytes=1-2,4-5", 200, "0123456789", ""),
        ("lines=1-2", 200, "0123456789", ""),
        ("bytes=a-b", 200, "0123456789", ""),
    ];
    for (range, status, text, content_range) in cases {
        let answer = registry.call("GET", &format!("/v2/a/blobs/{blob}"), &[("range", range)], Body::empty()).await;
        assert_eq!((answer.status.as_u16(), &answer.body[..]), (status, text.as_bytes()), "{range}");
        assert_eq!(answer.header("content-range"), content_range, "{range}");
    }
}

#[tokio::test]
async fn a_blob_is_mounted_where_it_is_and_uploaded_where_it_is_not() {
    let registry = Registry::new();
    let blob = registry.blob("a", "layer").await;
    let unknown = digest(b"unknown");
    let cases = [
        (format!("?mount={blob}&from=a"), StatusCode::CREATED),
        (format!("?mount={}&from=a", blob.replace(':', "%3A")), StatusCode::CREATED),
        (format!("?mount={unknown}&from=a"), StatusCode::ACCEPTED),
        (format!("?mount={blob}&from=c"), StatusCode::ACCEPTED),
        (format!("?mount={blob}"), StatusCode::ACCEPTED),
        (format!("?mount={blob}&from=../a"), StatusCode::ACCEPTED),
    ];
    for (query, status) in cases {
        let answer = registry.call("POST", &format!("/v2/b/blobs/uploads/{query}"), &[], Body::empty()).await;
        assert_eq!(answer.status, status, "{query}");
        let location = answer.header("location");
        let expected = if status == StatusCode::CREATED { "/v2/b/blobs/sha256:" } else { "/v2/b/blobs/uploads/" };
        assert!(location.starts_with(expected), "{query}: {location}");
    }
    assert_eq!(registry.get(&format!("/v2/b/blobs/{blob}")).await.body, "layer");
}

#[tokio::test]
async fn a_blob_is_not_removed_by_clients() {
    let registry = Registry::new();
    let blob = registry.blob("a", "layer").await;
    let answer = registry.call("DELETE", &format!("/v2/a/blobs/{blob}"), &[], Body::empty()).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(registry.get(&format!("/v2/a/blobs/{blob}")).await.status, StatusCode::OK);
}
