//! What builds have made or fetched before: layers by the content of their entries, blobs by their digest.
//!
//! Many builds use one cache at once, and each may be killed at any moment. So everything is written to a temporary file in the
//! cache's own directory and gets its name when it is whole; nothing is changed afterwards. A temporary file is locked by the process
//! that writes it, and one that nobody has locked is removed by the next build ([`crate::temporary`]). What is read is checked, and what is
//! damaged or missing is made again without a word. Nothing is brought to the disk with `fsync`: after a power cut the checks find
//! what is not whole, and it is made again.
//!
//! ```text
//! blobs/sha256/HEX        layers, and manifests and configurations of bases
//! layers/SHAPE/KEY        which blob has the entries of KEY; SHAPE is the same without the content (`layers`)
//! index/HEX               digests of files that have not changed since ([`index`])
//! derived/WHAT/HEX        what was found out about a layer ([`derived`])
//! tmp/                    what is being written
//! ```
//!
//! What was not used for longest is removed when the blobs take more than the cache may ([`prune`]).

mod derived;
mod held;
pub(crate) mod index;
mod layers;
mod prune;
mod sealed;

use std::ffi::OsString;
use std::fs::{DirBuilder, File, FileTimes, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use barge_model::Digest;

pub use held::Held;
pub(crate) use layers::{Key, blob_key, key, shape, tar_key};

use crate::layer;
use crate::temporary::{self, Temporary};

/// So many bytes of blobs are kept.
pub const LIMIT: u64 = 2 << 30;

/// A use is noted again when the last note is older than this.
const NOTED: Duration = Duration::from_secs(3600);

/// Why there is no cache. A build goes on without one.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The directory cannot be made or looked at.
    #[error("use {path} as the cache")]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Whoever can write into it decides what gets into images.
    #[error("{path} is not used as the cache: it belongs to somebody else, or others may write into it")]
    NotOurs {
        /// The directory.
        path: PathBuf,
    },
}

/// A cache on disk.
#[derive(Debug, Clone)]
pub struct Cache(Arc<Opened>);

#[derive(Debug)]
struct Opened {
    directory: PathBuf,
    limit: u64,
}

impl Cache {
    /// Where a user's cache is: `$BARGE_CACHE`, else `barge` in `$XDG_CACHE_HOME` or in `~/.cache`. None where `BARGE_CACHE` is empty
    /// or there is no home.
    pub fn place(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        match variable("BARGE_CACHE") {
            Some(chosen) => Some(PathBuf::from(chosen)).filter(|chosen| !chosen.as_os_str().is_empty()),
            // The base directory specification has relative paths ignored.
            None => set("XDG_CACHE_HOME")
                .filter(|path| path.is_absolute())
                .or_else(|| set("HOME").map(|home| home.join(".cache")))
                .map(|caches| caches.join("barge")),
        }
    }

    /// Opens the cache in `directory`, which is made where it is missing, and removes what killed builds have left there. `limit` is the
    /// most that its blobs may take, in bytes.
    ///
    /// # Errors
    /// The directory cannot be made, or belongs to somebody else.
    pub fn open(directory: &Path, limit: u64) -> Result<Self, CacheError> {
        let unusable = |source| CacheError::Unusable { path: directory.to_owned(), source };
        let directory = &std::path::absolute(directory).map_err(unusable)?;
        let made = ["blobs/sha256", "layers", "index", "tmp"];
        for part in made {
            DirBuilder::new().recursive(true).mode(0o700).create(directory.join(part)).map_err(unusable)?;
        }
        let found = std::fs::metadata(directory).map_err(unusable)?;
        if found.uid() != nix::unistd::geteuid().as_raw() || found.permissions().mode() & 0o022 != 0 {
            return Err(CacheError::NotOurs { path: directory.clone() });
        }
        let cache = Self(Arc::new(Opened { directory: directory.clone(), limit }));
        temporary::sweep(&cache.temporaries());
        Ok(cache)
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.0.directory
    }

    fn temporaries(&self) -> PathBuf {
        self.0.directory.join("tmp")
    }

    /// A file to write to, which is gone with this process unless it gets a name.
    pub(crate) fn temporary(&self) -> io::Result<Temporary> {
        Temporary::new(&self.temporaries())
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.0.directory.join("blobs/sha256").join(digest.hex())
    }

    /// The blob of that digest, if it is there and has that size; its bytes are not read.
    pub(crate) fn blob(&self, digest: &Digest, size: u64) -> Option<Held> {
        let path = self.blob_path(digest);
        let file = File::open(&path).ok()?;
        let found = file.metadata().ok().filter(Metadata::is_file)?;
        if found.len() != size {
            // It was cut short, or is no work of ours.
            let _ = std::fs::remove_file(&path);
            return None;
        }
        note_use(&file, &found);
        Some(Held::named(file, path))
    }

    /// The blob of that digest if it is there, with every byte checked.
    pub(crate) fn checked_blob(&self, digest: &Digest, size: u64) -> Option<Held> {
        let held = self.blob(digest, size)?;
        let (actual, _) = layer::digest_reader(held.reopen().ok()?).ok()?;
        if actual == digest.as_str() {
            return Some(held);
        }
        held.discard();
        None
    }

    /// A small blob's bytes, checked.
    pub(crate) fn document(&self, digest: &Digest) -> Option<Vec<u8>> {
        let path = self.blob_path(digest);
        let file = File::open(&path).ok()?;
        let found = file.metadata().ok().filter(Metadata::is_file)?;
        let bytes = std::fs::read(&path).ok()?;
        if layer::digest(&bytes) != digest.as_str() {
            let _ = std::fs::remove_file(&path);
            return None;
        }
        note_use(&file, &found);
        Some(bytes)
    }

    /// Keeps a small blob. Where that fails, the next build asks for it again.
    pub(crate) fn keep_document(&self, digest: &Digest, bytes: &[u8]) {
        let kept = self.temporary().and_then(|mut temporary| {
            io::Write::write_all(temporary.file(), bytes)?;
            self.keep(temporary, digest)
        });
        if let Err(error) = kept {
            tracing::debug!(%error, %digest, "not kept in the cache");
        }
    }

    /// Gives a whole blob its name.
    pub(crate) fn keep(&self, temporary: Temporary, digest: &Digest) -> io::Result<Held> {
        let path = self.blob_path(digest);
        let file = temporary.persist(&path)?;
        Ok(Held::named(file, path))
    }
}

/// The time of the last access is ours to set, whatever the file system is mounted with. Its modification time stays: it tells whether
/// somebody has changed the bytes.
fn note_use(file: &File, found: &Metadata) {
    let now = SystemTime::now();
    let old = found.accessed().ok().and_then(|last| now.duration_since(last).ok()).is_none_or(|since| since > NOTED);
    if old {
        // Without it the blob is only removed earlier.
        let _ = file.set_times(FileTimes::new().set_accessed(now));
    }
}
