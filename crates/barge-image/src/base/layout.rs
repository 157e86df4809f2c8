//! An OCI layout (image specification, "Image Layout Specification"), wherever its files are.

use std::io::Read;
use std::path::{Path, PathBuf};

use barge_model::Digest;
use barge_model::manifest::Platform;
use serde_json::Value;

use super::{BaseError, document};
use crate::layer;

/// The largest document that is read, in bytes.
pub(super) const LIMIT: u64 = 16 << 20;
/// So many indexes may name each other.
pub(super) const DEPTH: usize = 3;

/// Files by their names in the layout.
pub(super) trait Layout {
    /// A small file's bytes.
    fn read(&self, name: &str) -> Result<Vec<u8>, BaseError>;

    /// What a file is called in messages.
    fn path(&self, name: &str) -> PathBuf;
}

/// The name of a blob in a layout.
pub(super) fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// Manifest and configuration for a kind of machine.
pub(super) fn documents(layout: &impl Layout, platform: &Platform) -> Result<(Value, Value), BaseError> {
    let mut found = document::parse(&layout.read("index.json")?, "index.json")?;
    for _ in 0..DEPTH {
        if found.get("manifests").is_none() {
            break;
        }
        let digest = document::choose(&found, platform)?;
        found = document::parse(&verified(layout, &digest)?, "a manifest")?;
    }
    let digest = document::digest(&found["config"], "a manifest")?;
    let config = document::config(&verified(layout, &digest)?, "the config")?;
    Ok((found, config))
}

/// Reads a blob that should have the digest that it is named by.
fn verified(layout: &impl Layout, digest: &Digest) -> Result<Vec<u8>, BaseError> {
    let name = blob_name(digest);
    let bytes = layout.read(&name)?;
    let actual = layer::digest(&bytes);
    if actual == digest.as_str() { Ok(bytes) } else { Err(BaseError::Changed { path: layout.path(&name), actual }) }
}

/// A layout in a directory.
pub(super) struct Directory<'a>(pub(super) &'a Path);

impl Directory<'_> {
    pub(super) fn blob(&self, digest: &Digest) -> PathBuf {
        self.path(&blob_name(digest))
    }
}

impl Layout for Directory<'_> {
    fn read(&self, name: &str) -> Result<Vec<u8>, BaseError> {
        let path = self.path(name);
        let fail = |source| BaseError::Read { path: path.clone(), source };
        let file = std::fs::File::open(&path).map_err(fail)?;
        let size = file.metadata().map_err(fail)?.len();
        let mut bytes = Vec::new();
        file.take(LIMIT + 1).read_to_end(&mut bytes).map_err(fail)?;
        limited(name, size.max(bytes.len() as u64))?;
        Ok(bytes)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

/// Refuses documents that are larger than any sensible one.
pub(super) fn limited(name: &str, size: u64) -> Result<(), BaseError> {
    if size <= LIMIT { Ok(()) } else { Err(BaseError::TooLarge { what: name.to_owned(), size, limit: LIMIT }) }
}
