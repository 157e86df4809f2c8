//! Manifests and indexes on their way into a registry, under their digests and under tags (distribution specification, "Pushing
//! Manifests").

use reqwest::{Method, Response, StatusCode, header};

use super::client::{Client, checked};
use super::{Reference, RegistryError};
use crate::image::{Image, media_type};
use crate::layer;
use crate::product::Index;

/// A manifest or an index.
#[derive(Clone, Copy)]
pub(super) struct Document<'a> {
    /// Its media type.
    pub(super) kind: &'static str,
    /// Its bytes.
    pub(super) bytes: &'a [u8],
}

impl<'a> From<&'a Image> for Document<'a> {
    fn from(image: &'a Image) -> Self {
        Self { kind: media_type::MANIFEST, bytes: &image.manifest }
    }
}

impl<'a> From<&'a Index> for Document<'a> {
    fn from(index: &'a Index) -> Self {
        Self { kind: media_type::INDEX, bytes: &index.manifest }
    }
}

impl Document<'_> {
    fn digest(self) -> String {
        layer::digest(self.bytes)
    }
}

impl Client {
    /// Puts a document under its digest, and under the tag that `target` may have.
    pub(super) async fn put_named(&self, document: Document<'_>, target: &Reference) -> Result<(), RegistryError> {
        self.put(document, &target.with_digest(&document.digest())).await?;
        self.tag(document, target).await
    }

    /// Puts a document under the digest or tag of `reference`.
    pub(super) async fn put(&self, document: Document<'_>, reference: &Reference) -> Result<Response, RegistryError> {
        let url = self.url(reference, &format!("manifests/{}", reference.version));
        let put = |request: reqwest::RequestBuilder| {
            request.header(header::CONTENT_TYPE, document.kind).body(document.bytes.to_vec())
        };
        let response = self.send(reference, Method::PUT, &url, put).await?;
        checked(reference, &format!("manifest {reference}"), response).await
    }

    /// Tags a document that is there and may have the tag already.
    pub(super) async fn have_tagged(&self, document: Document<'_>, target: &Reference) -> Result<(), RegistryError> {
        if target.is_by_digest() || self.has_tag(document, target).await? {
            return Ok(());
        }
        self.tag(document, target).await
    }

    /// Tags a document that is there. A registry whose tags are immutable refuses even what changes nothing; that is as good as done.
    async fn tag(&self, document: Document<'_>, target: &Reference) -> Result<(), RegistryError> {
        if target.is_by_digest() {
            return Ok(());
        }
        match self.put(document, target).await {
            Err(error @ RegistryError::Status { status: 400..=499, .. }) => {
                match self.has_tag(document, target).await {
                    Ok(true) => Ok(()),
                    _ => Err(error),
                }
            }
            done => done.map(drop),
        }
    }

    /// Whether the registry has the document under its digest.
    pub(super) async fn has(&self, document: Document<'_>, target: &Reference) -> Result<bool, RegistryError> {
        let found = self.look(document, &target.with_digest(&document.digest())).await?;
        Ok(found.is_some())
    }

    /// Whether the registry says that the tag names this very document.
    async fn has_tag(&self, document: Document<'_>, target: &Reference) -> Result<bool, RegistryError> {
        Ok(self.look(document, target).await?.is_some_and(|digest| digest == document.digest()))
    }

    /// What the registry has under a tag or digest; the digest is empty where the registry does not say it.
    async fn look(&self, document: Document<'_>, reference: &Reference) -> Result<Option<String>, RegistryError> {
        let url = self.url(reference, &format!("manifests/{}", reference.version));
        let accept = |request: reqwest::RequestBuilder| request.header(header::ACCEPT, document.kind);
        let response = self.send(reference, Method::HEAD, &url, accept).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let response = checked(reference, &format!("{reference}"), response).await?;
        let digest = response.headers().get("docker-content-digest").and_then(|value| value.to_str().ok());
        Ok(Some(digest.unwrap_or_default().to_owned()))
    }
}
