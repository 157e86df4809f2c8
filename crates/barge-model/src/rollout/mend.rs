//! Makes a stored status whole again before it is used: what is missing never means "go on" (I1).
//!
//! A status may have lost a field, or may have been written by a clock that was ahead. Neither must open a gate or prolong a wait.
//! And what nobody could see is no observation: a machine that slept, a platform that was down, a clock that was set forward.

use super::state::{CandidateProgress, Phase, Role, RolloutStatus};
use super::step::STEP_INTERVAL;
use crate::time::Timestamp;

/// Of the time between two steps only so much counts, in milliseconds. It is not nothing, so that a wait ends also where steps come
/// later than they should.
const SEEN_AT_MOST: i64 = 2 * STEP_INTERVAL.0.cast_signed();

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
        let shift = shift(progress.stepped_at, now);
        progress.since = moved(progress.since, shift).min(now);
        progress.progress_at = moved(progress.progress_at, shift).min(now);
        progress.stepped_at = progress.stepped_at.map(|at| at.min(now));
        progress
    });
    for set in &mut status.sets {
        set.held_since = set.held_since.map(|since| since.min(now));
    }
}

/// By how many milliseconds points in time move, so that what is counted from them grows by what somebody can have observed since
/// the last step, and shrinks by nothing when the clock was set back.
fn shift(stepped_at: Option<Timestamp>, now: Timestamp) -> i64 {
    let Some(stepped_at) = stepped_at else { return 0 };
    let gap = now.as_millis().saturating_sub(stepped_at.as_millis());
    if gap < 0 { gap } else { gap.saturating_sub(SEEN_AT_MOST).max(0) }
}

fn moved(at: Timestamp, millis: i64) -> Timestamp {
    Timestamp::from_millis(at.as_millis().saturating_add(millis))
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
            stepped_at: Some(now),
        }
    }
}
