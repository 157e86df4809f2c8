//! What is attached to images: found again, once each, also where the registry keeps no lists.

use std::collections::BTreeMap;

use barge_image::registry::{Attachment, Subject};
use barge_image::{Client, Product, Reference, RegistryError};
use barge_testkit::registry::{Asks, DockerRegistry};

use crate::real::reference;
use crate::support::{Served, anonymous, small, status};

fn documents() -> [Attachment; 2] {
    let annotations = BTreeMap::from([("org.opencontainers.image.revision".to_owned(), "0123".to_owned())]);
    [
        Attachment { kind: "application/spdx+json".to_owned(), bytes: b"{}".to_vec(), annotations: BTreeMap::new() },
        Attachment { kind: "application/vnd.in-toto+json".to_owned(), bytes: b"{\"a\":1}".to_vec(), annotations },
    ]
}

fn digests(subject: &Subject) -> Vec<String> {
    let mut digests: Vec<String> =
        documents().iter().map(|one| barge_image::layer::digest(&one.manifest(subject))).collect();
    digests.sort();
    digests
}

/// Pushes an image; the result is where it is, by digest.
async fn pushed(client: &Client, target: &Reference) -> (Subject, Reference) {
    let image = small("greeter").await;
    client.push(&image, target, &|_| {}).await.unwrap();
    let subject = Subject::of(&Product::single(image));
    let reference = target.with_digest(&subject.digest);
    (subject, reference)
}

async fn found(client: &Client, image: &Reference) -> Vec<String> {
    let mut found = client.referrers(image).await.unwrap();
    found.sort();
    found
}

#[tokio::test]
async fn what_is_attached_is_listed_by_the_registry() {
    let served = Served::start().await;
    let client = anonymous();
    let (subject, image) = pushed(&client, &served.reference("group/app:1")).await;
    assert!(found(&client, &image).await.is_empty());
    for _ in 0..2 {
        client.attach(&subject, &documents(), &image).await.unwrap();
        assert_eq!(found(&client, &image).await, digests(&subject));
    }
    assert_eq!(served.count("GET /v2/group/app/manifests/sha256-"), 0, "no list of ours is needed");
    let bytes = client.blob(&image, &barge_image::layer::digest(b"{\"a\":1}")).await.unwrap();
    assert_eq!(bytes, b"{\"a\":1}");
}

#[tokio::test]
async fn a_registry_without_lists_gets_one_under_a_tag() {
    let Some(registry) = DockerRegistry::start(Asks::Nobody) else { return };
    let client = anonymous();
    let (subject, image) = pushed(&client, &reference(&registry.host(), "group/app:1")).await;
    assert!(found(&client, &image).await.is_empty());
    let [one, other] = documents();
    client.attach(&subject, &[one], &image).await.unwrap();
    assert_eq!(found(&client, &image).await.len(), 1);
    for _ in 0..2 {
        client.attach(&subject, std::slice::from_ref(&other), &image).await.unwrap();
        assert_eq!(found(&client, &image).await, digests(&subject), "what was in the list stays, and nothing twice");
    }
    let tag = image.version.replace(':', "-");
    let (list, kind) = client.manifest(&Reference { version: tag, ..image }).await.unwrap();
    assert_eq!(kind, "application/vnd.oci.image.index.v1+json");
    let list: serde_json::Value = serde_json::from_slice(&list).unwrap();
    assert_eq!(list["manifests"][1]["artifactType"], "application/vnd.in-toto+json");
    assert_eq!(list["manifests"][1]["annotations"]["org.opencontainers.image.revision"], "0123");
}

#[tokio::test]
async fn what_the_registry_says_against_it_is_told() {
    let served = Served::start().await;
    let client = anonymous();
    let (subject, image) = pushed(&client, &served.reference("app:1")).await;
    served.fail("PUT", "/manifests/", usize::MAX, || status(405));
    let error = client.attach(&subject, &documents(), &image).await.unwrap_err();
    assert!(matches!(error, RegistryError::Status { status: 405, .. }), "{error:?}");
    served.fail("GET", "/referrers/", usize::MAX, || status(403));
    let error = client.referrers(&image).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unauthorized { .. }), "{error:?}");
}

#[tokio::test]
async fn an_index_can_be_what_it_is_about() {
    let served = Served::start().await;
    let client = anonymous();
    let product = Product::indexed(vec![small("one").await, small("other").await]);
    let target = served.reference("app:1");
    client.push_all(&product, &target, &|_| {}).await.unwrap();
    let subject = Subject::of(&product);
    assert_eq!(subject.media_type, "application/vnd.oci.image.index.v1+json");
    let image = target.with_digest(&subject.digest);
    client.attach(&subject, &documents(), &image).await.unwrap();
    assert_eq!(found(&client, &image).await, digests(&subject));
}
