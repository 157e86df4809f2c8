//! Manifests and tags.

use axum::body::Body;
use axum::http::StatusCode;
use serde_json::json;

use crate::support::{INDEX, MANIFEST, Registry, digest, manifest};

#[tokio::test]
async fn a_manifest_is_found_by_tag_and_by_digest_byte_for_byte() {
    let registry = Registry::new();
    let pushed = registry.image("group/app", "v1.0_x", "layer").await;
    let expected = manifest(&digest(b"{}"), &[(&digest(b"layer"), 5)]);
    for reference in ["v1.0_x", &pushed] {
        for method in ["GET", "HEAD"] {
            let path = format!("/v2/group/app/manifests/{reference}");
            let answer = registry.call(method, &path, &[], Body::empty()).await;
            assert_eq!(answer.status, StatusCode::OK);
            assert_eq!(answer.header("docker-content-digest"), pushed);
            assert_eq!(answer.header("content-type"), MANIFEST);
            assert_eq!(answer.header("content-length"), expected.len().to_string());
            assert!(method == "HEAD" || answer.body == expected);
        }
    }
    for path in ["/v2/group/app/manifests/v2", "/v2/other/manifests/v1.0_x", "/v2/group/manifests/v1.0_x"] {
        let answer = registry.get(path).await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN"), "{path}");
    }
}

#[tokio::test]
async fn a_manifest_that_does_not_hold_together_is_refused() {
    let registry = Registry::new();
    registry.image("a", "1", "layer").await;
    let good = manifest(&digest(b"{}"), &[(&digest(b"layer"), 5)]);
    let lacks = manifest(&digest(b"{}"), &[(&digest(b"elsewhere"), 5)]);
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [{ "digest": digest(b"none") }] });
    let other = digest(b"other");
    let cases = [
        ("2", MANIFEST, "no json".to_owned(), "MANIFEST_INVALID"),
        ("2", MANIFEST, lacks, "MANIFEST_INVALID"),
        ("2", INDEX, good.clone(), "MANIFEST_INVALID"),
        ("2", INDEX, index.to_string(), "MANIFEST_INVALID"),
        ("2", "", "{}".to_owned(), "MANIFEST_INVALID"),
        (&other, MANIFEST, good.clone(), "DIGEST_INVALID"),
    ];
    for (reference, kind, body, code) in cases {
        let path = format!("/v2/a/manifests/{reference}");
        let short: String = body.chars().take(60).collect();
        let answer = registry.call("PUT", &path, &[("content-type", kind)], body).await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::BAD_REQUEST, code), "{short}");
    }
    assert_eq!(registry.get("/v2/a/tags/list").await.json()["tags"], json!(["1"]));
    // Without a Content-Type, the manifest's own word counts.
    assert_eq!(registry.call("PUT", "/v2/a/manifests/2", &[], good).await.status, StatusCode::CREATED);
    assert_eq!(registry.get("/v2/a/manifests/2").await.header("content-type"), MANIFEST);
}

#[tokio::test]
async fn a_manifest_that_is_too_large_is_refused_as_that() {
    let registry = Registry::new();
    for (size, status) in [(4 << 20, StatusCode::BAD_REQUEST), ((4 << 20) + 1, StatusCode::PAYLOAD_TOO_LARGE)] {
        let body = " ".repeat(size);
        let answer = registry.call("PUT", "/v2/a/manifests/1", &[("content-type", MANIFEST)], body).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, "MANIFEST_INVALID"), "{size}");
    }
}

#[tokio::test]
async fn a_media_type_that_no_header_can_carry_is_refused() {
    let registry = Registry::new();
    let long = format!("a/{}", "b".repeat(254));
    for kind in ["a/b\nx-header: y", "a/b c", "a/b\u{7f}", "a/\u{e4}", "", long.as_str()] {
        let body = json!({ "schemaVersion": 2, "mediaType": kind }).to_string();
        let answer = registry.call("PUT", "/v2/a/manifests/1", &[], body).await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::BAD_REQUEST, "MANIFEST_INVALID"), "{kind:?}");
    }
    for kind in [&long[..255], "application/vnd.oci.image.manifest.v1+json"] {
        let body = json!({ "schemaVersion": 2, "mediaType": kind }).to_string();
        let said = format!("{kind}; charset=utf-8");
        let answer = registry.call("PUT", "/v2/a/manifests/1", &[("content-type", &said)], body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{kind}: {answer:?}");
        let found = registry.get("/v2/a/manifests/1").await;
        assert_eq!((found.status, found.header("content-type")), (StatusCode::OK, kind));
    }
}

