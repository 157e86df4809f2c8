//! The registration machine: what the traffic target is told of one instance, and when.
//!
//! One [`Registration`] per instance, stored before every call (R3). Generations only grow, a terminal intent is final (R2), one
//! call is in flight at a time, and answers may be late, lost or repeated. [`wants`] looks at a service as a whole, because an
//! instance that is merely not ready must never be the last one to go (R6).

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::ids::{InstanceId, ServiceKey};
use crate::rollout::RegistrarHealth;
use crate::time::{Millis, Timestamp};

/// What the target is to know of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Intent {
    /// Gets traffic.
    Online,
    /// Gets none, and may come back.
    Offline,
    /// Gets none, for ever: the instance is ending.
    Terminal,
}

/// An instance's registration as stored.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Registration {
    /// Grows with every change of the intent.
    pub generation: u64,
    /// What the target is to know; nothing before the first readiness.
    pub intent: Option<Intent>,
    /// What the target has acknowledged, by generation.
    pub acknowledged: Option<(u64, Intent)>,
    /// The generation of the call under way. Not stored: after a restart no call is under way.
    #[serde(skip)]
    pub in_flight: Option<u64>,
    /// Calls in a row that the target did not take.
    #[serde(default)]
    pub failures: u32,
    /// No call before this time.
    #[serde(default)]
    pub retry_at: Timestamp,
    /// The target holds a terminal record of this instance: it cannot come online any more.
    #[serde(default)]
    pub fenced: bool,
}

/// What a service's instances want of the target at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Want {
    /// Leave the intent as it is.
    Keep,
    /// Change it to this.
    Be(Intent),
}

/// A call to the target: `PUT` of one instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Call {
    /// The generation to send.
    pub generation: u64,
    /// The state to send.
    pub state: Intent,
}

/// What the target answered to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Answer {
    /// It stored this generation.
    Applied,
    /// It holds a later generation (409).
    Older {
        /// The generation that it holds.
        stored: u64,
        /// Whether that one is terminal.
        terminal: bool,
    },
    /// It did not answer, or failed.
    Failed,
}

impl Registration {
    /// Takes a want over into the intent; true when something changed that must be stored.
    pub fn want(&mut self, want: Want) -> bool {
        let Want::Be(intent) = want else { return false };
        let settled = self.intent == Some(Intent::Terminal) || self.intent == Some(intent);
        let pointless = self.intent.is_none() && intent == Intent::Offline;
        if settled || pointless || (self.fenced && intent != Intent::Terminal) {
            return false;
        }
        self.intent = Some(intent);
        self.generation = self.generation.saturating_add(1);
        self.failures = 0;
        self.retry_at = Timestamp::default();
        true
    }

    /// The call to make now, if any. The caller has stored `self` before; it notes the call as under way.
    pub fn next_call(&mut self, now: Timestamp) -> Option<Call> {
        let state = self.intent?;
        let done = self.acknowledged == Some((self.generation, state));
        // A clock set back must not silence an instance for longer than the longest back-off.
        let waits = now < self.retry_at && self.retry_at.since(now) <= MAX_BACK_OFF;
        if done || waits || self.in_flight.is_some() {
            return None;
        }
        self.in_flight = Some(self.generation);
        Some(Call { generation: self.generation, state })
    }

    /// Takes in an answer to the call of `generation`; true when something changed that must be stored.
    pub fn answered(&mut self, call: Call, answer: Answer, now: Timestamp) -> bool {
        if self.in_flight == Some(call.generation) {
            self.in_flight = None;
        }
        if call.generation != self.generation {
            // Late: the intent has moved on, and the next call says so.
            return false;
        }
        match answer {
            Answer::Applied => {
                self.failures = 0;
                self.acknowledged = Some((call.generation, call.state));
            }
            Answer::Older { stored, terminal } => {
                self.generation = self.generation.max(stored).saturating_add(1);
                self.acknowledged = None;
                self.failures = self.failures.saturating_add(1);
                // The first one brings its own cure. Where another follows, somebody else counts up as well: two that go on without
                // a pause would keep each other busy for ever.
                if self.failures > 1 {
                    self.retry_at = now.plus(back_off(self.failures));
                }
                if terminal {
                    // The target will never take it back; ending it is all that is left, and that is already so there.
                    self.fenced = true;
                    self.intent = Some(Intent::Terminal);
                    self.generation = stored;
                    self.acknowledged = Some((stored, Intent::Terminal));
                    self.failures = 0;
                }
            }
            // Late: a later try of the same call has gone through.
            Answer::Failed if self.acknowledged == Some((call.generation, call.state)) => return false,
            Answer::Failed => {
                self.failures = self.failures.saturating_add(1);
                self.retry_at = now.plus(back_off(self.failures));
            }
        }
        true
    }

