//! Small documents of the cache: one line with the digest of the rest, then JSON. What was cut short or changed is as good as missing.

use std::io::Write;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Cache;
use crate::layer;

/// No document of ours is larger, in bytes.
const LIMIT: u64 = 256 << 20;

/// Reads a document; none where it is missing or not whole.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    if std::fs::metadata(path).ok()?.len() > LIMIT {
        return None;
    }
    let bytes = std::fs::read(path).ok()?;
    let (seal, body) = bytes.split_at_checked(72)?;
    (seal.strip_suffix(b"\n")? == layer::digest(body).as_bytes()).then(|| serde_json::from_slice(body).ok())?
}

/// Writes a document, in the place of what is there.
pub(super) fn write<T: Serialize>(cache: &Cache, path: &Path, document: &T) -> std::io::Result<()> {
    let body = serde_json::to_vec(document)?;
    let mut temporary = cache.temporary()?;
    temporary.file().write_all(format!("{}\n", layer::digest(&body)).as_bytes())?;
    temporary.file().write_all(&body)?;
    temporary.persist(path).map(drop)
}
