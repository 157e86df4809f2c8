//! What is done, step after step: drawn from a seed and from nothing else, so that a seed with which something failed does the same again.
//!
//! A step begins and ends at rest. So how each service has to stand after it is known beforehand, whoever is killed on the way.

use std::fmt;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::stage::Victim;

/// How many instances a service has. With two, one may be killed, and requests that can be repeated have another one to go to.
const LEAST: u32 = 2;
/// As above, at the most.
pub(super) const MOST: u32 = 5;
/// Of ten steps, so many have somebody killed on the way.
const DISTURBED: u32 = 3;
/// A victim is killed before so many transitions have gone by. Most operations have more, some have fewer.
const POINTS: u32 = 12;
/// For how many steps the platform may be killed, once a storm has begun.
const STORM: u32 = 32;

/// A service of the soak.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) name: &'static str,
    /// How many instances it begins with.
    pub(super) replicas: u32,
    /// What the load asks for.
    pub(super) path: &'static str,
}

/// The services. Nothing is done to the first: its processes are the same ones at the end, and live long enough to be judged.
pub(super) const SHAPES: [Shape; 3] = [
    Shape { name: "still", replicas: 2, path: "/" },
    Shape { name: "pair", replicas: 2, path: "/" },
    Shape { name: "slow", replicas: 3, path: "/slow?ms=100" },
];

/// What somebody does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    /// Releases good code, up to its gate; in place of a release that waits there already.
    Release {
        version: u32,
    },
    /// Releases code that cannot start, and is held and explained.
    Break {
        version: u32,
    },
    /// Approves, and waits until all instances run it.
    Approve,
    /// Takes a release at its gate back, or lets go of a failed start.
    Abort,
    /// The same by another word; where nothing is on its way, back to the version before.
    RollBack,
    /// Starts every instance anew.
    Restart,
    Scale {
        replicas: u32,
    },
    /// Kills one of those that are there, and waits until everything is as before.
    Kill {
        victim: Victim,
        which: u32,
    },
}

/// Somebody is killed while an operation goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Disturbance {
    pub(super) victim: Victim,
    /// At which transition, counted from the operation's beginning.
    pub(super) point: u32,
}

/// How a service stands at rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Standing {
    /// The version that serves.
    pub(super) stable: u32,
    /// The version that waits at its gate.
    pub(super) candidate: Option<u32>,
    /// Whether a failed start is kept.
    pub(super) held: bool,
    pub(super) replicas: u32,
    /// The version that served before, to which a rollback goes.
    before: Option<u32>,
    newest: u32,
}

/// A step.
#[derive(Debug, Clone)]
pub(super) struct Step {
    /// From 1.
    pub(super) number: u32,
    /// Which of the services.
    pub(super) service: usize,
    pub(super) operation: Operation,
    pub(super) disturbance: Option<Disturbance>,
    /// How the service stands afterwards.
    pub(super) after: Standing,
}

/// Steps without end.
#[derive(Debug)]
pub(super) struct Script {
    random: ChaCha8Rng,
    number: u32,
    standings: Vec<Standing>,
}

impl Standing {
    /// After its first release, which is its version 1.
    pub(super) fn first(shape: &Shape) -> Self {
        Self { stable: 1, candidate: None, held: false, replicas: shape.replicas, before: None, newest: 1 }
    }

    /// What may be done, and how likely it is.
    fn choices(&self, storm: bool) -> [(Operation, u32); 10] {
        let gate = self.candidate.is_some();
        let serving = !gate && !self.held;
        let version = self.newest + 1;
        let (replicas, which) = (self.replicas, 0);
        [
            (Operation::Release { version }, if gate { 6 } else { 30 }),
            (Operation::Break { version }, if gate { 3 } else { 8 }),
            (Operation::Approve, if gate { 40 } else { 0 }),
            (Operation::Abort, if serving { 0 } else { 12 }),
            (Operation::RollBack, if serving && self.before.is_none() { 0 } else { 10 }),
            (Operation::Restart, if gate { 0 } else { 6 }),
            (Operation::Scale { replicas }, 10),
            (Operation::Kill { victim: Victim::Instance, which }, 10),
            (Operation::Kill { victim: Victim::Init, which }, 8),
            (Operation::Kill { victim: Victim::PlatformAlone, which }, if storm { 30 } else { 0 }),
        ]
    }

