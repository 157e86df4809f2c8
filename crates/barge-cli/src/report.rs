//! How a release that failed is explained: what failed, what was seen of it, what still serves, and what to run next.
//!
//! A pure function from what the API tells to lines of text.

use barge_api::{FailureView, InstanceView, ReleaseView, ServiceStatus};
use barge_model::rollout::{FailureReason, Finished, InstancePhase, Outcome};
use barge_model::{InstanceId, Timestamp};

use crate::terminal::{ago, printable};

/// How many lines of output are shown.
pub(crate) const LOG_LINES: usize = 20;
/// How many readiness checks and steps of its life are shown.
const RECORDS: usize = 12;

/// Everything that an explanation is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scene<'a> {
    /// The release.
    pub(crate) release: &'a ReleaseView,
    /// How it ended, as the status tells; the release may not say yet.
    pub(crate) outcome: &'a Outcome,
    /// The service now.
    pub(crate) status: &'a ServiceStatus,
    /// What was seen of the failure.
    pub(crate) failure: Option<&'a FailureView>,
    /// The number of the release that serves.
    pub(crate) stable: Option<u32>,
    /// The time.
    pub(crate) now: Timestamp,
}

/// A release that did not come through, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Explanation {
    /// What failed, in a sentence.
    pub(crate) what: String,
    /// What was seen.
    pub(crate) details: Vec<String>,
    /// What to run next.
    pub(crate) hint: String,
}

/// Explains why a release did not come through. `command` completes a command line for the same service.
pub(crate) fn explain(scene: &Scene<'_>, command: impl Fn(&str) -> String) -> Explanation {
    let Scene { release, status, .. } = scene;
    let name = format!("release {} of {} in {}", release.number, release.service, release.environment);
    let what = match scene.outcome {
        Outcome::Failed { failure } => format!("{name} failed: {}", summary(scene, failure)),
        Outcome::Aborted => format!("{name} was aborted"),
        Outcome::Superseded => format!("{name} gave way to a newer one"),
        Outcome::RolledBack => format!("{name} was rolled back"),
        Outcome::Promoted => format!("{name} is complete"),
    };
    let mut details = Vec::new();
    let mut hint = format!("`{}` shows how it stands", command("status"));
    if let Outcome::Failed { failure } = scene.outcome {
        if let Some(seen) = scene.failure {
            if let Some(instance) = &seen.instance {
                describe(instance, scene.now, &mut details);
            }
            section(&mut details, "its last lines of output", log_lines(&seen.log));
        }
        let held = held_instance(scene, failure).filter(|id| still_held(status, id));
        hint = match held {
            Some(id) => format!(
                "`{}` opens a shell in the held instance; `{}` lets go of it; once it is mended, `{}` again",
                command(&format!("exec --instance {}", id.short())),
                command("abort"),
                command("deploy"),
            ),
            None => format!("mend it and run `{}` again", command("deploy")),
        };
    }
    section(&mut details, "what serves now", vec![serving(scene)]);
    Explanation { what, details, hint }
}

/// What is known without the server's own record, which may come a moment later.
pub(crate) fn failure_from(status: &ServiceStatus, finished: &Finished, log: Vec<String>) -> FailureView {
    let instance = match &finished.outcome {
        Outcome::Failed { failure: FailureReason::StartFailed { instance } } => Some(instance),
        _ => None,
    };
    let of_release = |view: &&InstanceView| view.release == finished.release;
    let found = match instance {
        Some(id) => status.instances.iter().find(|view| view.id == *id),
        None => status.instances.iter().filter(of_release).find(|view| view.phase != InstancePhase::Ready),
    };
    FailureView { summary: String::new(), instance: found.cloned(), log }
}

fn summary(scene: &Scene<'_>, reason: &FailureReason) -> String {
    match scene.failure.map(|failure| failure.summary.as_str()).filter(|summary| !summary.is_empty()) {
        Some(summary) => summary.to_owned(),
        None => match reason {
            FailureReason::StartFailed { instance } => format!("instance {} could not start", instance.short()),
            FailureReason::DeadlineExceeded { available, needed } => {
                format!("{available} of {needed} instances were available in time")
            }
        },
    }
}

fn held_instance<'a>(scene: &'a Scene<'_>, reason: &'a FailureReason) -> Option<&'a InstanceId> {
    match reason {
        FailureReason::StartFailed { instance } => Some(instance),
        FailureReason::DeadlineExceeded { .. } => scene.failure?.instance.as_ref().map(|instance| &instance.id),
    }
}

