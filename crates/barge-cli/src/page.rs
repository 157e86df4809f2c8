//! A service's status as a page that tells the story: where it is called, what it waits for, its releases, its instances.

use std::collections::BTreeSet;

use barge_api::{InstanceView, ReleaseState, ReleaseView, ServiceStatus};
use barge_model::rollout::{Finished, InstancePhase, Outcome, Phase, Role, WaitingOn};
use barge_model::{ReleaseId, Timestamp};

use crate::table::{Cell, Table};
use crate::terminal::{Paint, Style, ago, printable, span};

/// How many ended releases the page names.
const ENDED: usize = 3;

/// The page. `command` completes a command line for the same service.
pub(crate) fn render(
    status: &ServiceStatus,
    releases: &[ReleaseView],
    now: Timestamp,
    paint: Paint,
    command: impl Fn(&str) -> String,
) -> String {
    let mut text = format!("{} in {}", paint.paint(Style::Bold, status.service.as_str()), status.environment);
    if let Some(url) = &status.url {
        text.push_str(&format!("  {url}"));
    }
    text.push_str(&format!("\n{}\n", paint.paint(mood(status), &status.waiting_on.sentence(now))));
    let rows = release_rows(status, releases, now).render(paint, "  ");
    if !rows.is_empty() {
        text.push('\n');
        text.push_str(&rows);
    }
    if !status.instances.is_empty() {
        text.push('\n');
        text.push_str(&instances(&status.instances, releases, now).render(paint, "  "));
    }
    if let Some(limits) = status.instances.iter().find_map(|view| view.limits_not_enforced.as_deref()) {
        let heading = paint.paint(Style::Yellow, "the limits are not in force:");
        text.push_str(&format!("\n  {heading} {}\n", printable(limits)));
    }
    let next = next_commands(status);
    if !next.is_empty() {
        text.push('\n');
    }
    for (what, rest) in next {
        text.push_str(&format!("  {what:<11} {}\n", command(rest)));
    }
    text
}

/// The releases that the page names: a few, however many there have been.
pub(crate) fn named(status: &ServiceStatus) -> BTreeSet<ReleaseId> {
    let candidate = status.candidate.iter().map(|candidate| &candidate.release);
    let ended = ended(status).map(|finished| &finished.release);
    let running = status.instances.iter().map(|view| &view.release);
    candidate.chain(&status.stable).chain(ended).chain(running).cloned().collect()
}

/// Instances as a table, the serving ones first.
pub(crate) fn instances(instances: &[InstanceView], releases: &[ReleaseView], now: Timestamp) -> Table {
    let mut table = Table::new(&["INSTANCE", "RELEASE", "ROLE", "PHASE", "ONLINE", "ADDRESS", "RESTARTS", "AGE"]);
    let mut sorted: Vec<&InstanceView> = instances.iter().collect();
    let rank = |role: Role| match role {
        Role::Stable => 0,
        Role::Candidate => 1,
        Role::Defunct => 2,
    };
    sorted.sort_by_key(|view| (rank(view.role), view.created_at, view.id.clone()));
    for view in sorted {
        table.row([
            view.id.short().into(),
            number(&view.release, releases).into(),
            role(view.role).into(),
            phase(view.phase),
            if view.online { "yes" } else { "no" }.into(),
            view.address.clone().unwrap_or_default().into(),
            view.restarts.to_string().into(),
            ago(view.created_at, now).trim_end_matches(" ago").to_owned().into(),
        ]);
        if let Some(remark) = remark(view) {
            table.note(remark);
        }
    }
    table
}

/// What a row does not tell: why the instance is not ready, or why it had to be started again.
fn remark(view: &InstanceView) -> Option<String> {
    let ended = view.ended.clone();
    let again = match view.phase {
        InstancePhase::BackOff => ended,
        _ => ended.filter(|_| view.restarts > 0).map(|ended| format!("started again: {ended}")),
    };
    view.reason.clone().or(again)
}

/// A release's number for people; its id where the number is not known.
pub(crate) fn number(release: &ReleaseId, releases: &[ReleaseView]) -> String {
    releases.iter().find(|view| view.id == *release).map_or_else(|| release.to_string(), |view| view.number.to_string())
}

/// Where a release stands, in a word.
pub(crate) fn state(state: ReleaseState) -> Cell {
    let (style, word) = match state {
        ReleaseState::Pending => (Style::Plain, "pending"),
        ReleaseState::Candidate => (Style::Yellow, "candidate"),
        ReleaseState::Stable => (Style::Green, "stable"),
        ReleaseState::Former => (Style::Dim, "former"),
        ReleaseState::Aborted => (Style::Dim, "aborted"),
        ReleaseState::Superseded => (Style::Dim, "superseded"),
        ReleaseState::RolledBack => (Style::Dim, "rolled back"),
        ReleaseState::Failed => (Style::Red, "failed"),
    };
    Cell::styled(style, word)
}

