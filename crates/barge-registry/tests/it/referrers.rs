//! What says something of an image is listed with it, and stays as long.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use barge_registry::Collected;
use serde_json::{Value, json};

use crate::support::{Answer, INDEX, MANIFEST, Registry, digest};

const SBOM: &str = "application/vnd.cyclonedx+json";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// A manifest about `subject` with the one layer `content`.
fn about(subject: &str, kind: &str, content: &str) -> Value {
    let descriptor = |kind: &str, content: &str| json!({ "mediaType": kind, "digest": digest(content.as_bytes()), "size": content.len() });
    json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": kind,
        "config": descriptor(EMPTY, "{}"),
        "layers": [descriptor(kind, content)],
        "subject": { "mediaType": MANIFEST, "digest": subject, "size": 1 },
        "annotations": { "of": content },
    })
}

impl Registry {
    async fn refer(&self, repository: &str, reference: Option<&str>, manifest: &Value) -> Answer {
        let manifest = manifest.to_string();
        let by = reference.map_or_else(|| digest(manifest.as_bytes()), str::to_owned);
        self.call("PUT", &format!("/v2/{repository}/manifests/{by}"), &[("content-type", MANIFEST)], manifest).await
    }

    /// Pushes an SBOM of `subject`; the result is its digest.
    async fn sbom(&self, repository: &str, subject: &str, content: &str) -> String {
        self.blob(repository, "{}").await;
        self.blob(repository, content).await;
        let answer = self.refer(repository, None, &about(subject, SBOM, content)).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        assert_eq!(answer.header("oci-subject"), subject);
        answer.header("docker-content-digest").to_owned()
    }

    async fn referrers(&self, repository: &str, subject: &str) -> Vec<String> {
        let answer = self.get(&format!("/v2/{repository}/referrers/{subject}")).await;
        assert_eq!((answer.status, answer.header("content-type")), (StatusCode::OK, INDEX));
        let listed = answer.json()["manifests"].as_array().unwrap().clone();
        listed.iter().map(|entry| entry["digest"].as_str().unwrap().to_owned()).collect()
    }
}

#[tokio::test]
async fn what_says_something_of_an_image_is_listed_with_it() {
    let registry = Registry::new();
    let image = registry.image("a", "1", "layer").await;
    assert_eq!(registry.referrers("a", &image).await, Vec::<String>::new());
    let sbom = registry.sbom("a", &image, "components").await;
    let answer = registry.get(&format!("/v2/a/referrers/{image}")).await;
    let size = about(&image, SBOM, "components").to_string().len();
    assert_eq!(
        answer.json(),
        json!({
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": [{
                "mediaType": MANIFEST,
                "digest": sbom,
                "size": size,
                "artifactType": SBOM,
                "annotations": { "of": "components" },
            }],
        })
    );
    assert_eq!(registry.get("/v2/a/tags/list").await.json()["tags"], json!(["1"]), "it has no tag");
    // In another repository, or of another image, there is none.
    registry.image("b", "1", "layer").await;
    assert!(registry.referrers("b", &image).await.is_empty());
    assert!(registry.referrers("a", &sbom).await.is_empty());
    assert!(registry.referrers("never/seen", &image).await.is_empty(), "the specification allows no 404");
    let bad = registry.get("/v2/a/referrers/latest").await;
    assert_eq!((bad.status, bad.code().as_str()), (StatusCode::BAD_REQUEST, "DIGEST_INVALID"));
}

#[tokio::test]
async fn a_kind_may_be_asked_for() {
    let registry = Registry::new();
    let image = registry.image("a", "1", "layer").await;
    let sbom = registry.sbom("a", &image, "components").await;
    // A manifest without a kind of its own has that of its configuration.
    registry.blob("a", "signature").await;
    let mut signature = about(&image, "application/signature", "signature");
    signature.as_object_mut().unwrap().remove("artifactType");
    signature["config"]["mediaType"] = json!("application/vnd.signer");
    let signature = registry.refer("a", None, &signature).await.header("docker-content-digest").to_owned();
    for (kind, expected) in [
        ("application%2Fvnd.cyclonedx%2Bjson", vec![&sbom]),
        ("application/vnd.cyclonedx+json", vec![&sbom]),
        ("application/vnd.signer", vec![&signature]),
        ("application/other", vec![]),
    ] {
        let answer = registry.get(&format!("/v2/a/referrers/{image}?artifactType={kind}")).await;
        assert_eq!(answer.header("oci-filters-applied"), "artifactType");
        let listed = answer.json()["manifests"].as_array().unwrap().clone();
        assert_eq!(
            listed.iter().map(|entry| entry["digest"].as_str().unwrap()).collect::<Vec<_>>(),
            expected,
            "{kind}"
        );
    }
    assert_eq!(registry.get(&format!("/v2/a/referrers/{image}")).await.header("oci-filters-applied"), "");
}

