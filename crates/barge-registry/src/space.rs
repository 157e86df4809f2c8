//! The registry's limit of space, kept by counting what is written and what is removed; and the room on its disk that it leaves to others.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::StorageError;

/// How much of its disk a registry leaves free, whatever its own limit says: on a disk without room nobody can store anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reserve {
    /// One part of so many of the whole disk: of its bytes, and of the files that it can hold.
    pub one_in: u64,
    /// But never more bytes than this, or files for so many bytes.
    pub at_most: u64,
}

/// What a file takes at the least, in bytes: a block of most file systems.
const SMALL_FILE: u64 = 4096;

/// The bytes of all blobs and uploads. Whoever writes takes first, so that many at once cannot pass the limit together.
#[derive(Debug, Clone)]
pub(crate) struct Space {
    used: Arc<AtomicU64>,
    limit: u64,
    /// What is left free on the disk that holds this path.
    reserve: Option<(PathBuf, Reserve)>,
}

impl Space {
    pub(crate) fn new(used: u64, limit: u64) -> Self {
        Self { used: Arc::new(used.into()), limit, reserve: None }
    }

    pub(crate) fn leaving(self, path: PathBuf, reserve: Reserve) -> Self {
        Self { reserve: Some((path, reserve)), ..self }
    }

    /// Takes room for `bytes`, or none at all.
    pub(crate) fn take(&self, bytes: u64) -> Result<(), StorageError> {
        self.check_disk(bytes)?;
        let fits = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.limit);
        match self.used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fits) {
            Ok(_) => Ok(()),
            Err(_) => Err(StorageError::Full { limit: self.limit }),
        }
    }

    /// Whether the disk has room for `bytes` and the reserve. Several at once may each find the same room: that costs a few pieces of the
    /// reserve, and no lock for each piece.
    fn check_disk(&self, bytes: u64) -> Result<(), StorageError> {
        let Some((path, reserve)) = &self.reserve else { return Ok(()) };
        // What cannot be asked will say by itself that it is full.
        let Ok(disk) = nix::sys::statvfs::statvfs(path) else { return Ok(()) };
        let size = disk.fragment_size();
        let (all, free) = (disk.blocks().saturating_mul(size), disk.blocks_available().saturating_mul(size));
        let kept = (all / reserve.one_in.max(1)).min(reserve.at_most);
        if free.saturating_sub(kept) >= bytes { Ok(()) } else { Err(StorageError::Reserved { kept }) }
    }

    /// Whether the disk can hold one more file, and those that are left to others: files without a byte fill a disk as well.
    pub(crate) fn check_files(&self) -> Result<(), StorageError> {
        let Some((path, reserve)) = &self.reserve else { return Ok(()) };
        let Ok(disk) = nix::sys::statvfs::statvfs(path) else { return Ok(()) };
        // A file system that has no fixed number of files tells of none at all.
        let (all, free) = (disk.files(), disk.files_available());
        let kept = (all / reserve.one_in.max(1)).min(reserve.at_most / SMALL_FILE);
        if all == 0 || free > kept { Ok(()) } else { Err(StorageError::NoMoreFiles { kept }) }
    }

    /// Gives the room of `bytes` back that are gone.
    pub(crate) fn give_back(&self, bytes: u64) {
        // Never below zero, so that a file counted twice cannot make the room endless.
        let _ = self.used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |used| Some(used.saturating_sub(bytes)));
    }
}
