//! Who leads: a pure function of the Lease as it was read, of when it was read first like this, and of the time.

use std::time::Duration;

use crate::clock::Moment;

/// A Lease that has not changed for so long is anybody's.
pub const DURATION: Duration = Duration::from_secs(15);
/// A leader that has not renewed for so long does nothing more, well before anybody else may begin.
pub const RENEW_WITHIN: Duration = Duration::from_secs(10);
/// Between two looks at the Lease.
pub const INTERVAL: Duration = Duration::from_secs(2);

/// The part of a Lease that decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Which version of the object it is.
    pub version: String,
    /// Who holds it; empty where it was given back.
    pub holder: String,
    /// How often it has changed hands.
    pub epoch: u64,
    /// How long it is the holder's without news of him.
    pub duration: Duration,
}

/// A Lease, and when it was seen first in this version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The Lease.
    pub record: Record,
    /// Since when it is like this, on the clock of whoever has seen it.
    pub since: Moment,
}

/// What to do about the Lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// There is none: make it, in the first epoch.
    Create,
    /// It is anybody's: take it in this version, in the next epoch.
    Take {
        /// The version that was read.
        version: String,
        /// The epoch that begins.
        epoch: u64,
    },
    /// It is one's own: say so anew, in this version.
    Renew {
        /// The version that was read.
        version: String,
        /// The epoch that goes on.
        epoch: u64,
    },
    /// It is somebody else's.
    Wait,
}

/// Takes over what was read: the time of a version is that of its first sight.
pub fn see(before: Option<Seen>, record: Option<Record>, now: Moment) -> Option<Seen> {
    match (before, record?) {
        (Some(before), record) if before.record == record => Some(before),
        (_, record) => Some(Seen { record, since: now }),
    }
}

/// What `own` does about the Lease. `leads` is the epoch in which it leads at this moment: a holder's name alone is no proof, since a process that was
/// started again under the same name knows nothing of what the one before it was doing.
pub fn decide(own: &str, leads: Option<u64>, seen: Option<&Seen>, now: Moment) -> Decision {
    let Some(Seen { record, since }) = seen else { return Decision::Create };
    let version = record.version.clone();
    if record.holder == own && leads == Some(record.epoch) {
        return Decision::Renew { version, epoch: record.epoch };
    }
    let free = record.holder.is_empty() || record.holder == own || now.since(*since) >= record.duration;
    match free {
        true => Decision::Take { version, epoch: record.epoch.saturating_add(1) },
        false => Decision::Wait,
    }
}
