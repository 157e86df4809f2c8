//! What people read with `kubectl describe` and `kubectl events`: what has changed between two statuses, in words.
//!
//! Told after the status was stored. Whoever is killed between the two has told nothing, and nobody tells it later: an event is a hint, the status
//! is what counts.

use std::time::Duration;

use barge_crds::status::{FinishedStatus, OutcomeStatus, PhaseStatus};
use barge_crds::{GROUP, ServiceResource, ServiceStatus};
use futures_util::StreamExt;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::status::MADE;

/// Telling takes no longer.
const LIMIT: Duration = Duration::from_secs(2);
/// So many are told at once.
const AT_ONCE: usize = 4;
/// So many may wait to be told.
const WAITING: usize = 10_000;
/// The longest note that Kubernetes takes has 1,024 bytes.
const MOST: usize = 1000;

/// One thing to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// It is nothing to be glad of.
    pub warning: bool,
    /// In one word.
    pub reason: &'static str,
    /// What was done.
    pub action: &'static str,
    /// As a sentence.
    pub note: String,
}

/// Where a service says what is to be told; nobody waits for that.
pub(crate) struct Events(mpsc::Sender<(Event, ObjectReference)>);

impl Events {
    /// The other end goes to [`tell`].
    pub(crate) fn new() -> (Self, mpsc::Receiver<(Event, ObjectReference)>) {
        let (to, from) = mpsc::channel(WAITING);
        (Self(to), from)
    }

    pub(crate) fn of(&self, resource: &impl ServiceResource, all: Vec<Told>) {
        let reference = resource.object_ref(&());
        for told in all {
            let event = Event {
                type_: if told.warning { EventType::Warning } else { EventType::Normal },
                reason: told.reason.to_owned(),
                action: told.action.to_owned(),
                note: Some(told.note),
                secondary: None,
            };
            if self.0.try_send((event, reference.clone())).is_err() {
                tracing::warn!(reason = told.reason, "more events than can be told");
            }
        }
    }
}

/// Tells people until it is dropped.
pub(crate) async fn tell(client: Client, identity: Option<String>, events: mpsc::Receiver<(Event, ObjectReference)>) {
    let recorder = Recorder::new(client, Reporter { controller: format!("operator.{GROUP}"), instance: identity });
    let telling = ReceiverStream::new(events).for_each_concurrent(AT_ONCE, |(event, reference)| {
        let recorder = recorder.clone();
        async move {
            match tokio::time::timeout(LIMIT, recorder.publish(&event, &reference)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, reason = event.reason, "an event was not taken"),
                Err(_) => tracing::warn!(reason = event.reason, "an event was not taken in time"),
            }
        }
    });
    telling.await;
}

/// What has happened from one status to the next, in the order of a release.
pub fn told(before: &ServiceStatus, after: &ServiceStatus) -> Vec<Told> {
    let mut all = Vec::new();
    all.extend(sense(before, after));
    all.extend(ends(before, after));
    all.extend(begin(before, after));
    all.extend(gate(before, after));
    all.extend(frozen(before, after));
    all.extend(made(before, after));
    all.extend(held(before, after));
    for told in &mut all {
        told.note = cut(&told.note);
    }
    all
}

fn cut(note: &str) -> String {
    let end = (0..=MOST.min(note.len())).rev().find(|at| note.is_char_boundary(*at)).unwrap_or(0);
    note[..end].to_owned()
}

fn normal(reason: &'static str, action: &'static str, note: String) -> Told {
    Told { warning: false, reason, action, note }
}

fn warning(reason: &'static str, action: &'static str, note: String) -> Told {
    Told { warning: true, reason, action, note }
}

/// Kubernetes refuses to make instances.
fn made(before: &ServiceStatus, after: &ServiceStatus) -> Option<Told> {
    let refused = |status: &ServiceStatus| {
        let made = status.conditions.iter().find(|condition| condition.type_ == MADE && condition.status == "False")?;
        Some(made.message.clone())
    };
    let why = refused(after).filter(|_| refused(before).is_none())?;
    Some(warning("InstancesRefused", "Make", format!("Kubernetes makes no instance: {why}")))
}

fn sense(before: &ServiceStatus, after: &ServiceStatus) -> Option<Told> {
    let nonsense = |status: &ServiceStatus| {
        let accepted = status.conditions.iter().find(|condition| condition.type_ == "Accepted")?;
        (accepted.status == "False").then(|| accepted.message.clone())
    };
    let why = nonsense(after).filter(|why| nonsense(before).as_ref() != Some(why))?;
    Some(warning(
        "NotAccepted",
        "Read",
        format!("the specification makes no sense, and what runs is left alone: {why}"),
    ))
}

