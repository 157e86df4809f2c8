//! The registry's limit of space, kept by counting what is written and what is removed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::StorageError;

/// The bytes of all blobs and uploads. Whoever writes takes first, so that many at once cannot pass the limit together.
#[derive(Debug, Clone)]
pub(crate) struct Space {
    used: Arc<AtomicU64>,
    limit: u64,
}

impl Space {
    pub(crate) fn new(used: u64, limit: u64) -> Self {
        Self { used: Arc::new(used.into()), limit }
    }

    /// Takes room for `bytes`, or none at all.
    pub(crate) fn take(&self, bytes: u64) -> Result<(), StorageError> {
        let fits = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.limit);
        match self.used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fits) {
            Ok(_) => Ok(()),
            Err(_) => Err(StorageError::Full { limit: self.limit }),
        }
    }

    /// Gives the room of `bytes` back that are gone.
    pub(crate) fn give_back(&self, bytes: u64) {
        // Never below zero, so that a file counted twice cannot make the room endless.
        let _ = self.used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |used| Some(used.saturating_sub(bytes)));
    }
}
