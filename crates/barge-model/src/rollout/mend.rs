//! Makes a stored status whole again before it is used: what is missing never means "go on" (I1).
//!
//! A status may have lost a field, or may have been written by a clock that was ahead. Neither must open a gate or prolong a wait.

use super::state::{CandidateProgress, Phase, Role, RolloutStatus};
use crate::time::Timestamp;

/// Mends `status` in place.
pub(super) fn mend(status: &mut RolloutStatus, now: Timestamp) {
    let release = status.set(Role::Candidate).map(|set| set.release.clone());
    let progress = status.candidate.take();
    status.candidate = release.map(|release| {
        let mut progress = progress.unwrap_or_else(|| CandidateProgress::starting(now));
        let past_gate = matches!(progress.phase, Phase::Progressing { .. } | Phase::Pausing { .. });
        if past_gate && !progress.approval.as_ref().is_some_and(|approval| approval.covers(&release)) {
            // Only a stored approval has opened the gate: without one the release is where it began.
            progress = CandidateProgress::starting(now);
        }
        progress.since = progress.since.min(now);
        progress.progress_at = progress.progress_at.min(now);
        progress
    });
    for set in &mut status.sets {
        set.held_since = set.held_since.map(|since| since.min(now));
    }
}

impl CandidateProgress {
    /// At the beginning: nothing observed, nothing approved.
    pub(super) fn starting(now: Timestamp) -> Self {
        Self {
            phase: Phase::Starting,
            since: now,
            progress_at: now,
            progress: 0,
            observed: Vec::new(),
            approval: None,
            frozen: false,
        }
    }
}
