//! Instances that vanished from the engine's list many at once (R4). Nobody knows whether they are gone or the list is wrong, so each
//! of them stays until its address has refused connections for a while: nothing serves there then, and nobody loses anything. Where addresses go with
//! their instances, as those of pods do, nobody is left to refuse, and a longer silence says the same.

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

/// What an address says to whoever connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    /// Somebody is there.
    Accepted,
    /// Nobody listens.
    Refused,
    /// Nothing at all, or that there is no way.
    Nothing,
}

/// The same answer again and again, without an exception in between.
#[derive(Debug, Default)]
struct Row {
    count: u32,
    since: Option<Instant>,
}

impl Row {
    fn note(&mut self, fits: bool) {
        if fits {
            self.count = self.count.saturating_add(1);
            self.since.get_or_insert_with(Instant::now);
        } else {
            *self = Self::default();
        }
    }

    fn lasts(&self, time: Duration) -> bool {
        self.count >= REFUSALS && self.since.is_some_and(|since| since.elapsed() >= time)
    }
}

/// What the address of one instance has said so far.
#[derive(Debug, Default)]
struct Doubt {
    refused: Row,
    /// Refused, or silent.
    unanswered: Row,
}

impl Doubt {
    fn note(&mut self, said: Said) {
        self.refused.note(said == Said::Refused);
        self.unanswered.note(said != Said::Accepted);
    }
}

/// The instances in doubt.
#[derive(Debug)]
pub(crate) struct Vanished {
    refused_for: Duration,
    silent_for: Option<Duration>,
    instances: BTreeMap<InstanceId, Doubt>,
    /// Which address was asked, and what it said.
    checks: JoinSet<(InstanceId, Said)>,
    checked_at: Option<Instant>,
}

impl Vanished {
    /// Nobody is in doubt. An instance whose address has refused connections for the time `refused_for` is gone.
    pub(crate) fn new(refused_for: Duration) -> Self {
        Self { refused_for, silent_for: None, instances: BTreeMap::new(), checks: JoinSet::new(), checked_at: None }
    }

    /// From now on one is gone as well when its address has said nothing for so long.
    pub(crate) fn believe_silence(&mut self, silent_for: Duration) {
        self.silent_for = Some(silent_for);
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
        let Some(doubt) = self.instances.get(id) else { return true };
        doubt.refused.lasts(self.refused_for) || self.silent_for.is_some_and(|time| doubt.unanswered.lasts(time))
    }

    /// What people have to know, and do, while instances are in doubt.
    pub(crate) fn alarm(&self, known: usize) -> Option<String> {
        let count = self.instances.len();
        (count > 0).then(|| {
            let silent = self.silent_for.map(|time| format!(", or said nothing for {} s", time.as_secs()));
            format!(
                "{count} of {known} instances vanished at once; each is removed once its address has refused connections for {} s{}, so \
                 end the processes that should go",
                self.refused_for.as_secs(),
                silent.unwrap_or_default()
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
                self.checks.spawn(async move { (id, ask(address).await) });
            }
        }
    }

    /// Waits for the next answer and takes it in; nothing where no question is open.
    pub(crate) async fn take_check(&mut self) -> Option<()> {
        // A question that broke is one without an answer.
        if let Ok((id, said)) = self.checks.join_next().await?
            && let Some(known) = self.instances.get_mut(&id)
        {
            known.note(said);
        }
        Some(())
    }

    /// Ends what is under way.
    pub(crate) async fn shutdown(&mut self) {
        self.checks.shutdown().await;
    }
}

async fn ask(address: SocketAddr) -> Said {
    let asked = tokio::task::spawn_blocking(move || std::net::TcpStream::connect_timeout(&address, CONNECT_LIMIT));
    match asked.await {
        Ok(Ok(_)) => Said::Accepted,
        Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => Said::Refused,
        Ok(Err(error)) if is_silence(&error) => Said::Nothing,
        // What we lack ourselves says nothing of others.
        Ok(Err(_)) | Err(_) => Said::Accepted,
    }
}

fn is_silence(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable)
}
