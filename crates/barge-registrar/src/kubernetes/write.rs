//! Writes the pods' conditions: what differs, a bounded number at once, and again with a pause where it fails.
//!
//! What a pod says is compared with what is acknowledged, whoever has written it: nothing depends on an event that might be lost, or on what was
//! written before a restart.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use barge_crds::GROUP;
use barge_model::registration::Acknowledgements;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, Patch, PatchParams};
use kube::core::Status;
use kube::runtime::reflector::ObjectRef;
use kube::{Client, ResourceExt};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use super::condition::{self, Change, Says};
use super::view::View;

/// So many are written at once.
const AT_ONCE: usize = 16;
/// One write takes no longer.
const LIMIT: Duration = Duration::from_secs(10);
/// News of a moment are looked at together.
const SETTLE: Duration = Duration::from_millis(20);
/// How often all pods are looked at, and people are told what an instance waits for.
const INTERVAL: Duration = Duration::from_secs(1);
/// The watch tells of what was written within this time, or somebody else has written.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest pause after a failure.
const MAX_PAUSE: Duration = Duration::from_secs(10);
/// So many failures of one pod in a row are told of.
const FAILURES: u32 = 3;

/// What became of the writes to a pod.
#[derive(Debug, Default)]
struct Writes {
    written: Option<(Says, Instant)>,
    failures: u32,
    not_before: Option<Instant>,
}

/// How a write ended.
#[derive(Debug)]
enum Ended {
    Written,
    /// There is no such pod any more, or somebody was faster.
    Pointless,
    Failed {
        why: String,
        /// How long the API server wants to be left alone.
        pause: Option<Duration>,
    },
}

/// Writes conditions until it is dropped.
pub(crate) struct Writer {
    client: Client,
    view: View,
    acknowledgements: watch::Receiver<Acknowledgements>,
    trouble: watch::Sender<Option<String>>,
    /// By the pod's UID.
    writes: HashMap<String, Writes>,
    queue: VecDeque<ObjectRef<Pod>>,
    /// Those in the queue.
    queued: HashSet<ObjectRef<Pod>>,
    /// Those being written.
    under_way: HashSet<String>,
    running: JoinSet<(String, Says, Ended)>,
}

impl Writer {
    /// A writer, and why it cannot write, while it cannot.
    pub(crate) fn new(
        client: Client,
        view: View,
        acknowledgements: watch::Receiver<Acknowledgements>,
    ) -> (Self, watch::Receiver<Option<String>>) {
        let trouble = watch::Sender::new(None);
        let told = trouble.subscribe();
        let (writes, queue, queued, under_way) = Default::default();
        let running = JoinSet::new();
        (Self { client, view, acknowledgements, trouble, writes, queue, queued, under_way, running }, told)
    }

