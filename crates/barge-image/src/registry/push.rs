//! Pushes: layers and config, several at once, then the manifest.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use reqwest::{Body, Method, StatusCode, header};
use tokio_util::io::ReaderStream;

use super::client::{Client, TRIES, checked, url};
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
            self.tag(image, target).await?;
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
        let address = self.url(reference, &format!("manifests/{}", reference.version));
        let accept = |request: reqwest::RequestBuilder| request.header(header::ACCEPT, media_type::MANIFEST);
        let response = self.send(reference, Method::HEAD, &address, accept).await?;
        match response.status() {
            StatusCode::NOT_FOUND => Ok(false),
            _ => checked(reference, &format!("{reference}"), response).await.map(|_| true),
        }
    }

    async fn tag(&self, image: &Image, target: &Reference) -> Result<(), RegistryError> {
        if target.version.starts_with("sha256:") { Ok(()) } else { self.put_manifest(image, target).await }
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
        let mut pause = Duration::from_millis(200);
        for _ in 1..TRIES {
            match self.try_push_blob(blob, target).await {
                Err(error) if error.passing() => {
                    tracing::debug!(digest = %blob.digest, %error, "pushing again");
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                other => return other,
            }
        }
        self.try_push_blob(blob, target).await
    }

    async fn try_push_blob(&self, blob: &Blob, target: &Reference) -> Result<Progress, RegistryError> {
        let size = blob.size;
        let address = self.url(target, &format!("blobs/{}", blob.digest));
        let head = self.send(target, Method::HEAD, &address, |request| request).await?;
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
        let source = self.open(blob).await?;
        let source = std::sync::Mutex::new(Some(source));
        let response = self
            .send_once(target, &Method::PUT, &put, &|request| {
                let body = source.lock().ok().and_then(|mut body| body.take()).unwrap_or_default();
                request
                    .header(header::CONTENT_TYPE, "application/octet-stream")
                    .header(header::CONTENT_LENGTH, size)
                    .body(body)
            })
            .await?;
        checked(target, &what, response).await?;
        Ok(Progress::Sent { size })
    }

    async fn open(&self, blob: &Blob) -> Result<Body, RegistryError> {
        let file = match &blob.source {
            Source::Bytes(bytes) => return Ok(Body::from(Arc::<[u8]>::clone(bytes).to_vec())),
            Source::Remote { reference } => {
                let response = self.blob(reference, &blob.digest).await?;
                return Ok(Body::from(response));
            }
            Source::Temporary(file) => file.reopen(),
            Source::File(path) => std::fs::File::open(path),
        };
        let file = file.map_err(|source| RegistryError::File(format!("read layer {}", blob.digest), source))?;
        Ok(Body::wrap_stream(ReaderStream::with_capacity(tokio::fs::File::from_std(file), 128 * 1024)))
    }
}