#[tokio::test]
async fn a_long_list_comes_in_pages() {
    let registry = Registry::new();
    let image = digest(b"an image that is pushed later");
    registry.blob("a", "{}").await;
    registry.blob("a", "x").await;
    let mut pushed = BTreeSet::new();
    for number in 0..3 {
        let mut manifest = about(&image, SBOM, "x");
        manifest["annotations"] = json!({ "number": number.to_string(), "long": "x".repeat(2 << 20) });
        pushed.insert(registry.refer("a", None, &manifest).await.header("docker-content-digest").to_owned());
    }
    let mut path = format!("/v2/a/referrers/{image}?artifactType=application%2Fvnd.cyclonedx%2Bjson");
    let mut listed = BTreeSet::new();
    for page in 1.. {
        let answer = registry.get(&path).await;
        assert!(answer.body.len() <= 4 << 20);
        for entry in answer.json()["manifests"].as_array().unwrap() {
            assert!(listed.insert(entry["digest"].as_str().unwrap().to_owned()), "twice");
        }
        let Some(next) = answer.header("link").strip_prefix('<').and_then(|link| link.split_once(">; rel=\"next\""))
        else {
            assert_eq!(page, 3);
            break;
        };
        path = next.0.to_owned();
    }
    assert_eq!(listed, pushed);
}

#[tokio::test]
async fn a_subject_that_is_none_is_refused_and_one_that_is_missing_is_not() {
    let registry = Registry::new();
    registry.blob("a", "{}").await;
    registry.blob("a", "x").await;
    let missing = digest(b"missing");
    assert_eq!(registry.refer("a", Some("tagged"), &about(&missing, SBOM, "x")).await.header("oci-subject"), missing);
    for subject in [json!("text"), json!({}), json!({ "digest": "sha256:../../x" }), json!({ "digest": 1 })] {
        let mut manifest = about(&missing, SBOM, "x");
        manifest["subject"] = subject;
        let answer = registry.refer("a", None, &manifest).await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::BAD_REQUEST, "MANIFEST_INVALID"));
    }
    let mut none = about(&missing, SBOM, "x");
    none["subject"] = Value::Null;
    let answer = registry.refer("a", None, &none).await;
    assert_eq!((answer.status, answer.header("oci-subject")), (StatusCode::CREATED, ""));
}

#[tokio::test]
async fn it_stays_as_long_as_what_it_is_about_and_does_not_keep_it() {
    let registry = Registry::new();
    let kept = registry.image("a", "1", "kept").await;
    let released = registry.image("a", "", "released").await;
    let dropped = registry.image("a", "", "dropped").await;
    let mut sboms = Vec::new();
    for image in [&kept, &released, &dropped] {
        sboms.push(registry.sbom("a", image, &format!("components of {image}")).await);
    }
    let signature = registry.sbom("a", &sboms[1], "signature of an SBOM").await;
    let keep = BTreeSet::from([released.clone()]);
    let hour = Duration::from_secs(3600);
    assert_eq!(registry.storage.collect(&keep, hour).unwrap(), Collected::default(), "all of it is young");
    let collected = registry.storage.collect(&keep, Duration::ZERO).unwrap();
    // The image and its SBOM; of each a layer and the manifest's own bytes.
    assert_eq!((collected.manifests, collected.blobs), (2, 4));
    assert_eq!(registry.referrers("a", &kept).await, [sboms[0].clone()]);
    assert_eq!(registry.referrers("a", &released).await, [sboms[1].clone()]);
    assert_eq!(registry.referrers("a", &sboms[1]).await, std::slice::from_ref(&signature));
    assert!(registry.referrers("a", &dropped).await.is_empty());
    for digest in [&sboms[0], &sboms[1], &signature] {
        let path = format!("/v2/a/manifests/{digest}");
        assert_eq!(registry.call("HEAD", &path, &[], Body::empty()).await.status, StatusCode::OK);
    }
    assert_eq!(registry.get(&format!("/v2/a/manifests/{}", sboms[2])).await.status, StatusCode::NOT_FOUND);
    assert_eq!(registry.storage.collect(&keep, Duration::ZERO).unwrap(), Collected::default());

    // All of it goes with the last release.
    registry.call("DELETE", "/v2/a/manifests/1", &[], Body::empty()).await;
    registry.storage.collect(&BTreeSet::new(), Duration::ZERO).unwrap();
    assert_eq!((registry.files("blobs"), registry.files("repositories/a/_barge/referrers")), (0, 0));
    // And what is pushed again is listed again.
    registry.image("a", "1", "kept").await;
    assert_eq!(registry.sbom("a", &kept, &format!("components of {kept}")).await, sboms[0]);
    assert_eq!(registry.referrers("a", &kept).await, [sboms[0].clone()]);
}

#[tokio::test]
async fn one_with_a_tag_stays_without_what_it_is_about() {
    let registry = Registry::new();
    let image = registry.image("a", "", "layer").await;
    registry.blob("a", "x").await;
    registry.refer("a", Some("tagged"), &about(&image, SBOM, "x")).await;
    let collected = registry.storage.collect(&BTreeSet::new(), Duration::ZERO).unwrap();
    assert_eq!((collected.manifests, collected.blobs), (1, 2), "the image and its layer");
    assert_eq!(registry.referrers("a", &image).await.len(), 1);
}

#[tokio::test]
async fn one_that_is_deleted_is_listed_no_more() {
    let registry = Registry::new();
    let image = registry.image("a", "1", "layer").await;
    let sbom = registry.sbom("a", &image, "components").await;
    let path = format!("/v2/a/manifests/{sbom}");
    assert_eq!(registry.call("DELETE", &path, &[], Body::empty()).await.status, StatusCode::ACCEPTED);
    assert!(registry.referrers("a", &image).await.is_empty());
}