/// One line that changes whenever something does that people want to know.
pub(crate) fn summary(status: &ServiceStatus, now: Timestamp) -> String {
    let sentence = match &status.waiting_on {
        // The seconds that are left would make each line a new one.
        waiting @ (WaitingOn::Hold { .. } | WaitingOn::Pause { .. } | WaitingOn::Start { .. }) => waiting.to_string(),
        waiting => waiting.sentence(now),
    };
    format!(
        "{} in {}: {sentence} ({} of {} available)",
        status.service, status.environment, status.available, status.replicas
    )
}

fn mood(status: &ServiceStatus) -> Style {
    match status.waiting_on {
        WaitingOn::Nothing => Style::Green,
        WaitingOn::Registrar { .. } => Style::Red,
        _ => Style::Yellow,
    }
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Stable => "stable",
        Role::Candidate => "candidate",
        Role::Defunct => "defunct",
    }
}

fn phase(phase: InstancePhase) -> Cell {
    let (style, word) = match phase {
        InstancePhase::Starting => (Style::Yellow, "starting"),
        InstancePhase::Ready => (Style::Green, "ready"),
        InstancePhase::Held => (Style::Red, "held"),
        InstancePhase::BackOff => (Style::Red, "crashed"),
        InstancePhase::Draining => (Style::Dim, "draining"),
    };
    Cell::styled(style, word)
}

fn release_rows(status: &ServiceStatus, releases: &[ReleaseView], now: Timestamp) -> Table {
    let mut table = Table::bare();
    if let Some(candidate) = &status.candidate {
        let stands = match candidate.phase {
            Phase::Starting => "starting".to_owned(),
            Phase::Gate => format!("at its gate for {}", span(now.since(candidate.since))),
            Phase::Progressing { batch } => format!("batch {}", batch + 1),
            Phase::Pausing { batch } => format!("pause after batch {}", batch + 1),
        };
        table.row(release_row(&candidate.release, releases, Cell::styled(Style::Yellow, "candidate"), stands, now));
    }
    if let Some(stable) = &status.stable {
        let own = status.instances.iter().filter(|view| view.release == *stable);
        let available = own.filter(|view| view.phase == InstancePhase::Ready && view.online).count();
        let stands = format!("{available} available");
        table.row(release_row(stable, releases, Cell::styled(Style::Green, "stable"), stands, now));
    }
    for finished in ended(status) {
        let (style, word) = match finished.outcome {
            Outcome::Failed { .. } => (Style::Red, "failed"),
            Outcome::Aborted => (Style::Dim, "aborted"),
            Outcome::Superseded => (Style::Dim, "superseded"),
            Outcome::RolledBack => (Style::Dim, "rolled back"),
            Outcome::Promoted => (Style::Dim, "former"),
        };
        table.row(release_row(&finished.release, releases, Cell::styled(style, word), ago(finished.at, now), now));
    }
    table
}

/// What ended before the stable release began is history; `barge releases` tells it.
fn ended(status: &ServiceStatus) -> impl Iterator<Item = &Finished> {
    status.finished.iter().rev().take_while(|finished| finished.outcome != Outcome::Promoted).take(ENDED)
}

fn release_row(id: &ReleaseId, releases: &[ReleaseView], word: Cell, stands: String, now: Timestamp) -> [Cell; 5] {
    let view = releases.iter().find(|view| view.id == *id);
    let made = view.map(|view| format!("by {}, {}", view.created_by, ago(view.created_at, now))).unwrap_or_default();
    let reason = view.and_then(|view| view.reason.clone()).unwrap_or_default();
    [
        format!("release {}", number(id, releases)).into(),
        word,
        stands.into(),
        made.into(),
        Cell::styled(Style::Dim, reason),
    ]
}

