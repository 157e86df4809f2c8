//! What somebody does next to bring a service where a step wants it: decided purely, from how it rested before and how it rests now.
//!
//! A command that was killed, or that lost its platform, may have done what it was there for or not. So nobody asks the commands.

use serde_json::Value;

use super::script::Operation;
use crate::judge;

/// How a service stands while nothing moves: no instance is on its way in or out, and the engine knows all that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rest {
    stable: String,
    /// The release at its gate.
    pub(super) candidate: Option<String>,
    held: bool,
    replicas: u64,
    /// The release that has ended last.
    ended: Option<String>,
}

impl Rest {
    /// What a status says; nothing while something moves.
    pub(super) fn of(status: &Value) -> Option<Self> {
        let waits = matches!(status["waiting_on"]["on"].as_str(), Some("nothing" | "approval"));
        let is_held = |one: &Value| one["phase"] == "held";
        let instances = judge::instances(status);
        if !waits || status["settled"] != true || !instances.iter().all(|one| judge::serves(one) || is_held(one)) {
            return None;
        }
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Some(Self {
            stable: text(&status["stable"])?,
            candidate: text(&status["candidate"]["release"]),
            held: instances.iter().any(is_held),
            replicas: status["replicas"].as_u64()?,
            ended: status["finished"].as_array().and_then(|list| text(&list.last()?["release"])),
        })
    }
}

/// The next command; nothing once the operation is done.
pub(super) fn next(operation: Operation, before: &Rest, now: &Rest) -> Option<Vec<String>> {
    let nothing_new = now.candidate.is_none() && !now.held;
    let words: &[&str] = match operation {
        Operation::Release { .. } if now.candidate.is_some() && now.candidate != before.candidate => return None,
        Operation::Break { .. } if now.candidate.is_none() && now.held && now.ended != before.ended => return None,
        Operation::Release { .. } | Operation::Break { .. } => &["deploy", "--supersede"],
        Operation::Approve if now.candidate.is_some() => &["approve", "--wait", "complete"],
        // One of its instances was killed before it was ready, so the release has failed.
        Operation::Approve if now.stable == before.stable => &["deploy", "--supersede"],
        Operation::Abort if !nothing_new => &["abort"],
        Operation::RollBack if before.candidate.is_some() || before.held => match nothing_new {
            true => return None,
            false => &["rollback"],
        },
        Operation::RollBack if now.stable == before.stable => &["rollback", "--wait", "complete"],
        Operation::Restart if now.stable == before.stable => &["restart", "--wait", "complete"],
        Operation::Scale { replicas } if now.replicas != u64::from(replicas) => {
            return Some(vec!["scale".to_owned(), replicas.to_string(), "--wait".to_owned()]);
        }
        Operation::Approve
        | Operation::Abort
        | Operation::RollBack
        | Operation::Restart
        | Operation::Scale { .. }
        | Operation::Kill { .. } => return None,
    };
    Some(words.iter().map(|word| (*word).to_owned()).collect())
}

/// Whether instances beyond the first would come without anybody's approval (I1). A rollback and a restart bring what was approved before.
pub(super) fn waits_for_approval(operation: Operation) -> bool {
    !matches!(operation, Operation::Approve | Operation::RollBack | Operation::Restart)
}
