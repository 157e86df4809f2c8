//! What of a base lies in its registry: fetched once, then in the cache.

use barge_model::Digest;

use crate::cache::{Cache, Held};
use crate::image::Blob;
use crate::layer;
use crate::registry::{Client, Destination, Reference, RegistryError};

/// A layer's bytes, from the cache or through it.
pub(crate) async fn blob(
    client: Option<&Client>,
    reference: &Reference,
    blob: &Blob,
    cache: Option<&Cache>,
) -> Result<Held, RegistryError> {
    let digest = Digest::new(blob.digest.as_str()).ok();
    if let (Some(cache), Some(digest)) = (cache, digest) {
        if let Some(held) = cached(cache, &digest, blob.size).await {
            return Ok(held);
        }
        match through(client.ok_or(RegistryError::NoClient)?, reference, blob, &digest, cache).await {
            // The cache is full or broken, which is no reason to fail.
            Err(RegistryError::File(what, error)) => tracing::debug!(%what, %error, "a layer is not kept in the cache"),
            done => return done,
        }
    }
    let failed = |error| RegistryError::File(format!("keep layer {} for a moment", blob.digest), error);
    let file = tempfile::tempfile().map_err(failed)?;
    let to = Destination { file: &file, name: &std::env::temp_dir() };
    client.ok_or(RegistryError::NoClient)?.blob_over(reference, &blob.digest, blob.size, to).await?;
    Ok(Held::new(file))
}

async fn cached(cache: &Cache, digest: &Digest, size: u64) -> Option<Held> {
    let (cache, digest) = (cache.clone(), digest.clone());
    // Reads all of it.
    tokio::task::spawn_blocking(move || cache.checked_blob(&digest, size)).await.ok()?
}

async fn through(
    client: &Client,
    reference: &Reference,
    blob: &Blob,
    digest: &Digest,
    cache: &Cache,
) -> Result<Held, RegistryError> {
    let failed = |error| RegistryError::File(format!("keep {digest} in {}", cache.directory().display()), error);
    let mut temporary = cache.temporary().map_err(failed)?;
    let to = Destination { file: temporary.file(), name: cache.directory() };
    client.blob_over(reference, &blob.digest, blob.size, to).await?;
    let held = cache.keep(temporary, digest).map_err(failed)?;
    cache.prune();
    Ok(held)
}

/// A manifest's bytes. What is named by its digest is asked for once.
pub(super) async fn manifest(
    client: Option<&Client>,
    reference: &Reference,
    cache: Option<&Cache>,
) -> Result<Vec<u8>, RegistryError> {
    if let Some(bytes) = Digest::new(reference.version.as_str()).ok().and_then(|digest| cache?.document(&digest)) {
        return Ok(bytes);
    }
    let (bytes, _) = client.ok_or(RegistryError::NoClient)?.manifest(reference).await?;
    keep(cache, &bytes);
    Ok(bytes)
}

/// A configuration's bytes.
pub(super) async fn config(
    client: Option<&Client>,
    reference: &Reference,
    digest: &Digest,
    cache: Option<&Cache>,
) -> Result<Vec<u8>, RegistryError> {
    if let Some(bytes) = cache.and_then(|cache| cache.document(digest)) {
        return Ok(bytes);
    }
    let bytes = client.ok_or(RegistryError::NoClient)?.blob(reference, digest.as_str()).await?;
    keep(cache, &bytes);
    Ok(bytes)
}

fn keep(cache: Option<&Cache>, bytes: &[u8]) {
    if let (Some(cache), Ok(digest)) = (cache, Digest::new(layer::digest(bytes))) {
        cache.keep_document(&digest, bytes);
    }
}