fn ends<'a>(before: &'a ServiceStatus, after: &'a ServiceStatus) -> impl Iterator<Item = Told> + 'a {
    let is_new = |end: &&FinishedStatus| !before.history.contains(end);
    after.history.iter().filter(is_new).map(move |end| {
        let release = &end.release;
        let serves = match &after.stable {
            Some(stable) if stable != release => format!("; release {stable} serves"),
            _ => String::new(),
        };
        match end.outcome {
            OutcomeStatus::Promoted => {
                normal("Promoted", "Finish", format!("release {release} serves: it is stable now"))
            }
            OutcomeStatus::Aborted => normal("Aborted", "Abort", format!("release {release} was aborted{serves}")),
            OutcomeStatus::Superseded => {
                normal("Superseded", "Replace", format!("a newer release has taken the place of release {release}"))
            }
            OutcomeStatus::RolledBack => {
                normal("RolledBack", "RollBack", format!("release {release} was rolled back{serves}"))
            }
            OutcomeStatus::StartFailed => {
                let instance = end.instance.as_deref().unwrap_or("an instance");
                let why = after.instances.iter().find(|one| Some(&one.id) == end.instance.as_ref());
                let why = why.and_then(|one| one.reason.as_deref()).map(|why| format!(": {why}")).unwrap_or_default();
                warning(
                    "StartFailed",
                    "Hold",
                    format!("release {release} failed{serves}; {instance} could not start and is kept for a look{why}"),
                )
            }
            OutcomeStatus::DeadlineExceeded => {
                let (available, needed) = (end.available.unwrap_or(0), end.needed.unwrap_or(0));
                let note = format!(
                    "release {release} came no further before its deadline ({available} of {needed} available){serves}"
                );
                warning("DeadlineExceeded", "Fail", note)
            }
        }
    })
}

fn begin(before: &ServiceStatus, after: &ServiceStatus) -> Option<Told> {
    let release = after.candidate.as_ref().filter(|release| before.candidate.as_ref() != Some(release))?;
    let beside = after.stable.as_ref().map(|stable| format!(" beside release {stable}")).unwrap_or_default();
    Some(normal("ReleaseBegun", "Start", format!("release {release} begins with its first instances{beside}")))
}

fn gate(before: &ServiceStatus, after: &ServiceStatus) -> Option<Told> {
    let release = after.candidate.as_ref()?;
    let progress = after.progress.as_ref()?;
    let same = before.candidate.as_ref() == Some(release);
    let earlier = before.progress.as_ref().filter(|_| same);
    let was_open = earlier.is_some_and(|progress| progress.approval.is_some());
    if let Some(approval) = progress.approval.as_ref().filter(|_| !was_open) {
        return Some(normal(
            "Approved",
            "Approve",
            format!("{} approved release {release}: the rest follows", approval.by),
        ));
    }
    let at_the_gate = |phase: PhaseStatus| phase == PhaseStatus::Gate;
    let waits = at_the_gate(progress.phase) && after.waiting_on.on == "approval";
    let waited = earlier.is_some_and(|progress| at_the_gate(progress.phase)) && before.waiting_on.on == "approval";
    (waits && !waited).then(|| {
        normal(
            "WaitingForApproval",
            "Gate",
            format!("release {release} runs in its first instances and waits for approval"),
        )
    })
}

fn frozen(before: &ServiceStatus, after: &ServiceStatus) -> Option<Told> {
    let is = |status: &ServiceStatus| status.progress.as_ref().is_some_and(|progress| progress.frozen);
    match (is(before), is(after)) {
        (false, true) => {
            Some(warning("Frozen", "Wait", format!("the release stands still: {}", after.waiting_on.message)))
        }
        (true, false) if after.candidate.is_some() => {
            Some(normal("Unfrozen", "Continue", "registrations go through again: the release goes on".to_owned()))
        }
        _ => None,
    }
}

/// Those that are held for another reason than the end of their release, which tells of them itself.
fn held<'a>(before: &'a ServiceStatus, after: &'a ServiceStatus) -> impl Iterator<Item = Told> + 'a {
    let told_of = |id: &str| after.history.iter().any(|end| end.instance.as_deref() == Some(id));
    let was = |id: &str| before.instances.iter().any(|one| one.id == id && one.phase == "held");
    let new = after.instances.iter().filter(move |one| one.phase == "held" && !was(&one.id) && !told_of(&one.id));
    new.map(|one| {
        let why = one.reason.as_deref().unwrap_or("it does not say why");
        warning(
            "Held",
            "Hold",
            format!("pod {} of release {} could not start and is kept for a look: {why}", one.pod, one.release),
        )
    })
}
