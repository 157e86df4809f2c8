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
    /// A manifest's bytes and media type.
    ///
    /// # Errors
    /// The registry does not have it or does not answer.
    pub async fn manifest(&self, reference: &Reference) -> Result<(Vec<u8>, String), RegistryError> {
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
        let url = self.url(reference, &format!("blobs/{digest}"));
        let response = self.send(reference, Method::GET, &url, |request| request).await?;
        let response = checked(reference, digest, response).await?;
        let bytes = read(reference, digest, response, BLOB_LIMIT).await?;
        verify(digest, digest, &layer::digest(&bytes))?;
        Ok(bytes)
    }

    /// Writes a blob to `path`; the file gets its name only when its digest is right.
    ///
    /// # Errors
    /// As for `blob`, and the disk.
    pub async fn blob_to_file(&self, reference: &Reference, digest: &str, path: &Path) -> Result<(), RegistryError> {
        let mut retries = Retries::new();
        let temporary = path.with_extension("part");
        let result = loop {
            let result = self.try_blob_to_file(reference, digest, &temporary).await;
            let Some(error) = result.as_ref().err().filter(|error| error.passing()) else { break result };
            let Some(pause) = retries.next(error.retry_after()) else { break result };
            tracing::debug!(%digest, %error, "fetching again");
            tokio::time::sleep(pause).await;
        };
        let write = |source| RegistryError::File(format!("write {}", path.display()), source);
        match result {
            Ok(()) => tokio::fs::rename(&temporary, path).await.map_err(write),
            Err(error) => {
                // It may not even have been made.
                let _ = tokio::fs::remove_file(&temporary).await;
                Err(error)
            }
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