#[tokio::test]
async fn a_manifest_that_a_power_cut_has_shortened_is_healed_by_the_next_push() {
    let registry = Registry::new();
    let name = registry.image("a", "1", "layer").await;
    let file = registry.blob_file(&name);
    let whole = std::fs::read(&file).unwrap();
    for left in ["", "{\"schemaV"] {
        std::fs::write(&file, left).unwrap();
        assert_eq!(registry.image("a", "1", "layer").await, name);
        assert_eq!(registry.get("/v2/a/manifests/1").await.body, whole);
    }
}

#[tokio::test]
async fn a_manifest_that_is_written_again_takes_its_room_once() {
    let content = "x".repeat(100);
    let registry = Registry::with_limit(100 + 2 + 1000);
    for _ in 0..5 {
        registry.image("a", "1", &content).await;
    }
}

#[tokio::test]
async fn tags_are_listed_sorted_and_page_by_page() {
    let registry = Registry::new();
    assert_eq!(registry.get("/v2/a/tags/list").await.code(), "NAME_UNKNOWN");
    registry.blob("a", "layer").await;
    assert_eq!(registry.get("/v2/a/tags/list").await.json(), json!({ "name": "a", "tags": [] }));
    for tag in ["c", "a", "b"] {
        registry.image("a", tag, "layer").await;
    }
    let cases = [
        ("", json!(["a", "b", "c"]), ""),
        ("?n=2", json!(["a", "b"]), "</v2/a/tags/list?n=2&last=b>; rel=\"next\""),
        ("?n=2&last=b", json!(["c"]), ""),
        ("?n=3", json!(["a", "b", "c"]), ""),
        ("?n=0", json!([]), ""),
        ("?last=z", json!([]), ""),
    ];
    for (query, tags, link) in cases {
        let answer = registry.get(&format!("/v2/a/tags/list{query}")).await;
        assert_eq!((answer.json()["tags"].clone(), answer.header("link")), (tags, link), "{query}");
    }
}

#[tokio::test]
async fn a_tag_moves_and_is_removed_alone_and_a_manifest_with_its_tags() {
    let registry = Registry::new();
    let first = registry.image("a", "latest", "one").await;
    registry.image("a", "one", "one").await;
    let second = registry.image("a", "latest", "two").await;
    let tagged = registry.get("/v2/a/manifests/latest").await;
    assert_eq!(tagged.header("docker-content-digest"), second);
    let delete = |reference: &str| {
        let path = format!("/v2/a/manifests/{reference}");
        let registry = &registry;
        async move { registry.call("DELETE", &path, &[], Body::empty()).await.status }
    };
    assert_eq!(delete("latest").await, StatusCode::ACCEPTED);
    assert_eq!(delete("latest").await, StatusCode::NOT_FOUND);
    assert_eq!(registry.get(&format!("/v2/a/manifests/{second}")).await.status, StatusCode::OK);
    assert_eq!(delete(&first).await, StatusCode::ACCEPTED);
    assert_eq!(registry.get("/v2/a/tags/list").await.json()["tags"], json!([]));
    assert_eq!(registry.get(&format!("/v2/a/manifests/{first}")).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_who_remove_the_same_manifest_one_does_and_the_others_find_it_gone() {
    let registry = Registry::new();
    for _ in 0..20 {
        let image = registry.image("a", "latest", "layer").await;
        let path = format!("/v2/a/manifests/{image}");
        let removals = (0..4).map(|_| registry.call("DELETE", &path, &[], Body::empty()));
        let answers = futures_util::future::join_all(removals).await;
        let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status.as_u16()).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [202, 404, 404, 404]);
    }
}
