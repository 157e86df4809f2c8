//! What has changed between two looks at a service, told once, as a person who waits for a release wants to hear it.
//!
//! Pure: statuses in, lines and the release's position out.

use std::collections::BTreeMap;

use barge_api::{InstanceView, ServiceStatus};
use barge_model::rollout::{InstancePhase, Outcome, Phase, WaitingOn};
use barge_model::{InstanceId, ReleaseId};

use crate::terminal::{Style, printable};

/// Services with more instances than this are told of in numbers and not one by one.
const ONE_BY_ONE: u32 = 30;

/// Where a release stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Position {
    /// The engine has not begun with it.
    Pending,
    /// Its first batch is starting.
    Starting,
    /// Its first batch runs; it waits for an approval or is observed.
    Gate,
    /// It has passed its gate.
    GoingOn,
    /// It is the stable release.
    Complete,
    /// It is over and never became stable.
    Ended(Outcome),
}

/// Where `release` stands.
pub(crate) fn position(status: &ServiceStatus, release: &ReleaseId) -> Position {
    if let Some(candidate) = status.candidate.as_ref().filter(|candidate| candidate.release == *release) {
        return match candidate.phase {
            Phase::Starting => Position::Starting,
            Phase::Gate => Position::Gate,
            Phase::Progressing { .. } | Phase::Pausing { .. } => Position::GoingOn,
        };
    }
    if status.stable.as_ref() == Some(release) {
        return Position::Complete;
    }
    match status.finished.iter().rev().find(|finished| finished.release == *release) {
        Some(finished) if finished.outcome == Outcome::Promoted => Position::Complete,
        Some(finished) => Position::Ended(finished.outcome.clone()),
        None => Position::Pending,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Starting,
    Ready,
    Available,
    Held,
    Crashed,
    Draining,
}

fn state(view: &InstanceView) -> State {
    match view.phase {
        InstancePhase::Starting => State::Starting,
        InstancePhase::Ready if view.online => State::Available,
        InstancePhase::Ready => State::Ready,
        InstancePhase::Held => State::Held,
        InstancePhase::BackOff => State::Crashed,
        InstancePhase::Draining => State::Draining,
    }
}

/// A line to show.
pub(crate) type Line = (Style, String);

/// A step of the release that has begun or ended, if one has.
#[derive(Debug, Default)]
struct Step {
    begins: bool,
    line: Option<Line>,
}

/// What was told already.
#[derive(Debug)]
pub(crate) struct Changes {
    release: ReleaseId,
    seen: BTreeMap<InstanceId, State>,
    phase: Option<Phase>,
    frozen: bool,
    begun: bool,
}

impl Changes {
    /// Nothing was told yet about `release`.
    pub(crate) fn of(release: &ReleaseId) -> Self {
        Self { release: release.clone(), seen: BTreeMap::new(), phase: None, frozen: false, begun: false }
    }

    /// What is new in `status`.
    pub(crate) fn take(&mut self, status: &ServiceStatus) -> Vec<Line> {
        let mut lines = Vec::new();
        self.freezing(status, &mut lines);
        // A step that begins comes before what it brings, a step that ends after what has brought it.
        let step = self.step(status);
        let (before, after) = if step.begins { (step.line, None) } else { (None, step.line) };
        lines.extend(before);
        let one_by_one = status.replicas <= ONE_BY_ONE;
        let mut seen = BTreeMap::new();
        for view in &status.instances {
            let now = state(view);
            let before = self.seen.get(&view.id).copied();
            seen.insert(view.id.clone(), now);
            if before == Some(now) {
                continue;
            }
            let own = view.release == self.release;
            let line = if own { self.own_instance(view, status) } else { self.other_instance(view) };
            // A failed start is told whatever the number of instances.
            lines.extend(line.filter(|_| one_by_one || now == State::Held));
        }
        if one_by_one {
            let gone = self.seen.keys().filter(|id| !seen.contains_key(*id));
            lines.extend(gone.map(|id| (Style::Dim, format!("instance {} is gone", id.short()))));
        }
        self.seen = seen;
        lines.extend(after);
        self.begun = true;
        lines
    }

    fn own_instance(&self, view: &InstanceView, status: &ServiceStatus) -> Option<Line> {
        let name = view.id.short();
        let ended = view.ended.as_deref().filter(|_| state(view) == State::Crashed);
        let why = view.reason.as_deref().or(ended);
        let because = why.map(|why| format!(": {}", printable(why))).unwrap_or_default();
        let place = view.address.as_deref().map(|address| format!(" at {address}")).unwrap_or_default();
        Some(match state(view) {
            State::Starting => (Style::Plain, format!("instance {name} is starting")),
            State::Ready => (Style::Plain, format!("instance {name} is ready{place}; going online")),
            State::Available => {
                let of_release = |view: &&InstanceView| view.release == self.release && state(view) == State::Available;
                let available = status.instances.iter().filter(of_release).count();
                (Style::Green, format!("instance {name} is available{place} ({available} of {})", status.replicas))
            }
            State::Held => (Style::Red, format!("instance {name} could not start and is held{because}")),
            State::Crashed => (Style::Red, format!("instance {name} crashed and is started again{because}")),
            State::Draining => (Style::Dim, format!("instance {name} is being taken out of traffic")),
        })
    }

    /// Of other releases only what ends is of interest, and only what ends from now on.
    fn other_instance(&self, view: &InstanceView) -> Option<Line> {
        let ends = self.begun && state(view) == State::Draining;
        ends.then(|| (Style::Dim, format!("old instance {} is being taken out of traffic", view.id.short())))
    }

    fn step(&mut self, status: &ServiceStatus) -> Step {
        let candidate = status.candidate.as_ref().filter(|candidate| candidate.release == self.release);
        let phase = candidate.map(|candidate| candidate.phase.clone());
        if phase == self.phase {
            return Step::default();
        }
        let ends = |style, text: &str| Step { begins: false, line: Some((style, text.to_owned())) };
        let begins = |style, text: &str| Step { begins: true, line: Some((style, text.to_owned())) };
        let step = match &phase {
            Some(Phase::Gate) => ends(Style::Yellow, "the first instance runs; the gate is closed"),
            Some(Phase::Progressing { batch: 0 }) => begins(Style::Green, "the gate is open; the rest follows"),
            Some(Phase::Progressing { batch }) => begins(Style::Plain, &format!("batch {} begins", batch + 1)),
            Some(Phase::Pausing { batch }) => ends(Style::Plain, &format!("batch {} is complete", batch + 1)),
            Some(Phase::Starting) if self.phase == Some(Phase::Gate) => {
                begins(Style::Yellow, "the observed instance changed; the first batch starts anew")
            }
            Some(Phase::Starting) | None => Step::default(),
        };
        self.phase = phase;
        step
    }

    fn freezing(&mut self, status: &ServiceStatus, lines: &mut Vec<Line>) {
        let frozen = matches!(status.waiting_on, WaitingOn::Registrar { .. });
        if frozen && !self.frozen {
            lines.push((Style::Red, status.sentence.clone()));
        } else if !frozen && self.frozen {
            lines.push((Style::Plain, "instances can be registered again; the release goes on".to_owned()));
        }
        self.frozen = frozen;
    }
}

#[cfg(test)]
mod tests {
    use barge_api::CandidateView;
    use barge_model::rollout::{Finished, Role};

    use super::*;
    use crate::report::tests::{at, instance, release, status};

    fn with_candidate(phase: Phase, instances: Vec<InstanceView>) -> ServiceStatus {
        let candidate = CandidateView { release: release(2).id, digest: release(2).digest, phase, since: at(0) };
        ServiceStatus { candidate: Some(candidate), ..status(instances) }
    }

    fn told(changes: &mut Changes, status: &ServiceStatus) -> String {
        changes.take(status).into_iter().map(|(_, line)| line + "\n").collect()
    }

    #[test]
    fn a_release_is_told_step_by_step_and_nothing_twice() {
        let old = |phase| instance("AAAAAA", 1, Role::Stable, phase);
        let new = |phase| instance("BBBBBB", 2, Role::Candidate, phase);
        let mut changes = Changes::of(&release(2).id);
        let mut unregistered = new(InstancePhase::Ready);
        unregistered.online = false;
        let starting = with_candidate(Phase::Starting, vec![old(InstancePhase::Ready), new(InstancePhase::Starting)]);
        assert_eq!(told(&mut changes, &starting), "instance BBBBBB is starting\n");
        assert_eq!(told(&mut changes, &starting), "", "the same again is no news");
        let ready = with_candidate(Phase::Starting, vec![old(InstancePhase::Ready), unregistered]);
        assert_eq!(told(&mut changes, &ready), "instance BBBBBB is ready at 127.1.0.2:8080; going online\n");
        let gate = with_candidate(Phase::Gate, vec![old(InstancePhase::Ready), new(InstancePhase::Ready)]);
        assert_eq!(
            told(&mut changes, &gate),
            "instance BBBBBB is available at 127.1.0.2:8080 (1 of 2)\nthe first instance runs; the gate is closed\n"
        );
        let going_on = Phase::Progressing { batch: 0 };
        let draining = with_candidate(going_on, vec![old(InstancePhase::Draining), new(InstancePhase::Ready)]);
        assert_eq!(
            told(&mut changes, &draining),
            "the gate is open; the rest follows\nold instance AAAAAA is being taken out of traffic\n"
        );
        assert_eq!(told(&mut changes, &status(vec![new(InstancePhase::Ready)])), "instance AAAAAA is gone\n");
    }

    #[test]
    fn a_frozen_release_says_so_once() {
        let mut changes = Changes::of(&release(2).id);
        let waiting_on = WaitingOn::Registrar { reason: "the gateway does not answer".to_owned() };
        let frozen = ServiceStatus { sentence: waiting_on.to_string(), waiting_on, ..status(Vec::new()) };
        assert!(told(&mut changes, &frozen).starts_with("frozen: instances cannot be registered"));
        assert_eq!(told(&mut changes, &frozen), "");
        assert!(told(&mut changes, &status(Vec::new())).starts_with("instances can be registered again"));
    }

    #[test]
    fn a_position_is_read_from_candidate_stable_and_history_in_this_order() {
        let two = release(2).id;
        let check = |status: &ServiceStatus, expected: Position| assert_eq!(position(status, &two), expected);
        check(&status(Vec::new()), Position::Pending);
        check(&with_candidate(Phase::Gate, Vec::new()), Position::Gate);
        check(&with_candidate(Phase::Pausing { batch: 0 }, Vec::new()), Position::GoingOn);
        let ended = |outcome: Outcome| {
            let finished = vec![Finished { release: release(2).id, outcome, at: at(1) }];
            ServiceStatus { finished, ..status(Vec::new()) }
        };
        check(&ended(Outcome::Promoted), Position::Complete);
        check(&ended(Outcome::Aborted), Position::Ended(Outcome::Aborted));
        check(&ServiceStatus { stable: Some(two.clone()), ..ended(Outcome::Promoted) }, Position::Complete);
    }
}