fn still_held(status: &ServiceStatus, id: &InstanceId) -> bool {
    status.instances.iter().any(|view| view.id == *id && view.phase == InstancePhase::Held)
}

fn serving(scene: &Scene<'_>) -> String {
    let ServiceStatus { replicas, available, .. } = scene.status;
    match scene.stable {
        Some(number) => format!("release {number}, as before: {available} of {replicas} instances available"),
        None => "nothing; this was the first release".to_owned(),
    }
}

/// How its process ended, where that says more than the reason. Who was late was ended by barge-init, and not for want of memory.
fn how_it_ended(instance: &InstanceView) -> Option<String> {
    let reason = instance.reason.as_deref().unwrap_or_default();
    if reason.starts_with(barge_init::NOT_READY_WITHIN) {
        return Some("it ran until its start deadline, and was ended then (`start_deadline`)".to_owned());
    }
    instance.ended.as_deref().filter(|ended| *ended != reason).map(printable)
}

fn describe(instance: &InstanceView, now: Timestamp, details: &mut Vec<String>) {
    let mut facts = Vec::new();
    if let Some(reason) = &instance.reason {
        facts.push(printable(reason));
    }
    if let Some(ended) = how_it_ended(instance) {
        facts.push(ended);
    }
    if instance.restarts > 0 {
        facts.push(format!("started again {} times", instance.restarts));
    }
    if let Some(limits) = &instance.limits_not_enforced {
        facts.push(format!("not in force: {}", printable(limits)));
    }
    section(details, &format!("instance {}", instance.id.short()), facts);
    let probes = instance.probes.iter().skip(instance.probes.len().saturating_sub(RECORDS)).map(|probe| {
        let result = if probe.ok { "passed" } else { "failed" };
        let times = if probe.times > 1 { format!(" ({} times)", probe.times) } else { String::new() };
        format!("{:<9} {result}  {}{times}", ago(probe.at, now), printable(&probe.detail))
    });
    let mut probes: Vec<String> = probes.collect();
    if probes.is_empty() {
        probes.push("none came before its end".to_owned());
    }
    section(details, "its readiness checks", probes);
    let begin = instance.timeline.first().map_or(instance.created_at, |entry| entry.at);
    let steps = instance.timeline.iter().skip(instance.timeline.len().saturating_sub(RECORDS)).map(|entry| {
        let millis = entry.at.since(begin).0;
        let offset = format!("+{}.{:02}s", millis / 1000, millis % 1000 / 10);
        format!("{offset:<9} {}", printable(&entry.what))
    });
    section(details, "its life", steps.collect());
}

fn section(details: &mut Vec<String>, heading: &str, lines: Vec<String>) {
    if lines.is_empty() {
        return;
    }
    details.push(format!("{heading}:"));
    details.extend(lines.into_iter().map(|line| format!("  {line}")));
}

