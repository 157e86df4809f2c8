//! How many files this process may have open: every connection is one, those between the gateway and instances included.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// More than a platform on one machine needs.
const ENOUGH: u64 = 65_536;
/// For everything but connections: databases, logs, images, programs that are started.
const OTHERS: u64 = 256;
/// What each thread of the gateway has for itself: its listener, and how it hears of news.
const OF_THREAD: u64 = 6;

/// What may be open.
#[derive(Debug, Clone, Copy)]
pub(super) struct OpenFiles {
    /// The limit that we were started with, which instances get as theirs.
    pub(super) before: Option<u64>,
    /// How many connections of clients the gateway may have, and as many again after an upgrade. It has at most as many with instances as
    /// both together, so that each of these is four files.
    pub(super) gateway_connections: usize,
    /// How many connections API and registry may have, each.
    pub(super) api_connections: usize,
}

/// Raises this process's limit as far as it may go, and shares out what there is.
pub(super) fn raise() -> OpenFiles {
    // Where nothing is known, the smallest usual limit is taken for it.
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((1024, 1024));
    let wanted = hard.min(ENOUGH).max(soft);
    let limit = match setrlimit(Resource::RLIMIT_NOFILE, wanted, hard) {
        Ok(()) => wanted,
        Err(_) => soft,
    };
    let threads = u64::try_from(super::usual_threads().get()).unwrap_or(u64::MAX);
    let others = OTHERS.saturating_add(threads.saturating_mul(OF_THREAD));
    let room = limit.saturating_sub(others.min(limit / 2));
    let share = |parts: u64| usize::try_from(room / parts).unwrap_or(usize::MAX);
    OpenFiles { before: Some(soft), gateway_connections: share(6).min(10_000), api_connections: share(8).min(8_000) }
}
