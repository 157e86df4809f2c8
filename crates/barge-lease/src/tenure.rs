//! How long somebody may still act as the leader.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Moment;

/// The lead of one epoch. Whoever has it asks before each write whether it still holds.
#[derive(Debug, Clone)]
pub struct Tenure {
    epoch: u64,
    /// In milliseconds since the machine was started.
    until: Arc<AtomicU64>,
}

impl Tenure {
    /// One that begins.
    pub fn new(epoch: u64, until: Moment) -> Self {
        Self { epoch, until: Arc::new(AtomicU64::new(until.as_millis())) }
    }

    /// For whoever is alone, such as in a test.
    pub fn of_one_alone() -> Self {
        Self { epoch: 0, until: Arc::new(AtomicU64::new(u64::MAX)) }
    }

    /// Which one it is; later ones have higher numbers.
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether it goes on at a moment.
    pub fn holds(&self, now: Moment) -> bool {
        now.as_millis() < self.until.load(Ordering::SeqCst)
    }

    /// How long it still lasts without news.
    pub fn left(&self, now: Moment) -> Duration {
        Duration::from_millis(self.until.load(Ordering::SeqCst).saturating_sub(now.as_millis()))
    }

    pub(crate) fn extend(&self, until: Moment) {
        self.until.fetch_max(until.as_millis(), Ordering::SeqCst);
    }

    /// At once, for everybody who has it.
    pub(crate) fn end(&self) {
        self.until.store(0, Ordering::SeqCst);
    }
}
