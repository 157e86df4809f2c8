//! Digests of files that have not changed since they were read, so that they need not be read again.
//!
//! As git's index does, it takes a file for unchanged whose device, inode, size and times are the same. A time tells nothing of a
//! change that follows so soon that the clock of the file system has not moved on; a file that had changed just before it was looked at
//! is therefore not noted, and read again by the next build.

use std::collections::HashMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::{Cache, sealed};
use crate::hash::Sum;

/// Linux stamps files with the time of its last tick, at most 10 ms ago.
const TICK: Duration = Duration::from_millis(50);
/// Where no part of a second is told, the file system may know only even seconds.
const COARSE: Duration = Duration::from_secs(3);

/// What tells a file from a changed one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stat {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stat {
    /// Looks at a file, or at what a link leads to.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        std::fs::metadata(path).ok().map(|found| Self::from(&found))
    }

    /// Whether a change after `now` would show.
    pub(crate) fn is_settled(&self, now: SystemTime) -> bool {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        [self.modified, self.changed].iter().all(|(seconds, nanoseconds)| {
            let (Ok(seconds), Ok(nanoseconds)) = (u64::try_from(*seconds), u32::try_from(*nanoseconds)) else {
                return true;
            };
            let margin = if nanoseconds == 0 { COARSE } else { TICK };
            // A time in the future says that the clocks differ, so nothing is known.
            Duration::new(seconds, nanoseconds) + margin < now
        })
    }
}

impl From<&Metadata> for Stat {
    fn from(found: &Metadata) -> Self {
        Self {
            device: found.dev(),
            inode: found.ino(),
            size: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }
}

/// What is known of one file, while its stat is this one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Noted {
    pub(crate) stat: Stat,
    /// The digest of the whole, where somebody wanted it.
    pub(crate) whole: Option<Sum>,
    /// Digests of members, of an archive.
    pub(crate) members: HashMap<String, Sum>,
}

/// What is known of the files of one project.
pub(crate) type Index = HashMap<PathBuf, Noted>;

/// In the file: paths are text there.
type Document = Vec<(String, Noted)>;

impl Cache {
    fn index_path(&self, root: &Path) -> PathBuf {
        self.0.directory.join("index").join(Sum::of(root.as_os_str().as_encoded_bytes()).hex())
    }

    /// What earlier builds have noted of the files below `root`.
    pub(crate) fn index(&self, root: &Path) -> Index {
        let document: Document = sealed::read(&self.index_path(root)).unwrap_or_default();
        document.into_iter().map(|(path, noted)| (PathBuf::from(path), noted)).collect()
    }

    /// Replaces that. Builds at the same time replace each other's; then one of them reads a little more the next time.
    pub(crate) fn keep_index(&self, root: &Path, index: &Index) {
        let mut document: Document = index
            .iter()
            .filter_map(|(path, noted)| path.to_str().map(|path| (path.to_owned(), noted.clone())))
            .collect();
        document.sort_by(|one, other| one.0.cmp(&other.0));
        if let Err(error) = sealed::write(self, &self.index_path(root), &document) {
            tracing::debug!(%error, "the digests of unchanged files are not kept in the cache");
        }
    }
}
