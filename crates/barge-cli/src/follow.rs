//! Following a release until it is where somebody wants it: bounded, through restarts of the server, and never silent about how it
//! ended.

use std::time::{Duration, Instant};

use barge_api::{ReleaseState, ReleaseView, ServiceStatus};
use barge_model::Millis;
use barge_model::rollout::{FailureReason, Finished, Outcome, WaitingOn};
use clap::ValueEnum;
use futures_util::StreamExt;
use serde::Serialize;

use crate::changes::{Changes, Position, position};
use crate::failure::{Failure, Kind};
use crate::report::{self, Explanation, Scene};
use crate::session::Target;
use crate::terminal::{Activity, Style, Terminal, now};

/// How long the server may be away before we stop trying to see it again.
const AWAY_LIMIT: Duration = Duration::from_secs(30);
/// The pause between two tries.
const AWAY_PAUSE: Duration = Duration::from_millis(500);
/// How long the server's own record of a failure is waited for.
const RECORD_LIMIT: Duration = Duration::from_secs(2);

/// Until when a command stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Goal {
    /// Until the gate: the first instance runs and waits for an approval
    #[default]
    Gate,
    /// Until somebody has approved it
    Approved,
    /// Until all instances run it
    Complete,
}

impl Goal {
    fn reached(self, position: &Position) -> bool {
        match position {
            Position::Complete | Position::Ended(_) => true,
            Position::Gate => self == Goal::Gate,
            Position::GoingOn => self == Goal::Approved,
            Position::Pending | Position::Starting => false,
        }
    }
}

/// How long and until when a command stays with the release that it made.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Attach {
    /// Until when to stay with the release
    #[arg(long, value_name = "GOAL", default_value = "gate", conflicts_with = "detach")]
    pub(crate) wait: Goal,
    /// Return as soon as the server has the release
    #[arg(long)]
    pub(crate) detach: bool,
    /// The longest to stay; the release goes on without us
    #[arg(long, value_name = "TIME", default_value = "30m")]
    pub(crate) timeout: Millis,
}

/// Where a command left the release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Left {
    /// The same runs already.
    Unchanged,
    /// On its way; nobody waited.
    Detached,
    /// At its gate.
    Gate,
    /// Past its gate.
    Approved,
    /// All instances run it.
    Complete,
}

/// What `--json` prints of a release that a command made or followed.
#[derive(Debug, Serialize)]
pub(crate) struct Outline {
    /// Where the command left it.
    pub(crate) result: Left,
    /// The release.
    pub(crate) release: ReleaseView,
    /// The service, where the command looked.
    pub(crate) status: Option<ServiceStatus>,
    /// The command that undoes it, where one does.
    pub(crate) undo: Option<String>,
}

/// Stays with `release` as `attach` says and tells how it goes, beyond what is `known` already.
///
/// # Errors
/// The release did not come through (with everything that was seen of it), or could not be followed.
pub(crate) async fn follow(
    target: &Target,
    release: ReleaseView,
    attach: &Attach,
    known: Option<&ServiceStatus>,
    terminal: &Terminal,
) -> Result<Outline, Failure> {
    if attach.detach {
        return Ok(Outline { result: Left::Detached, release, status: None, undo: None });
    }
    let activity = terminal.activity();
    let goes_on = || {
        format!(
            "the release goes on without this command; `{}` shows it, `{}` takes it back",
            target.command("status --watch"),
            target.command("abort")
        )
    };
    let mut last = None;
    let mut changes = Changes::of(&release.id);
    if let Some(known) = known {
        changes.take(known);
    }
    let (position, status) = tokio::select! {
        end = watch(target, &release, attach.wait, changes, &activity, &mut last) => end?,
        () = tokio::time::sleep(attach.timeout.as_duration()) => {
            let waits = last.map_or_else(|| "its first status".to_owned(), |status: ServiceStatus| status.sentence);
            let what = format!("after {} release {} is still on its way: {waits}", attach.timeout, release.number);
            return Err(Failure::new(Kind::TimedOut, what).hint(goes_on()));
        }
        _ = tokio::signal::ctrl_c() => return Err(Failure::new(Kind::Interrupted, "interrupted").hint(goes_on())),
    };
    drop(activity);
    let result = match position {
        Position::Ended(outcome) => return Err(explained(target, release, &outcome, &status).await),
        Position::Complete => Left::Complete,
        Position::GoingOn => Left::Approved,
        Position::Gate | Position::Starting | Position::Pending => Left::Gate,
    };
    Ok(Outline { result, release, status: Some(status), undo: None })
}

/// Reads the status until the goal is reached; a server that restarts meanwhile is waited for.
async fn watch(
    target: &Target,
    release: &ReleaseView,
    goal: Goal,
    mut changes: Changes,
    activity: &Activity,
    last: &mut Option<ServiceStatus>,
) -> Result<(Position, ServiceStatus), Failure> {
    let mut away: Option<Instant> = None;
    loop {
        let error = match target.client().watch_status(&target.environment, &target.service).await {
            Ok(mut stream) => loop {
                match stream.next().await {
                    Some(Ok(status)) => {
                        away = None;
                        for (style, line) in changes.take(&status) {
                            activity.line(style, &line);
                        }
                        activity.now(&status.sentence);
                        let position = settled_position(target, release, &status).await?;
                        // What the engine has not taken up yet is still to come.
                        if status.settled && goal.reached(&position) {
                            return Ok((position, status));
                        }
                        *last = Some(status);
                    }
                    Some(Err(error)) => break Failure::from(error),
                    None => break Failure::new(Kind::Unreachable, "the server ended the status stream"),
                }
            },
            Err(error) => Failure::from(error),
        };
        if error.kind() != Kind::Unreachable {
            return Err(error);
        }
        let since = *away.get_or_insert_with(|| {
            activity.line(Style::Yellow, "the server does not answer; trying again");
            Instant::now()
        });
        if since.elapsed() > AWAY_LIMIT {
            return Err(error.context(&format!("follow release {}, which goes on meanwhile", release.number)));
        }
        tokio::time::sleep(AWAY_PAUSE).await;
    }
}

