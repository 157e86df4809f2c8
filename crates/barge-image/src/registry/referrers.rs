//! Documents that say something of an image, pushed beside it: what it is made of, where it comes from (image specification 1.1,
//! "Guidelines for Artifact Usage"; distribution specification 1.1, "Pushing Manifests with Subject").
//!
//! A registry that lists them says so with its answer to the push. For all others the list is ours: an index under the tag
//! `sha256-HEX`, which two pushes at once may take from each other, as the specification says; the next push mends that.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;
use reqwest::{Method, StatusCode, header};
use serde_json::{Value, json};

use super::client::{Client, checked, read};
use super::manifest::Document;
use super::{Reference, RegistryError};
use crate::image::{Blob, Source, canonical, media_type};
use crate::layer;
use crate::product::Product;

/// The configuration of what has none (image specification, "Guidance for an Empty Descriptor").
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// The largest list that is read, in bytes (distribution specification, "Pushing manifests").
const LIST_LIMIT: usize = 4 << 20;
/// No list of one image has more pages.
const PAGES: usize = 20;

/// What a document is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The media type of its manifest.
    pub media_type: String,
    /// The digest of its manifest.
    pub digest: String,
    /// The manifest's size in bytes.
    pub size: u64,
}

impl Subject {
    /// What a build has made: its image, or its index of several.
    pub fn of(product: &Product) -> Self {
        let (media_type, size) = match (&product.index, product.images.first()) {
            (Some(index), _) => (media_type::INDEX, index.manifest.len()),
            (None, image) => (media_type::MANIFEST, image.map_or(0, |image| image.manifest.len())),
        };
        Self { media_type: media_type.to_owned(), digest: product.digest().to_owned(), size: size as u64 }
    }
}

/// A document that is attached to an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// What it is, such as `application/spdx+json`. Lists can be asked for it.
    pub kind: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What lists say of it.
    pub annotations: BTreeMap<String, String>,
}

impl Attachment {
    /// The manifest under which the document is attached to `subject`. The same document gets the same digest.
    pub fn manifest(&self, subject: &Subject) -> Vec<u8> {
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": media_type::MANIFEST,
            "artifactType": self.kind,
            "config": crate::image::descriptor(&empty()),
            "layers": [crate::image::descriptor(&self.blob())],
            "subject": { "mediaType": subject.media_type, "digest": subject.digest, "size": subject.size },
        });
        if !self.annotations.is_empty() {
            manifest["annotations"] = json!(self.annotations);
        }
        canonical(manifest)
    }

    fn blob(&self) -> Blob {
        blob(&self.kind, &self.bytes)
    }

    /// Its entry in a list.
    fn descriptor(&self, manifest: &[u8]) -> Value {
        let mut entry = json!({
            "mediaType": media_type::MANIFEST,
            "digest": layer::digest(manifest),
            "size": manifest.len(),
            "artifactType": self.kind,
        });
        if !self.annotations.is_empty() {
            entry["annotations"] = json!(self.annotations);
        }
        entry
    }
}

fn empty() -> Blob {
    blob(EMPTY, b"{}")
}

fn blob(media_type: &str, bytes: &[u8]) -> Blob {
    Blob {
        digest: layer::digest(bytes),
        size: bytes.len() as u64,
        media_type: media_type.to_owned(),
        source: Source::Bytes(bytes.into()),
    }
}

impl Client {
    /// The digests of what is attached to the image `reference` (by digest), as far as the registry or the list under the tag say.
    ///
    /// # Errors
    /// The registry refuses or does not answer.
    pub async fn referrers(&self, reference: &Reference) -> Result<Vec<String>, RegistryError> {
        let mut found = Vec::new();
        let mut url = self.url(reference, &format!("referrers/{}", reference.version));
        for _ in 0..PAGES {
            let response = self.send(reference, Method::GET, &url, |request| request).await?;
            // Also where there is no such repository; then neither is there a list of ours.
            if matches!(response.status(), StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) {
                return Ok(self.own_list(reference).await?.iter().filter_map(digest_of).collect());
            }
            let what = format!("the list of what is attached to {reference}");
            let response = checked(reference, &what, response).await?;
            let next = next(&url, response.headers());
            let index = read(reference, &what, response, LIST_LIMIT).await?;
            found.extend(entries(&index).iter().filter_map(digest_of));
            match next {
                Some(next) => url = next,
                None => break,
            }
        }
        Ok(found)
    }

