//! Pushes: layers and config, several at once, then the manifest.

use futures_util::{StreamExt, TryStreamExt, stream};
use reqwest::{Method, StatusCode, header};

use super::client::{Client, checked};
use super::{Reference, RegistryError};
use crate::image::{Blob, Image, media_type};

/// What is told of a blob while a push goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The blob's digest.
    pub digest: String,
    /// Its size in bytes.
    pub size: u64,
    /// How far it is.
    pub step: Step,
}

/// How far a blob is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It belongs to the image. All blobs are told of before the first one is sent.
    Planned,
    /// It is being sent; a try that failed begins at 0 again.
    Moved {
        /// So many bytes are on their way or there.
        bytes: u64,
    },
    /// The registry has it already.
    Present,
    /// The registry took it over from another repository.
    Mounted,
    /// It was sent.
    Sent,
}

impl Progress {
    pub(super) fn of(blob: &Blob, step: Step) -> Self {
        Self { digest: blob.digest.clone(), size: blob.size, step }
    }
}

/// What a push did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pushed {
    /// Bytes that went over the wire.
    pub sent: u64,
    /// Bytes that were there already or were mounted.
    pub present: u64,
}

/// How many blobs are under way at once.
const PARALLEL: usize = 4;

impl Client {
    /// Pushes an image. What the registry has already is not sent again.
    ///
    /// # Errors
    /// The registry refuses or does not answer, or a file of ours cannot be read.
    pub async fn push(
        &self,
        image: &Image,
        target: &Reference,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Pushed, RegistryError> {
        let digest_reference = target.with_digest(&image.digest);
        let blobs = || image.layers.iter().chain([&image.config]);
        for blob in blobs() {
            progress(Progress::of(blob, Step::Planned));
        }
        if self.has_manifest(&digest_reference).await? {
            for blob in blobs() {
                progress(Progress::of(blob, Step::Present));
            }
            if !self.has_tag(image, target).await? {
                self.tag(image, target).await?;
            }
            return Ok(Pushed { sent: 0, present: image.layers.iter().map(|layer| layer.size).sum() });
        }
        let results: Vec<(u64, Step)> = stream::iter(blobs())
            .map(|blob| async move { Ok((blob.size, self.push_blob(blob, target, progress).await?)) })
            .buffer_unordered(PARALLEL)
            .try_collect()
            .await?;
        self.put_manifest(image, &digest_reference).await?;
        self.tag(image, target).await?;
        let mut pushed = Pushed::default();
        for (size, step) in results {
            match step {
                Step::Sent => pushed.sent += size,
                _ => pushed.present += size,
            }
        }
        Ok(pushed)
    }

    async fn has_manifest(&self, reference: &Reference) -> Result<bool, RegistryError> {
        self.manifest_digest(reference).await.map(|digest| digest.is_some())
    }

    /// Whether the registry says that the tag names this very image.
    async fn has_tag(&self, image: &Image, target: &Reference) -> Result<bool, RegistryError> {
        self.manifest_digest(target).await.map(|digest| digest.as_deref() == Some(image.digest.as_str()))
    }

    /// What the registry has under a tag or digest; the digest is empty where the registry does not say it.
    async fn manifest_digest(&self, reference: &Reference) -> Result<Option<String>, RegistryError> {
        let address = self.url(reference, &format!("manifests/{}", reference.version));
        let accept = |request: reqwest::RequestBuilder| request.header(header::ACCEPT, media_type::MANIFEST);
        let response = self.send(reference, Method::HEAD, &address, accept).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let response = checked(reference, &format!("{reference}"), response).await?;
        let digest = response.headers().get("docker-content-digest").and_then(|value| value.to_str().ok());
        Ok(Some(digest.unwrap_or_default().to_owned()))
    }

    /// Tags the image. A registry whose tags are immutable refuses even what changes nothing; that is as good as done.
    async fn tag(&self, image: &Image, target: &Reference) -> Result<(), RegistryError> {
        if target.version.starts_with("sha256:") {
            return Ok(());
        }
        match self.put_manifest(image, target).await {
            Err(error @ RegistryError::Status { status: 400..=499, .. }) => match self.has_tag(image, target).await {
                Ok(true) => Ok(()),
                _ => Err(error),
            },
            other => other,
        }
    }

    async fn put_manifest(&self, image: &Image, reference: &Reference) -> Result<(), RegistryError> {
        let address = self.url(reference, &format!("manifests/{}", reference.version));
        let response = self
            .send(reference, Method::PUT, &address, |request| {
                request.header(header::CONTENT_TYPE, media_type::MANIFEST).body(image.manifest.clone())
            })
            .await?;
        checked(reference, &format!("manifest {reference}"), response).await.map(|_| ())
    }
}