/// What people most likely want to do now.
fn next_commands(status: &ServiceStatus) -> Vec<(&'static str, &'static str)> {
    let held = status.instances.iter().any(|view| view.phase == InstancePhase::Held);
    match &status.candidate {
        Some(candidate)
            if candidate.phase == Phase::Gate && matches!(status.waiting_on, WaitingOn::Approval { .. }) =>
        {
            vec![("go on", "approve"), ("take back", "abort")]
        }
        Some(_) => vec![("take back", "abort")],
        None if held => vec![("look inside", "exec"), ("its output", "logs"), ("let go", "abort")],
        None if status.stable.is_none() => vec![("release", "deploy")],
        None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use barge_api::CandidateView;
    use barge_model::rollout::FailureReason;

    use super::*;
    use crate::report::tests::{at, instance, release, status};

    fn page(status: &ServiceStatus) -> String {
        let mut two = release(2);
        two.reason = Some("new checkout".to_owned());
        render(status, &[two, release(1)], at(200), Paint(false), |rest| format!("barge {rest}"))
    }

    #[test]
    fn a_release_at_its_gate_is_a_page_with_a_way_on_and_a_way_back() {
        let waiting_on = WaitingOn::Approval { release: release(2).id, since: at(20) };
        let candidate =
            CandidateView { release: release(2).id, digest: release(2).digest, phase: Phase::Gate, since: at(20) };
        let instances = vec![
            instance("BBBBBB", 2, Role::Candidate, InstancePhase::Ready),
            instance("AAAAAA", 1, Role::Stable, InstancePhase::Ready),
        ];
        let gate = ServiceStatus { waiting_on, candidate: Some(candidate), ..status(instances) };
        insta::assert_snapshot!(page(&gate), @r"
        greeter in test  http://greeter.test.localhost:7402
        waiting for approval

          release 2  candidate  at its gate for 3m  by admin, 3m ago  new checkout
          release 1  stable     1 available         by admin, 3m ago

          INSTANCE  RELEASE  ROLE       PHASE  ONLINE  ADDRESS         RESTARTS  AGE
          AAAAAA    1        stable     ready  yes     127.1.0.1:8080  0         3m
          BBBBBB    2        candidate  ready  yes     127.1.0.2:8080  0         3m

          go on       barge approve
          take back   barge abort
        ");
        assert_eq!(summary(&gate, at(200)), "greeter in test: waiting for approval (2 of 2 available)");
    }

    #[test]
    fn a_held_instance_says_why_and_how_to_look_inside() {
        let held = InstanceView {
            reason: Some("exited with code 1".to_owned()),
            ..instance("BBBBBB", 2, Role::Defunct, InstancePhase::Held)
        };
        let failure = FailureReason::StartFailed { instance: held.id.clone() };
        let outcome = Outcome::Failed { failure };
        let finished = vec![Finished { release: release(2).id, outcome, at: at(100) }];
        let failed = ServiceStatus { finished, ..status(vec![held]) };
        insta::assert_snapshot!(page(&failed), @r"
        greeter in test  http://greeter.test.localhost:7402
        everything runs as it should

          release 1  stable  0 available  by admin, 3m ago
          release 2  failed  1m ago       by admin, 3m ago  new checkout

          INSTANCE  RELEASE  ROLE     PHASE  ONLINE  ADDRESS         RESTARTS  AGE
          BBBBBB    2        defunct  held   no      127.1.0.2:8080  0         3m
            exited with code 1

          look inside barge exec
          its output  barge logs
          let go      barge abort
        ");
    }

    #[test]
    fn an_instance_that_crashes_says_how_and_limits_that_do_not_hold_say_so() {
        let ended = Some("it ended with exit code 7".to_owned());
        let limits = Some("this machine's cgroups do not allow it".to_owned());
        let of = |last: &str, phase| InstanceView { ended: ended.clone(), ..instance(last, 1, Role::Stable, phase) };
        let crashed = InstanceView { restarts: 3, ..of("AAAAAA", InstancePhase::BackOff) };
        let again = InstanceView { restarts: 1, limits_not_enforced: limits, ..of("BBBBBB", InstancePhase::Ready) };
        let late = InstanceView { reason: Some("no answer".to_owned()), ..of("CCCCCC", InstancePhase::Starting) };
        insta::assert_snapshot!(page(&status(vec![crashed, again, late])), @r"
        greeter in test  http://greeter.test.localhost:7402
        everything runs as it should

          release 1  stable  1 available  by admin, 3m ago

          INSTANCE  RELEASE  ROLE    PHASE     ONLINE  ADDRESS         RESTARTS  AGE
          AAAAAA    1        stable  crashed   no      127.1.0.1:8080  3         3m
            it ended with exit code 7
          BBBBBB    1        stable  ready     yes     127.1.0.1:8080  1         3m
            started again: it ended with exit code 7
          CCCCCC    1        stable  starting  no      127.1.0.1:8080  0         3m
            no answer

          the limits are not in force: this machine's cgroups do not allow it
        ");
    }

    #[test]
    fn a_service_that_was_never_released_says_what_to_do() {
        let sentence = WaitingOn::FirstRelease.to_string();
        let empty = ServiceStatus { waiting_on: WaitingOn::FirstRelease, sentence, stable: None, ..status(Vec::new()) };
        insta::assert_snapshot!(page(&empty), @r"
        greeter in test  http://greeter.test.localhost:7402
        waiting for the first release

          release     barge deploy
        ");
    }

    #[test]
    fn the_line_for_watching_does_not_count_seconds() {
        let waiting_on = WaitingOn::Hold { until: at(500) };
        let observed = ServiceStatus { waiting_on, ..status(Vec::new()) };
        assert_eq!(summary(&observed, at(1)), summary(&observed, at(2)));
    }
}
