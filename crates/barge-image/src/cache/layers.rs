//! Which layer has which entries: by content alone, so that a fresh checkout finds what another directory has built.

use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use barge_model::Digest;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Cache, sealed};
use crate::compress::COMPRESSOR;
use crate::hash::{Sum, hex};
use crate::layer::{Layer, Written};
use crate::plan::{Entry, LayerPlan};
use crate::temporary::Temporary;

/// Changed with everything that makes other bytes of the same entries, but for the compressor, which has a name of its own.
const FORMAT: &str = "barge layer 1";

/// What a layer is found by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    shape: String,
    content: String,
}

/// What is known without reading any content: paths, kinds, sizes. A layer whose shape is not in the cache is not in it at all, so that
/// nothing has to be read to find that out.
pub(crate) fn shape(plan: &LayerPlan) -> String {
    let mut hasher = begin();
    for (path, entry) in plan {
        add(&mut hasher, path.as_bytes());
        match entry {
            Entry::Directory => add(&mut hasher, b"directory"),
            Entry::Shared => add(&mut hasher, b"shared"),
            Entry::Link { target } => {
                add(&mut hasher, b"link");
                add(&mut hasher, target.as_bytes());
            }
            Entry::File { size, executable, stamped, .. } => {
                add(&mut hasher, b"file");
                hasher.update(size.to_be_bytes());
                hasher.update([u8::from(*executable), u8::from(*stamped)]);
            }
        }
    }
    hex(&hasher.finalize())
}

/// The key of a plan whose files have these contents, in the plan's order.
pub(crate) fn key(shape: &str, contents: &[Sum]) -> Key {
    let mut hasher = begin();
    add(&mut hasher, shape.as_bytes());
    contents.iter().for_each(|content| hasher.update(content.bytes()));
    Key { shape: shape.to_owned(), content: hex(&hasher.finalize()) }
}

/// The key of a layer that was a tar before, by the tar's digest.
pub(crate) fn tar_key(diff_id: &Digest) -> Key {
    key_of(b"tar", diff_id)
}

/// The key of a layer that was taken over as it was.
pub(crate) fn blob_key(digest: &Digest) -> Key {
    key_of(b"blob", digest)
}

fn key_of(kind: &[u8], digest: &Digest) -> Key {
    let mut hasher = begin();
    add(&mut hasher, kind);
    Key { shape: hex(&hasher.finalize()), content: digest.hex().to_owned() }
}

fn begin() -> Sha256 {
    let mut hasher = Sha256::new();
    add(&mut hasher, FORMAT.as_bytes());
    add(&mut hasher, COMPRESSOR.as_bytes());
    hasher
}

/// With its length before it, so that no two lists of parts give the same bytes.
fn add(hasher: &mut Sha256, part: &[u8]) {
    hasher.update((part.len() as u64).to_be_bytes());
    hasher.update(part);
}

/// What stands in the cache under a key.
#[derive(Debug, Serialize, Deserialize)]
struct Known {
    digest: Digest,
    diff_id: Digest,
    size: u64,
    /// The blob's file when its bytes were known to be right. As long as it is the same one, nobody has to read it again.
    blob: Identity,
}

/// A file whose bytes nobody has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    inode: u64,
    seconds: i64,
    nanoseconds: i64,
}

impl Identity {
    fn of(found: &Metadata) -> Self {
        Self { inode: found.ino(), seconds: found.mtime(), nanoseconds: found.mtime_nsec() }
    }
}

impl Cache {
    fn shape_directory(&self, shape: &str) -> PathBuf {
        self.0.directory.join("layers").join(shape)
    }

    /// Whether any layer of that shape was ever kept.
    pub(crate) fn has_shape(&self, shape: &str) -> bool {
        self.shape_directory(shape).is_dir()
    }

    /// The layer with that key.
    pub(crate) fn layer(&self, key: &Key) -> Option<Layer> {
        let path = self.shape_directory(&key.shape).join(&key.content);
        let known: Known = sealed::read(&path)?;
        let found = std::fs::metadata(self.blob_path(&known.digest)).ok()?;
        let file = if Identity::of(&found) == known.blob {
            self.blob(&known.digest, known.size)?
        } else {
            // Another build has written the same blob, or somebody has changed it.
            let held = self.checked_blob(&known.digest, known.size)?;
            self.note(&path, &known, held.path());
            held
        };
        let (digest, diff_id) = (known.digest.into(), known.diff_id.into());
        Some(Layer { digest, diff_id, size: known.size, file: Arc::new(file) })
    }

    /// Keeps a layer that has been written to `temporary`.
    pub(crate) fn keep_layer(&self, key: &Key, temporary: Temporary, written: &Written) -> std::io::Result<Layer> {
        let invalid = |_| std::io::Error::other("a digest of ours is none");
        let digest = Digest::new(written.digest.as_str()).map_err(invalid)?;
        let diff_id = Digest::new(written.diff_id.as_str()).map_err(invalid)?;
        let held = self.keep(temporary, &digest)?;
        let directory = self.shape_directory(&key.shape);
        let identity = Identity { inode: 0, seconds: 0, nanoseconds: 0 };
        let known = Known { digest, diff_id, size: written.size, blob: identity };
        // Without the note, the next build only makes the layer again.
        match std::fs::create_dir_all(&directory) {
            Ok(()) => self.note(&directory.join(&key.content), &known, held.path()),
            Err(error) => tracing::debug!(%error, "a layer is not noted in the cache"),
        }
        Ok(written.clone().into_layer(held))
    }

    fn note(&self, path: &Path, known: &Known, blob: &Path) {
        let noted = File::open(blob).and_then(|file| file.metadata()).and_then(|found| {
            let (digest, diff_id) = (known.digest.clone(), known.diff_id.clone());
            sealed::write(self, path, &Known { digest, diff_id, size: known.size, blob: Identity::of(&found) })
        });
        if let Err(error) = noted {
            tracing::debug!(%error, "a layer is not noted in the cache");
        }
    }
}
