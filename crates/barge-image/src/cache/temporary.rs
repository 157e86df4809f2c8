//! Files that are being written. Each is locked by its process, so that others can tell it from what a killed one has left.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use tempfile::NamedTempFile;

/// Where files cannot be locked, what is older than this is left from a process that is gone.
const OLD: Duration = Duration::from_secs(86_400);

/// A file that has no name of its own yet.
#[derive(Debug)]
pub(crate) struct Temporary(NamedTempFile);

impl Temporary {
    pub(super) fn new(directory: &Path) -> io::Result<Self> {
        for _ in 0..8 {
            let file = tempfile::Builder::new().prefix("").tempfile_in(directory)?;
            // Somebody who sweeps may have been faster than the lock; then it is a file that nobody else can find any more.
            let ours = !matches!(file.as_file().try_lock(), Err(TryLockError::WouldBlock));
            let there = std::fs::symlink_metadata(file.path()).is_ok_and(|found| found.ino() == inode(file.as_file()));
            if ours && there {
                return Ok(Self(file));
            }
        }
        Err(io::Error::other("temporary files are removed as soon as they are made"))
    }

    pub(crate) fn file(&mut self) -> &mut File {
        self.0.as_file_mut()
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Gives it a name, in the place of what has it; the result is open for reading.
    pub(super) fn persist(self, path: &Path) -> io::Result<File> {
        let read = File::open(self.0.path())?;
        let written = self.0.persist(path).map_err(|error| error.error)?;
        // Nobody looks for a lock at its new place.
        drop(written);
        Ok(read)
    }
}

fn inode(file: &File) -> u64 {
    file.metadata().map_or(0, |found| found.ino())
}

/// Removes what no process writes any more.
pub(super) fn sweep(directory: &Path) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok) {
        let path = entry.path();
        let Ok(file) = File::open(&path) else { continue };
        let left = match file.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => false,
            Err(TryLockError::Error(_)) => is_old(&file),
        };
        if left {
            // Another build may be removing it just now.
            let _ = std::fs::remove_file(&path);
        }
    }
}

fn is_old(file: &File) -> bool {
    let modified = file.metadata().and_then(|found| found.modified()).ok();
    modified.and_then(|at| SystemTime::now().duration_since(at).ok()).is_some_and(|age| age > OLD)
}
