//! Instances that vanished from the engine's list many at once (R4). Nobody knows whether they are gone or the list is wrong, so each
//! of them stays until its address has refused connections for a while: nothing serves there then, and nobody loses anything.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use barge_model::InstanceId;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// So many refused connections in a row, and over the time that is configured, prove that nothing serves at an address.
const REFUSALS: u32 = 3;
/// Within that time each address is asked so often.
const QUESTIONS: u32 = 6;
/// An address that says nothing for so long does not refuse.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);

/// What the address of one instance has refused so far, without an exception in between.
#[derive(Debug, Default)]
struct Refused {
    count: u32,
    since: Option<Instant>,
}

impl Refused {
    fn note(&mut self, refused: bool) {
        if refused {
            self.count = self.count.saturating_add(1);
            self.since.get_or_insert_with(Instant::now);
        } else {
            *self = Self::default();
        }
    }

    fn proves_its_end(&self, refused_for: Duration) -> bool {
        self.count >= REFUSALS && self.since.is_some_and(|since| since.elapsed() >= refused_for)
    }
}

/// The instances in doubt.
#[derive(Debug)]
pub(crate) struct Vanished {
    refused_for: Duration,
    instances: BTreeMap<InstanceId, Refused>,
    /// Which address was asked, and whether it refused.
    checks: JoinSet<(InstanceId, bool)>,
    checked_at: Option<Instant>,
}

impl Vanished {
    /// Nobody is in doubt. An instance whose address has refused connections for the time `refused_for` is gone.
    pub(crate) fn new(refused_for: Duration) -> Self {
        Self { refused_for, instances: BTreeMap::new(), checks: JoinSet::new(), checked_at: None }
    }

    /// Takes in which instances are missing now, and which of those are too many at once to be believed. One that is in doubt stays so
    /// for as long as it is missing, however few are left of the others.
    pub(crate) fn update(&mut self, missing: &BTreeSet<InstanceId>, too_many: BTreeSet<InstanceId>) {
        self.instances.retain(|id, _| missing.contains(id));
        for id in too_many {
            self.instances.entry(id).or_default();
        }
    }

    /// Whether the end of a missing instance is beyond doubt.
    pub(crate) fn may_go(&self, id: &InstanceId) -> bool {
        self.instances.get(id).is_none_or(|refused| refused.proves_its_end(self.refused_for))
    }

    /// What people have to know, and do, while instances are in doubt.
    pub(crate) fn alarm(&self, known: usize) -> Option<String> {
        let count = self.instances.len();
        (count > 0).then(|| {
            format!(
                "{count} of {known} instances vanished at once; each is removed once its address has refused connections for {} s, so \
                 end the processes that should go",
                self.refused_for.as_secs()
            )
        })
    }

    /// Begins to ask every address, unless that was done a moment ago, or the last questions are not answered yet.
    pub(crate) fn start_checks(&mut self, address: impl Fn(&InstanceId) -> Option<SocketAddr>) {
        let lately = self.checked_at.is_some_and(|at| at.elapsed() < self.refused_for / QUESTIONS);
        if self.instances.is_empty() || lately || !self.checks.is_empty() {
            return;
        }
        self.checked_at = Some(Instant::now());
        for id in self.instances.keys() {
            if let Some(address) = address(id) {
                let id = id.clone();
                self.checks.spawn(async move { (id, refuses(address).await) });
            }
        }
    }

    /// Waits for the next answer and takes it in; nothing where no question is open.
    pub(crate) async fn take_check(&mut self) -> Option<()> {
        // A question that broke is one without an answer.
        if let Ok((id, refused)) = self.checks.join_next().await?
            && let Some(known) = self.instances.get_mut(&id)
        {
            known.note(refused);
        }
        Some(())
    }

    /// Ends what is under way.
    pub(crate) async fn shutdown(&mut self) {
        self.checks.shutdown().await;
    }
}

async fn refuses(address: SocketAddr) -> bool {
    let asked = tokio::task::spawn_blocking(move || std::net::TcpStream::connect_timeout(&address, CONNECT_LIMIT));
    matches!(asked.await, Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused)
}