    fn after(&self, operation: Operation) -> Self {
        let mut after = self.clone();
        match operation {
            Operation::Release { version } => {
                (after.newest, after.candidate, after.held) = (version, Some(version), false)
            }
            Operation::Break { version } => (after.newest, after.candidate, after.held) = (version, None, true),
            Operation::Approve => {
                after.before = Some(self.stable);
                after.stable = after.candidate.take().unwrap_or(self.stable);
            }
            Operation::RollBack if self.candidate.is_none() && !self.held => {
                after.stable = self.before.unwrap_or(self.stable);
                after.before = Some(self.stable);
            }
            Operation::Abort | Operation::RollBack => (after.candidate, after.held) = (None, false),
            Operation::Restart => after.held = false,
            Operation::Scale { replicas } => after.replicas = replicas,
            Operation::Kill { .. } => {}
        }
        after
    }
}

impl Script {
    /// The steps of a seed.
    pub(super) fn new(seed: u64) -> Self {
        // Spelled out, because how a library makes a long seed of a short one is its own affair.
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let standings = SHAPES.iter().map(Standing::first).collect();
        Self { random: ChaCha8Rng::from_seed(bytes), number: 0, standings }
    }

    /// A number below `limit`. Not quite even, and the same in every version.
    fn below(&mut self, limit: u32) -> u32 {
        self.random.next_u32() % limit
    }

    fn draw(&mut self, choices: &[(Operation, u32)]) -> Operation {
        let mut turn = self.below(choices.iter().map(|(_, weight)| weight).sum());
        let chosen = choices.iter().find(|(_, weight)| {
            let here = turn < *weight;
            turn = turn.saturating_sub(*weight);
            here
        });
        match chosen.unwrap_or(&choices[0]).0 {
            Operation::Scale { replicas } => {
                let others = MOST - LEAST;
                let further = 1 + self.below(others);
                Operation::Scale { replicas: LEAST + (replicas - LEAST + further) % (others + 1) }
            }
            Operation::Kill { victim, .. } => Operation::Kill { victim, which: self.below(u32::MAX) },
            other => other,
        }
    }

    fn disturbance(&mut self, storm: bool) -> Option<Disturbance> {
        if self.below(10) >= DISTURBED {
            return None;
        }
        let victim = match self.below(4) {
            0 => Victim::Instance,
            1 => Victim::Init,
            2 if storm => Victim::PlatformAlone,
            _ => Victim::CommandLine,
        };
        Some(Disturbance { victim, point: self.below(POINTS) })
    }
}

impl Iterator for Script {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        self.number += 1;
        let storm = is_in_storm(self.number);
        // The first service is left alone.
        let service = 1 + (self.below(2) as usize);
        let choices = self.standings[service].choices(storm);
        let operation = self.draw(&choices);
        let disturbance = match operation {
            Operation::Kill { .. } => None,
            _ => self.disturbance(storm),
        };
        let after = self.standings[service].after(operation);
        self.standings[service] = after.clone();
        Some(Step { number: self.number, service, operation, disturbance, after })
    }
}

/// Whether the platform may be killed. A process that is killed again and again never grows old enough to show whether it grows: so
/// this happens in storms, each twice as many steps from the beginning as the one before it.
fn is_in_storm(number: u32) -> bool {
    number - (1 << number.ilog2()) < STORM
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step {}: {}: ", self.number, SHAPES[self.service].name)?;
        match self.operation {
            Operation::Release { version } => write!(f, "release version {version}"),
            Operation::Break { version } => write!(f, "release version {version}, which cannot start"),
            Operation::Approve => f.write_str("approve"),
            Operation::Abort => f.write_str("abort"),
            Operation::RollBack => f.write_str("roll back"),
            Operation::Restart => f.write_str("restart"),
            Operation::Scale { replicas } => write!(f, "scale to {replicas}"),
            Operation::Kill { victim, .. } => write!(f, "kill {victim}"),
        }?;
        match self.disturbance {
            Some(Disturbance { victim, point }) => write!(f, "; {victim} is killed at transition {point}"),
            None => Ok(()),
        }
    }
}
