//! Pulls: manifests and blobs, each checked against its digest before anybody uses it.

use std::path::Path;

use futures_util::StreamExt;
use reqwest::{Method, header};
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt;

use super::client::{Client, checked, read, unreachable};
use super::retry::Retries;
use super::{Reference, RegistryError};
use crate::image::media_type;
use crate::layer;

/// The largest manifest that is read, in bytes (distribution specification, "Pushing manifests").
const MANIFEST_LIMIT: usize = 4 * 1024 * 1024;
/// The largest blob that is read into memory, in bytes. Configurations have some kilobytes.
const BLOB_LIMIT: usize = 16 * 1024 * 1024;

impl Client {
    /// A manifest's bytes and media type, from a mirror of the registry where there is one that has it.
    ///
    /// # Errors
    /// The registry does not have it or does not answer.
    pub async fn manifest(&self, reference: &Reference) -> Result<(Vec<u8>, String), RegistryError> {
        for mirror in self.mirrors(reference) {
            match self.manifest_at(&mirror).await {
                Err(error) => self.pass_over(&mirror, error)?,
                answer => return answer,
            }
        }
        self.manifest_at(reference).await
    }

    async fn manifest_at(&self, reference: &Reference) -> Result<(Vec<u8>, String), RegistryError> {
        let what = format!("{reference}");
        let url = self.url(reference, &format!("manifests/{}", reference.version));
        let accept = [media_type::MANIFEST, media_type::INDEX, media_type::DOCKER_MANIFEST, media_type::DOCKER_INDEX];
        let accept = accept.join(", ");
        let response =
            self.send(reference, Method::GET, &url, |request| request.header(header::ACCEPT, &accept)).await?;
        let response = checked(reference, &what, response).await?;
        let kind = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let kind = kind.unwrap_or(media_type::MANIFEST).to_owned();
        let bytes = read(reference, &what, response, MANIFEST_LIMIT).await?;
        if reference.version.starts_with("sha256:") {
            verify(&what, &reference.version, &layer::digest(&bytes))?;
        }
        Ok((bytes, kind))
    }

    /// A small blob's bytes, such as a configuration's.
    ///
    /// # Errors
    /// The registry does not have it, does not answer, or sends something else.
    pub async fn blob(&self, reference: &Reference, digest: &str) -> Result<Vec<u8>, RegistryError> {
        for mirror in self.mirrors(reference) {
            match self.blob_at(&mirror, digest).await {
                Err(error) => self.pass_over(&mirror, error)?,
                answer => return answer,
            }
        }
        self.blob_at(reference, digest).await
    }

    async fn blob_at(&self, reference: &Reference, digest: &str) -> Result<Vec<u8>, RegistryError> {
        let url = self.url(reference, &format!("blobs/{digest}"));
        let response = self.send(reference, Method::GET, &url, |request| request).await?;
        let response = checked(reference, digest, response).await?;
        let bytes = read(reference, digest, response, BLOB_LIMIT).await?;
        verify(digest, digest, &layer::digest(&bytes))?;
        Ok(bytes)
    }

    /// The mirrors of a registry, which are asked before it.
    fn mirrors(&self, reference: &Reference) -> impl Iterator<Item = Reference> + Send {
        self.registries.mirrors(reference).into_iter().filter(|mirror| self.is_useful(mirror))
    }

    /// A mirror that fails in whatever way is passed over; one that cannot be reached is not asked again.
    fn pass_over(&self, mirror: &Reference, error: RegistryError) -> Result<(), RegistryError> {
        // What is wrong on this side would be wrong at the next one as well.
        if let RegistryError::File(..) = error {
            return Err(error);
        }
        tracing::debug!(%mirror, %error, "the mirror is passed over");
        if error.passing() {
            self.give_up(mirror);
        }
        Ok(())
    }

    /// Writes a blob to `path`; the file gets its name only when its digest is right.
    ///
    /// # Errors
    /// As for `blob`, and the disk.
    pub async fn blob_to_file(&self, reference: &Reference, digest: &str, path: &Path) -> Result<(), RegistryError> {
        let temporary = path.with_extension("part");
        let write = |source| RegistryError::File(format!("write {}", path.display()), source);
        match self.blob_over(reference, digest, &temporary).await {
            Ok(()) => tokio::fs::rename(&temporary, path).await.map_err(write),
            Err(error) => {
                // It may not even have been made.
                let _ = tokio::fs::remove_file(&temporary).await;
                Err(error)
            }
        }
    }

    /// Writes a blob in the place of what the file at `path` holds; it is whole when this has succeeded.
    ///
    /// # Errors
    /// As for `blob_to_file`.
    pub(crate) async fn blob_over(
        &self,
        reference: &Reference,
        digest: &str,
        path: &Path,
    ) -> Result<(), RegistryError> {
        for mirror in self.mirrors(reference) {
            match self.blob_over_at(&mirror, digest, path).await {
                Err(error) => self.pass_over(&mirror, error)?,
                answer => return answer,
            }
        }
        self.blob_over_at(reference, digest, path).await
    }

    async fn blob_over_at(&self, reference: &Reference, digest: &str, path: &Path) -> Result<(), RegistryError> {
        let mut retries = Retries::new();
        loop {
            let result = self.try_blob_to_file(reference, digest, path).await;
            let Some(error) = result.as_ref().err().filter(|error| error.passing()) else { break result };
            let Some(pause) = retries.next(error.retry_after()) else { break result };
            tracing::debug!(%digest, %error, "fetching again");
            tokio::time::sleep(pause).await;
        }
    }

    async fn try_blob_to_file(&self, reference: &Reference, digest: &str, path: &Path) -> Result<(), RegistryError> {
        let url = self.url(reference, &format!("blobs/{digest}"));
        let response = self.send_once(reference, &Method::GET, &url, &|request| request).await?;
        let response = checked(reference, digest, response).await?;
        let write = |source| RegistryError::File(format!("write {}", path.display()), source);
        let mut file = tokio::fs::File::create(path).await.map_err(write)?;
        let mut hasher = Sha256::new();
        let mut stream = response.bytes_stream();
        while let Some(piece) = stream.next().await {
            let piece = piece.map_err(|source| unreachable(reference, source))?;
            hasher.update(&piece);
            file.write_all(&piece).await.map_err(write)?;
        }
        file.flush().await.map_err(write)?;
        verify(digest, digest, &layer::digest_text(&hasher.finalize()))
    }
}

fn verify(what: &str, wanted: &str, actual: &str) -> Result<(), RegistryError> {
    if wanted == actual {
        return Ok(());
    }
    Err(RegistryError::Digest { what: what.to_owned(), actual: actual.to_owned() })
}