    /// Runs until it is dropped.
    pub(crate) async fn run(mut self) {
        let mut tick = tokio::time::interval(INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut look_at: Option<Instant> = None;
        loop {
            let settled = look_at.unwrap_or_else(Instant::now);
            tokio::select! {
                changed = self.acknowledgements.changed() => match changed {
                    Ok(()) => _ = look_at.get_or_insert(Instant::now() + SETTLE),
                    Err(_) => return,
                },
                changed = self.view.wanted.changed() => match changed {
                    Ok(()) => _ = look_at.get_or_insert(Instant::now() + SETTLE),
                    Err(_) => return,
                },
                Some(ended) = self.running.join_next() => {
                    if let Ok((uid, says, ended)) = ended {
                        self.take(&uid, says, ended);
                    }
                    // Meanwhile something else may be to be said.
                    look_at.get_or_insert(Instant::now() + SETTLE);
                }
                () = tokio::time::sleep_until(settled), if look_at.is_some() => {
                    look_at = None;
                    self.look(false);
                }
                _ = tick.tick() => {
                    look_at = None;
                    self.look(true);
                }
            }
            self.start();
        }
    }

    /// Finds out to whom something has to be written; `all` also finds what is only for people.
    fn look(&mut self, all: bool) {
        let pods = self.view.pods.state();
        let acknowledgements = self.acknowledgements.borrow_and_update();
        for pod in &pods {
            let change = condition::change(pod, &acknowledgements);
            if change.is_some_and(|change| all || change.is_urgent()) {
                let pod = ObjectRef::from_obj(pod.as_ref());
                if self.queued.insert(pod.clone()) {
                    self.queue.push_back(pod);
                }
            }
        }
        drop(acknowledgements);
        if all {
            let there: HashSet<String> = pods.iter().filter_map(|pod| pod.uid()).collect();
            self.writes.retain(|uid, _| there.contains(uid));
            self.tell();
        }
    }

    /// Begins as many writes as there is room for, each with what is to be said now.
    fn start(&mut self) {
        while self.running.len() < AT_ONCE
            && let Some(pod) = self.queue.pop_front()
        {
            self.queued.remove(&pod);
            let Some(pod) = self.view.pods.get(&pod) else { continue };
            let change = condition::change(&pod, &self.acknowledgements.borrow());
            let Some(change) = change.filter(|change| self.is_due(change)) else { continue };
            self.under_way.insert(change.uid.clone());
            let api: Api<Pod> = Api::namespaced(self.client.clone(), &change.namespace);
            self.running.spawn(async move { (change.uid.clone(), change.says, write(&api, &change).await) });
        }
    }

    fn is_due(&self, change: &Change) -> bool {
        if self.under_way.contains(&change.uid) {
            return false;
        }
        let Some(writes) = self.writes.get(&change.uid) else { return true };
        let lately = writes.written.is_some_and(|(says, at)| says == change.says && at.elapsed() < PATIENCE);
        !lately && writes.not_before.is_none_or(|at| Instant::now() >= at)
    }

    fn take(&mut self, uid: &str, says: Says, ended: Ended) {
        self.under_way.remove(uid);
        let writes = self.writes.entry(uid.to_owned()).or_default();
        match ended {
            Ended::Written => *writes = Writes { written: Some((says, Instant::now())), ..Writes::default() },
            Ended::Pointless => writes.not_before = Some(Instant::now() + INTERVAL),
            Ended::Failed { why, pause } => {
                writes.failures = writes.failures.saturating_add(1);
                let own = Duration::from_millis(100 << writes.failures.min(7)).min(MAX_PAUSE);
                writes.not_before = Some(Instant::now() + pause.map_or(own, |pause| pause.max(own)));
                tracing::warn!(uid, error = why, "the condition of a pod could not be written; it is tried again");
            }
        }
    }

    /// Says what is wrong where pods are not told again and again.
    fn tell(&self) {
        let failing = self.writes.values().filter(|writes| writes.failures >= FAILURES).count();
        let trouble = (failing > 0).then(|| {
            format!("the API server does not take the conditions of {failing} pods; hint: kubectl auth can-i patch pods/status")
        });
        self.trouble.send_if_modified(|before| {
            let changed = *before != trouble;
            *before = trouble;
            changed
        });
    }
}

/// Whether the pod that is meant is gone, or somebody was faster. Another pod of the same name is told by its UID, which no patch may change.
fn is_pointless(status: &Status) -> bool {
    let causes = status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
    let other = status.is_invalid() && causes.iter().any(|cause| cause.field == "metadata.uid");
    other || status.is_not_found() || status.is_conflict()
}

async fn write(api: &Api<Pod>, change: &Change) -> Ended {
    let parameters = PatchParams { field_manager: Some(format!("registrar.{GROUP}")), ..PatchParams::default() };
    let patch = Patch::Strategic(change.patch(&Time(k8s_openapi::jiff::Timestamp::now())));
    match tokio::time::timeout(LIMIT, api.patch_status(&change.pod, &parameters, &patch)).await {
        Ok(Ok(_)) => Ended::Written,
        Ok(Err(kube::Error::Api(status))) if is_pointless(&status) => Ended::Pointless,
        Ok(Err(kube::Error::Api(status))) => {
            let seconds = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
            let pause = Some(Duration::from_secs(seconds.into())).filter(|pause| !pause.is_zero());
            Ended::Failed { why: status.message.clone(), pause: pause.map(|pause| pause.min(MAX_PAUSE)) }
        }
        Ok(Err(error)) => Ended::Failed { why: barge_runtime::chain(&error), pause: None },
        Err(_) => Ended::Failed { why: "no answer in time".to_owned(), pause: None },
    }
}