fn log_lines(log: &[String]) -> Vec<String> {
    if log.is_empty() {
        return vec!["(it wrote nothing)".to_owned()];
    }
    log.iter().skip(log.len().saturating_sub(LOG_LINES)).map(|line| format!("| {}", printable(line))).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use barge_api::{ProbeView, ReleaseState, TimelineView};
    use barge_model::Origin;
    use barge_model::manifest::{Kind, ServiceConfig};
    use barge_model::rollout::{Role, WaitingOn};

    use super::*;

    pub(crate) fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + seconds * 1000)
    }

    pub(crate) fn id(last: &str) -> String {
        format!("01HF7YAT00{last:0>16}")
    }

    pub(crate) fn release(number: u32) -> ReleaseView {
        let config = serde_json::json!({ "kind": "web", "command": ["./greeter"], "start_deadline": "5m" });
        ReleaseView {
            id: id(&format!("R{number}")).parse().unwrap(),
            number,
            service: "greeter".parse().unwrap(),
            environment: "test".parse().unwrap(),
            state: ReleaseState::Candidate,
            image: "127.0.0.1:7401/greeter".to_owned(),
            digest: format!("sha256:{number:064x}").parse().unwrap(),
            config: serde_json::from_value::<ServiceConfig>(config).unwrap(),
            origin: Origin::Deploy,
            created_at: at(0),
            created_by: "admin".to_owned(),
            reason: None,
            approval: None,
            finished: None,
            failure: None,
        }
    }

    pub(crate) fn instance(last: &str, of: u32, role: Role, phase: InstancePhase) -> InstanceView {
        InstanceView {
            id: id(last).parse().unwrap(),
            release: release(of).id,
            role,
            phase,
            online: phase == InstancePhase::Ready,
            address: Some(format!("127.1.0.{of}:8080")),
            restarts: 0,
            created_at: at(0),
            reason: None,
            ended: None,
            probes: Vec::new(),
            timeline: Vec::new(),
            limits_not_enforced: None,
        }
    }

    pub(crate) fn status(instances: Vec<InstanceView>) -> ServiceStatus {
        let available = instances.iter().filter(|view| view.online).count();
        ServiceStatus {
            service: "greeter".parse().unwrap(),
            environment: "test".parse().unwrap(),
            kind: Some(Kind::Web),
            url: Some("http://greeter.test.localhost:7402".to_owned()),
            replicas: 2,
            available: u32::try_from(available).unwrap(),
            stable: Some(release(1).id),
            candidate: None,
            waiting_on: WaitingOn::Nothing,
            sentence: WaitingOn::Nothing.to_string(),
            finished: Vec::new(),
            instances,
            version: 1,
            settled: true,
        }
    }

    fn held() -> InstanceView {
        InstanceView {
            reason: Some("exited with code 1 before it was ready".to_owned()),
            ended: Some("exited with code 1 before it was ready".to_owned()),
            probes: vec![ProbeView { at: at(8), ok: false, detail: "connection refused".to_owned(), times: 3 }],
            timeline: vec![
                TimelineView { at: at(0), what: "started".to_owned() },
                TimelineView { at: at(1), what: "exited with code 1".to_owned() },
            ],
            ..instance("AAAAAA", 2, Role::Defunct, InstancePhase::Held)
        }
    }

    fn explained(outcome: &Outcome, failure: Option<&FailureView>, instances: Vec<InstanceView>) -> String {
        let (release, status) = (release(2), status(instances));
        let scene = Scene { release: &release, outcome, status: &status, failure, stable: Some(1), now: at(10) };
        let Explanation { what, details, hint } = explain(&scene, |rest| format!("barge {rest}"));
        format!("{what}\n{}\nhint: {hint}", details.join("\n"))
    }

    #[test]
    fn a_start_that_failed_is_told_with_all_that_was_seen_of_it() {
        let serving = instance("BBBBBB", 1, Role::Stable, InstancePhase::Ready);
        let outcome = Outcome::Failed { failure: FailureReason::StartFailed { instance: held().id } };
        let log = vec!["\x1b[31mError\x1b[0m: no\ttable\x07".to_owned(), "bye".to_owned()];
        let failure = FailureView { summary: String::new(), instance: Some(held()), log };
        insta::assert_snapshot!(explained(&outcome, Some(&failure), vec![held(), serving]), @r"
        release 2 of greeter in test failed: instance AAAAAA could not start
        instance AAAAAA:
          exited with code 1 before it was ready
        its readiness checks:
          2s ago    failed  connection refused (3 times)
        its life:
          +0.00s    started
          +1.00s    exited with code 1
        its last lines of output:
          | Error: no    table
          | bye
        what serves now:
          release 1, as before: 1 of 2 instances available
        hint: `barge exec --instance AAAAAA` opens a shell in the held instance; `barge abort` lets go of it; once it is mended, `barge deploy` again
        ");
    }

    #[test]
    fn a_release_that_was_too_slow_says_how_far_it_came() {
        let outcome = Outcome::Failed { failure: FailureReason::DeadlineExceeded { available: 0, needed: 1 } };
        insta::assert_snapshot!(explained(&outcome, None, Vec::new()), @r"
        release 2 of greeter in test failed: 0 of 1 instances were available in time
        what serves now:
          release 1, as before: 0 of 2 instances available
        hint: mend it and run `barge deploy` again
        ");
    }

    #[test]
    fn what_people_did_is_no_mystery() {
        let told = |outcome| explained(&outcome, None, Vec::new()).lines().next().unwrap().to_owned();
        assert_eq!(told(Outcome::Aborted), "release 2 of greeter in test was aborted");
        assert_eq!(told(Outcome::Superseded), "release 2 of greeter in test gave way to a newer one");
        assert_eq!(told(Outcome::RolledBack), "release 2 of greeter in test was rolled back");
    }

    #[test]
    fn only_the_last_lines_of_a_long_log_are_shown() {
        let log: Vec<String> = (0..100).map(|line| line.to_string()).collect();
        let shown = log_lines(&log);
        assert_eq!((shown.len(), shown[0].as_str()), (LOG_LINES, "| 80"));
    }
}
