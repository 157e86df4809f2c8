//! The registration machine: random runs over a bad network, tables, and planted bugs.

mod mutants;
mod network;
mod tables;
mod wants;

use barge_model::Timestamp;
use barge_model::registration::{Answer, Call, Candidate, Intent, Registration, Want, wants};

/// The machine as functions, so that each can be replaced by a broken one.
#[derive(Clone, Copy)]
pub(crate) struct Machine {
    pub(crate) wants: fn(&[Candidate]) -> Vec<Want>,
    pub(crate) want: fn(&mut Registration, Want) -> bool,
    pub(crate) answered: fn(&mut Registration, Call, Answer, Timestamp) -> bool,
    pub(crate) audited: fn(&mut Registration, Option<(u64, Intent)>) -> bool,
    pub(crate) terminal: fn(&Registration) -> bool,
    /// The target's rule for what it has to refuse.
    pub(crate) refuses: fn(stored: (u64, Intent), call: Call) -> bool,
    /// Stores a changed intent only after the call was made.
    pub(crate) stores_late: bool,
}

pub(crate) const SOUND: Machine = Machine {
    wants,
    want: Registration::want,
    answered: Registration::answered,
    audited: Registration::audited,
    terminal: Registration::terminal,
    refuses,
    stores_late: false,
};

/// As `barge-gateway` does it.
fn refuses((generation, state): (u64, Intent), call: Call) -> bool {
    let rewritten = call.generation == generation && call.state != state;
    call.generation < generation || rewritten || (state == Intent::Terminal && call.state != Intent::Terminal)
}
