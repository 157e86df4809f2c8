//! Files that are being written and get their name when they are whole. Each has a name that no other has, and is locked by its process,
//! so that others can tell it from what a killed one has left.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use tempfile::NamedTempFile;

/// Where files cannot be locked, what is older than this is left from a process that is gone.
const OLD: Duration = Duration::from_secs(86_400);

/// How a file begins that is written where the files of others are as well.
const BESIDE: &str = ".barge-part-";

/// A file that has no name of its own yet.
#[derive(Debug)]
pub(crate) struct Temporary(NamedTempFile);

impl Temporary {
    /// A file in a directory of ours, which nobody else can read.
    pub(crate) fn new(directory: &Path) -> io::Result<Self> {
        Self::make(tempfile::Builder::new().prefix(""), directory)
    }

    /// A file that will be `path`, in the same directory and with the permissions of any other file. What killed processes have left of
    /// such files there is removed.
    pub(crate) fn beside(path: &Path) -> io::Result<Self> {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        sweep_of(directory, BESIDE);
        // Less what the user's mask takes away.
        let permissions = std::fs::Permissions::from_mode(0o666);
        Self::make(tempfile::Builder::new().prefix(BESIDE).permissions(permissions), directory)
    }

    fn make(builder: &tempfile::Builder<'_, '_>, directory: &Path) -> io::Result<Self> {
        for _ in 0..8 {
            let file = builder.tempfile_in(directory)?;
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

    /// Gives it a name, in the place of what has it; the result is open for reading.
    pub(crate) fn persist(self, path: &Path) -> io::Result<File> {
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

/// Removes what no process writes any more from a directory of ours.
pub(crate) fn sweep(directory: &Path) {
    sweep_of(directory, "");
}

fn sweep_of(directory: &Path, prefix: &str) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok) {
        if !entry.file_name().as_encoded_bytes().starts_with(prefix.as_bytes()) {
            continue;
        }
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
