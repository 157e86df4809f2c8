//! Pulls: manifests and blobs, each checked against its digest before anybody uses it.

use std::fs::File;
use std::io;
use std::path::Path;

use futures_util::StreamExt;
use reqwest::{Method, header};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncSeekExt, AsyncWriteExt};

use super::client::{Client, checked, read, too_large, unreachable};
use super::retry::Retries;
use super::{Reference, RegistryError};
use crate::image::media_type;
use crate::layer;
use crate::temporary::Temporary;

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
        if reference.is_by_digest() {
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

    /// Writes a blob of `size` bytes to `path`; the file gets its name only when its digest is right.
    ///
    /// # Errors
    /// As for `blob`, and the disk.
    pub async fn blob_to_file(
        &self,
        reference: &Reference,
        digest: &str,
        size: u64,
        path: &Path,
    ) -> Result<(), RegistryError> {
        let write = |source| RegistryError::File(format!("write {}", path.display()), source);
        let mut temporary = Temporary::beside(path).map_err(write)?;
        let to = Destination { file: temporary.file(), name: path };
        self.blob_over(reference, digest, size, to).await?;
        temporary.persist(path).map(drop).map_err(write)
    }

    /// Writes a blob of `size` bytes in the place of what a file holds; it is whole when this has succeeded.
    ///
    /// # Errors
    /// As for `blob_to_file`.
    pub(crate) async fn blob_over(
        &self,
        reference: &Reference,
        digest: &str,
        size: u64,
        to: Destination<'_>,
    ) -> Result<(), RegistryError> {
        for mirror in self.mirrors(reference) {
            match self.blob_over_at(&mirror, digest, size, to).await {
                Err(error) => self.pass_over(&mirror, error)?,
                answer => return answer,
            }
        }
        self.blob_over_at(reference, digest, size, to).await
    }

    async fn blob_over_at(
        &self,
        reference: &Reference,
        digest: &str,
        size: u64,
        to: Destination<'_>,
    ) -> Result<(), RegistryError> {
        let mut retries = Retries::new();
        loop {
            let result = self.try_blob_over(reference, digest, size, to).await;
            let Some(error) = result.as_ref().err().filter(|error| error.passing()) else { break result };
            let Some(pause) = retries.next(error.retry_after()) else { break result };
            tracing::debug!(%digest, %error, "fetching again");
            tokio::time::sleep(pause).await;
        }
    }

    async fn try_blob_over(
        &self,
        reference: &Reference,
        digest: &str,
        size: u64,
        to: Destination<'_>,
    ) -> Result<(), RegistryError> {
        let url = self.url(reference, &format!("blobs/{digest}"));
        let response = self.send_once(reference, &Method::GET, &url, &|request| request).await?;
        let response = checked(reference, digest, response).await?;
        let write = |source| RegistryError::File(format!("write {}", to.name.display()), source);
        let mut file = to.begin().await.map_err(write)?;
        let mut hasher = Sha256::new();
        let copied = async {
            let mut stream = response.bytes_stream();
            let mut left = size;
            while let Some(piece) = stream.next().await {
                let piece = piece.map_err(|source| unreachable(reference, source))?;
                // The manifest has said how long it is, and so has whoever made the room for it.
                left = left.checked_sub(piece.len() as u64).ok_or_else(|| too_large(reference, digest, size))?;
                hasher.update(&piece);
                file.write_all(&piece).await.map_err(write)?;
            }
            Ok::<(), RegistryError>(())
        };
        let copied = copied.await;
        // Also after a failure: what is still being written must not get into the next try's file.
        file.flush().await.map_err(write)?;
        copied?;
        verify(digest, digest, &layer::digest_text(&hasher.finalize()))
    }
}

/// A file that a blob is written to. It is held, not named: a name such as `/proc/self/fd/7` may mean another file once whoever waits has
/// given up.
#[derive(Clone, Copy)]
pub(crate) struct Destination<'a> {
    pub(crate) file: &'a File,
    /// What messages call it.
    pub(crate) name: &'a Path,
}

impl Destination<'_> {
    /// The file without anything in it.
    async fn begin(self) -> io::Result<tokio::fs::File> {
        let mut file = tokio::fs::File::from_std(self.file.try_clone()?);
        file.set_len(0).await?;
        file.rewind().await?;
        Ok(file)
    }
}

fn verify(what: &str, wanted: &str, actual: &str) -> Result<(), RegistryError> {
    if wanted == actual {
        return Ok(());
    }
    Err(RegistryError::Digest { what: what.to_owned(), actual: actual.to_owned() })
}
