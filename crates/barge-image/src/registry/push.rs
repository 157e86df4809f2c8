//! Pushes: layers and config, several at once, then the manifest.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use reqwest::{Method, StatusCode, header};

use super::client::{Client, checked, url};
use super::retry::Retries;
use super::upload::Content;
use super::{Reference, RegistryError};
use crate::image::{Blob, Image, Source, media_type};

/// What is told while a push goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// The registry has this blob already.
    Present {
        /// Its size in bytes.
        size: u64,
    },
    /// The registry took it over from another repository.
    Mounted {
        /// Its size in bytes.
        size: u64,
    },
    /// It was sent.
    Sent {
        /// Its size in bytes.
        size: u64,
    },
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
        if self.has_manifest(&digest_reference).await? {
            let size = image.layers.iter().map(|layer| layer.size).sum();
            progress(Progress::Present { size });
            if !self.has_tag(image, target).await? {
                self.tag(image, target).await?;
            }
            return Ok(Pushed { sent: 0, present: size });
        }
        let blobs = image.layers.iter().chain([&image.config]);
        let results: Vec<Progress> = stream::iter(blobs)
            .map(|blob| async move {
                let done = self.push_blob(blob, target).await?;
                progress(done.clone());
                Ok::<_, RegistryError>(done)
            })
            .buffer_unordered(PARALLEL)
            .try_collect()
            .await?;
        self.put_manifest(image, &digest_reference).await?;
        self.tag(image, target).await?;
        let mut pushed = Pushed::default();
        for result in results {
            match result {
                Progress::Sent { size } => pushed.sent += size,
                Progress::Present { size } | Progress::Mounted { size } => pushed.present += size,
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

    /// Pushes one blob; a try that failed is begun again from its POST, never continued.
    async fn push_blob(&self, blob: &Blob, target: &Reference) -> Result<Progress, RegistryError> {
        let mut retries = Retries::new();
        loop {
            let result = self.try_push_blob(blob, target).await;
            let Some(error) = result.as_ref().err().filter(|error| error.passing()) else { return result };
            let Some(pause) = retries.next(error.retry_after()) else { return result };
            tracing::debug!(digest = %blob.digest, %error, "pushing again");
            tokio::time::sleep(pause).await;
        }
    }

    async fn try_push_blob(&self, blob: &Blob, target: &Reference) -> Result<Progress, RegistryError> {
        let size = blob.size;
        let address = self.url(target, &format!("blobs/{}", blob.digest));
        let head = self.send_once(target, &Method::HEAD, &address, &|request| request).await?;
        if head.status().is_success() {
            return Ok(Progress::Present { size });
        }
        let mut begin = self.url(target, "blobs/uploads/");
        if let Source::Remote { reference } = &blob.source
            && reference.host == target.host
        {
            begin = url::with(&url::with(&begin, "mount", &blob.digest), "from", &reference.repository);
        }
        let what = format!("an upload of {}", blob.digest);
        let response =
            self.send_once(target, &Method::POST, &begin, &|request| request.header(header::CONTENT_LENGTH, 0)).await?;
        let response = checked(target, &what, response).await?;
        if response.status() == StatusCode::CREATED {
            return Ok(Progress::Mounted { size });
        }
        let protocol =
            |problem: &str| RegistryError::Protocol { host: target.host.clone(), problem: problem.to_owned() };
        let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
        let location = location.and_then(|location| url::join(&begin, location));
        let location = location.ok_or_else(|| protocol("its answer to an upload has no Location"))?;
        if begin.starts_with("https://") && location.starts_with("http://") {
            return Err(protocol("behind TLS it gives Locations with http://; its external address is set wrongly"));
        }
        let put = url::with(&location, "digest", &blob.digest);
        let content = self.open(blob).await?;
        let response = self.upload(target, &put, size, &content).await?;
        checked(target, &what, response).await?;
        Ok(Progress::Sent { size })
    }

    async fn open(&self, blob: &Blob) -> Result<Content, RegistryError> {
        let failed = |source| RegistryError::File(format!("read layer {}", blob.digest), source);
        Ok(match &blob.source {
            Source::Bytes(bytes) => Content::Bytes(Bytes::from_owner(Arc::clone(bytes))),
            Source::Temporary(file) => Content::File(file.path().to_owned()),
            Source::File(path) => Content::File(path.clone()),
            Source::Remote { reference } => {
                let file = tempfile::NamedTempFile::with_prefix("barge-layer").map_err(failed)?;
                self.blob_to_file(reference, &blob.digest, file.path()).await?;
                Content::Temporary(file)
            }
        })
    }
}