/// A release that was taken back before the engine began with it never shows in a status; its own record tells.
async fn settled_position(target: &Target, release: &ReleaseView, status: &ServiceStatus) -> Result<Position, Failure> {
    let seen = position(status, &release.id);
    if seen != Position::Pending || !status.settled {
        return Ok(seen);
    }
    Ok(match target.release(&release.id).await?.state {
        ReleaseState::Aborted => Position::Ended(Outcome::Aborted),
        ReleaseState::Superseded => Position::Ended(Outcome::Superseded),
        ReleaseState::RolledBack => Position::Ended(Outcome::RolledBack),
        _ => Position::Pending,
    })
}

/// Everything that is known of a release that did not come through.
pub(crate) async fn explained(
    target: &Target,
    release: ReleaseView,
    outcome: &Outcome,
    status: &ServiceStatus,
) -> Failure {
    let failed = matches!(outcome, Outcome::Failed { .. });
    // What cannot be fetched any more leaves the explanation shorter; it must not take its place.
    let release = if failed { recorded(target, &release).await.unwrap_or(release) } else { release };
    let failure = match &release.failure {
        Some(failure) => Some(failure.clone()),
        None if failed => {
            let finished = Finished { release: release.id.clone(), outcome: outcome.clone(), at: now() };
            let log = log_of_failed(target, outcome).await;
            Some(report::failure_from(status, &finished, log))
        }
        None => None,
    };
    let stable = match &status.stable {
        Some(id) => target.release(id).await.ok().map(|view| view.number),
        None => None,
    };
    let scene = Scene { release: &release, outcome, status, failure: failure.as_ref(), stable, now: now() };
    let Explanation { what, details, hint } = report::explain(&scene, |rest| target.command(rest));
    Failure::new(Kind::Release, what).details(details).hint(hint).data("release", &release)
}

async fn recorded(target: &Target, release: &ReleaseView) -> Option<ReleaseView> {
    let begin = Instant::now();
    loop {
        let view = target.release(&release.id).await.ok()?;
        if view.failure.is_some() || begin.elapsed() > RECORD_LIMIT {
            return Some(view);
        }
        tokio::time::sleep(AWAY_PAUSE / 5).await;
    }
}

async fn log_of_failed(target: &Target, outcome: &Outcome) -> Vec<String> {
    let Outcome::Failed { failure: FailureReason::StartFailed { instance } } = outcome else { return Vec::new() };
    let Target { environment, service, .. } = target;
    let stream = target.client().logs(environment, service, instance, report::LOG_LINES, false).await;
    let Ok(stream) = stream else { return Vec::new() };
    let lines = stream.take(report::LOG_LINES).filter_map(|line| std::future::ready(line.ok())).collect();
    tokio::time::timeout(RECORD_LIMIT, lines).await.unwrap_or_default()
}

/// Prints where a release was left, and what to do next.
pub(crate) fn conclude(target: &Target, outline: &Outline, terminal: &Terminal) -> Result<(), Failure> {
    terminal.data(outline, |paint| {
        let number = outline.release.number;
        let mut text = String::new();
        let (style, headline) = headline(outline);
        text.push_str(&paint.paint(style, &headline));
        text.push('\n');
        let mut next =
            |what: &str, command: &str| text.push_str(&format!("  {what:<11} {}\n", target.command(command)));
        match outline.result {
            Left::Unchanged => next("anyway", "deploy --force"),
            Left::Detached => {
                next("watch it", "status --watch");
                next("take back", "abort");
            }
            Left::Gate => {
                next("look", "status");
                if !observed_only(outline) {
                    next("go on", &format!("approve {number}"));
                }
                next("take back", &format!("abort {number}"));
            }
            Left::Approved => next("watch it", "status --watch"),
            Left::Complete => {}
        }
        if let Some(undo) = &outline.undo {
            text.push_str(&format!("  {:<11} {undo}\n", "undo"));
        }
        text
    })
}

/// Whether the gate opens by itself.
fn observed_only(outline: &Outline) -> bool {
    outline.status.as_ref().is_some_and(|status| matches!(status.waiting_on, WaitingOn::Hold { .. }))
}

fn headline(outline: &Outline) -> (Style, String) {
    let number = outline.release.number;
    let url = outline.status.as_ref().and_then(|status| status.url.as_deref());
    let place = url.map(|url| format!(": {url}")).unwrap_or_default();
    match outline.result {
        Left::Unchanged => (Style::Green, format!("nothing changed: release {number} runs already{place}")),
        Left::Detached => (Style::Plain, format!("release {number} is on its way")),
        Left::Gate => {
            let waits = match &outline.status {
                Some(status) if observed_only(outline) => format!("is at its gate: {}", status.sentence),
                _ => "waits for approval".to_owned(),
            };
            (Style::Yellow, format!("release {number} {waits}{place}"))
        }
        Left::Approved => (Style::Green, format!("release {number} is approved and goes on{place}")),
        Left::Complete => (Style::Green, format!("release {number} is complete{place}")),
    }
}