    /// Attaches documents to an image that is in the repository of `target`. What is there already is only confirmed.
    ///
    /// # Errors
    /// The registry refuses or does not answer.
    pub async fn attach(
        &self,
        subject: &Subject,
        attachments: &[Attachment],
        target: &Reference,
    ) -> Result<(), RegistryError> {
        self.push_blob(&empty(), target, &|_| {}).await?;
        let each = attachments.iter().map(|attachment| self.attach_one(subject, attachment, target));
        let unlisted: Vec<Value> = try_join_all(each).await?.into_iter().flatten().collect();
        if unlisted.is_empty() { Ok(()) } else { self.list(subject, unlisted, target).await }
    }

    /// Attaches one document; the result is its entry in a list, where the registry has none.
    async fn attach_one(
        &self,
        subject: &Subject,
        attachment: &Attachment,
        target: &Reference,
    ) -> Result<Option<Value>, RegistryError> {
        let manifest = attachment.manifest(subject);
        self.push_blob(&attachment.blob(), target, &|_| {}).await?;
        let listed = self.put_attached(&target.with_digest(&layer::digest(&manifest)), &manifest).await?;
        Ok((!listed).then(|| attachment.descriptor(&manifest)))
    }

    /// Puts a manifest with a subject; the result is whether the registry will list it.
    async fn put_attached(&self, reference: &Reference, manifest: &[u8]) -> Result<bool, RegistryError> {
        let response = self.put(Document { kind: media_type::MANIFEST, bytes: manifest }, reference).await?;
        Ok(response.headers().contains_key("oci-subject"))
    }

    /// Adds to the list under the tag of an image.
    async fn list(&self, subject: &Subject, more: Vec<Value>, target: &Reference) -> Result<(), RegistryError> {
        let mut list = self.own_list(&target.with_digest(&subject.digest)).await?;
        let before = list.len();
        for entry in more {
            if !list.iter().any(|listed| digest_of(listed) == digest_of(&entry)) {
                list.push(entry);
            }
        }
        if list.len() == before {
            return Ok(());
        }
        let index = json!({ "schemaVersion": 2, "mediaType": media_type::INDEX, "manifests": list });
        let tag = list_of(&target.with_digest(&subject.digest));
        self.put(Document { kind: media_type::INDEX, bytes: &canonical(index) }, &tag).await.map(drop)
    }

    /// What the list under the tag of an image says.
    async fn own_list(&self, reference: &Reference) -> Result<Vec<Value>, RegistryError> {
        let tag = list_of(reference);
        let url = self.url(&tag, &format!("manifests/{}", tag.version));
        let accept = |request: reqwest::RequestBuilder| request.header(header::ACCEPT, media_type::INDEX);
        let response = self.send(&tag, Method::GET, &url, accept).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(Vec::new());
        }
        let what = format!("{tag}");
        let response = checked(&tag, &what, response).await?;
        Ok(entries(&read(&tag, &what, response, LIST_LIMIT).await?))
    }
}

/// The tag under which the list for an image is (distribution specification, "Referrers Tag Schema").
fn list_of(reference: &Reference) -> Reference {
    Reference { version: reference.version.replacen(':', "-", 1), ..reference.clone() }
}

fn entries(index: &[u8]) -> Vec<Value> {
    let index: Value = serde_json::from_slice(index).unwrap_or_default();
    index.get("manifests").and_then(Value::as_array).cloned().unwrap_or_default()
}

fn digest_of(entry: &Value) -> Option<String> {
    entry.get("digest").and_then(Value::as_str).map(str::to_owned)
}

/// The address of a list's next page (RFC 8288, as the distribution specification uses it), on the same server.
fn next(url: &str, headers: &header::HeaderMap) -> Option<String> {
    let link = headers.get(header::LINK)?.to_str().ok()?;
    let (address, rest) = link.strip_prefix('<')?.split_once('>')?;
    let next = super::address::join(url, address).filter(|_| rest.contains("rel=\"next\""))?;
    super::address::same_server(url, &next).then_some(next)
}