    /// Compares with what the target's list really says (R3); true when it must be told again.
    pub fn audited(&mut self, listed: Option<(u64, Intent)>) -> bool {
        if self.in_flight.is_some() || self.acknowledged.is_none() || listed == self.acknowledged {
            return false;
        }
        // A tombstone that the target has forgotten does no harm: the instance is gone there as well.
        if self.acknowledged.is_some_and(|(_, state)| state == Intent::Terminal) && listed.is_none() {
            return false;
        }
        self.acknowledged = None;
        true
    }

    /// Whether the target has acknowledged the instance online, and nothing newer is intended.
    pub fn online(&self) -> bool {
        self.acknowledged == Some((self.generation, Intent::Online)) && self.intent == Some(Intent::Online)
    }

    /// Whether the target has acknowledged that the instance gets no traffic, and nothing newer is intended; or was never told of it.
    pub fn offline(&self) -> bool {
        let told =
            self.acknowledged == Some((self.generation, Intent::Offline)) && self.intent == Some(Intent::Offline);
        told || self.terminal()
    }

    /// Whether the target has acknowledged that the instance is never to get traffic again.
    pub fn terminal(&self) -> bool {
        self.acknowledged.is_some_and(|(_, state)| state == Intent::Terminal)
            || (self.intent.is_none() && self.acknowledged.is_none())
    }
}

const MAX_BACK_OFF: Millis = Millis::from_secs(5);

fn back_off(failures: u32) -> Millis {
    Millis((50u64 << failures.min(10)).min(MAX_BACK_OFF.0))
}

/// One instance of a service, as the registrar is told of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Candidate {
    /// Which instance.
    pub id: InstanceId,
    /// It answers its readiness check.
    pub ready: bool,
    /// It is about to be stopped.
    pub ending: bool,
    /// Its process has ended and is about to be started again: no doubt is possible, unlike with a check that fails.
    pub dead: bool,
    /// It is registered online now.
    pub online: bool,
}

/// What each instance of one service wants, in the order given.
///
/// Trust is asymmetric: an end is acted on at once; being not ready takes an instance offline only while at least half of the service
/// stays online and ready, so that one sick dependency cannot empty a service (R6), and one of two that hangs gets no requests.
pub fn wants(instances: &[Candidate]) -> Vec<Want> {
    let serving = instances.iter().filter(|instance| !instance.ending && instance.online).count();
    let healthy = instances
        .iter()
        .filter(|instance| !instance.ending && !instance.dead && instance.online && instance.ready)
        .count();
    let sick_may_go = healthy > 0 && healthy * 2 >= serving;
    instances
        .iter()
        .map(|instance| match instance {
            Candidate { ending: true, .. } => Want::Be(Intent::Terminal),
            Candidate { dead: true, .. } => Want::Be(Intent::Offline),
            Candidate { ready: true, .. } => Want::Be(Intent::Online),
            Candidate { online: true, .. } if sick_may_go => Want::Be(Intent::Offline),
            _ => Want::Keep,
        })
        .collect()
}

/// What an engine tells the registrar of one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Which instance.
    pub id: InstanceId,
    /// Where it answers, once that is known.
    pub address: Option<SocketAddr>,
    /// It answers its readiness check.
    pub ready: bool,
    /// It is about to be stopped.
    pub ending: bool,
    /// Its process has ended.
    pub dead: bool,
}

/// All instances of an engine. Services whose list is not complete yet are absent, so that nobody takes them for empty (R4).
pub type WantedList = BTreeMap<ServiceKey, Vec<Wanted>>;

/// What the registrar tells an engine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Acknowledgements {
    /// Whether registrations go through.
    pub health: RegistrarHealth,
    /// By instance: what the target has acknowledged.
    pub instances: BTreeMap<InstanceId, Acknowledged>,
}

/// What the target has acknowledged of one instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Acknowledged {
    /// It gets traffic.
    pub online: bool,
    /// It gets none, and nothing else is intended.
    pub offline: bool,
    /// It will never get traffic again.
    pub terminal: bool,
}
