//! A file that is held open for as long as somebody may read it.
//!
//! Its path leads to what is open, not to a name in a directory: the file may lose its name meanwhile, because another build makes
//! room in the cache, or never have had one.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// A file with the bytes of a blob.
#[derive(Debug)]
pub struct Held {
    /// Only held: each reader opens the path and has a position of its own.
    _file: File,
    path: PathBuf,
    /// The name that it has in the cache, where it has one.
    name: Option<PathBuf>,
}

impl Held {
    /// A file without a name, which is gone with the process, however that ends.
    pub(crate) fn new(file: File) -> Self {
        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        Self { _file: file, path, name: None }
    }

    /// A file in the cache.
    pub(super) fn named(file: File, name: PathBuf) -> Self {
        Self { name: Some(name), ..Self::new(file) }
    }

    /// Where this process can open it, for as long as `self` lives.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens it at its start.
    ///
    /// # Errors
    /// The system gives no further file.
    pub fn reopen(&self) -> io::Result<File> {
        File::open(&self.path)
    }

    /// What people know it by: its name in the cache, where it has one.
    pub(crate) fn name(&self) -> Option<&Path> {
        self.name.as_deref()
    }

    /// Says that the bytes are not what they should be, so that no further build uses them; false where none would.
    pub fn discard(&self) -> bool {
        let Some(name) = &self.name else { return false };
        // Where it cannot be removed it is looked at again by the next build, which compares its size and time.
        let _ = std::fs::remove_file(name);
        true
    }
}
