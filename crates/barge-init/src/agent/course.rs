//! What the registry is to be told next: a pure function of what the instance is to be there, of what the registry has taken, and of the
//! time. It speaks to nobody and reads no clock, so that every order of events can be tried.
//!
//! [`Course::next`] gives the call that is due, [`Course::answered`] takes what came of it. It leaves out how a call is made, and how often
//! a registry wants to hear from us: both are the registry's.

use std::time::Duration;

/// The first pause after a call that failed.
const LEAST_PAUSE: Duration = Duration::from_millis(250);
/// The longest one, unless the heartbeat is shorter.
const MOST_PAUSE: Duration = Duration::from_secs(10);

/// What the instance is to be in the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Nothing: it was not ready yet.
    Away,
    /// It serves.
    Ready,
    /// It does not serve, and why.
    NotReady(String),
    /// It is about to end, for good.
    Leaving,
}

/// What the registry says of the instance to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It serves.
    Ready,
    /// It does not.
    NotReady,
}

/// One call at the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// What is to be done.
    pub what: What,
    /// Grows with every change.
    pub generation: u64,
    /// Why the instance is not ready, where it is not.
    pub reason: String,
}

/// What a call is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Registers the instance, or changes its registration.
    Tell(Standing),
    /// The heartbeat: it is still so.
    Beat(Standing),
    /// Removes the registration for good.
    Leave,
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is as it was to be.
    Done,
    /// The registry does not know the instance any more.
    Forgotten,
    /// The registry holds a later generation.
    Older {
        /// The generation that it holds.
        stored: u64,
    },
    /// The registry takes nothing of this instance any more.
    Ended,
    /// Nobody was reached, so that nothing can have been changed.
    Unreached(String),
    /// It failed, or nobody knows what came of it.
    Failed(String),
}

/// What the registry holds of the instance, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    /// Nothing: nothing ever reached it.
    Nothing,
    /// Perhaps something: a call went out and came to nothing, or what was there is gone.
    Unknown,
    /// What it has acknowledged.
    Taken { generation: u64, standing: Standing },
    /// Nothing any more.
    Over(End),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    NeverThere,
    Left,
    Ended,
}

/// How things stand, so that people are told once of each change, however much the reasons differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stage {
    held: Option<Standing>,
    over: bool,
    leaving: bool,
    failing: bool,
}

/// How a registry is spoken of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// Which one, such as `Consul at 127.0.0.1:8500`.
    pub place: String,
    /// What a ready instance is there.
    pub ready: &'static str,
    /// What one is there that is not ready.
    pub not_ready: &'static str,
}

/// The decisions of one registration.
#[derive(Debug, Clone)]
pub struct Course {
    /// Between two heartbeats.
    beat: Duration,
    wanted: Wanted,
    generation: u64,
    held: Held,
    /// Failed calls in a row.
    failures: u32,
    failure: Option<String>,
    /// When the next call is due, where one is needed.
    due: Duration,
    /// A call was given out and is not answered yet.
    under_way: bool,
}

impl Course {
    /// The course of an instance that is to be nowhere yet.
    pub fn new(beat: Duration) -> Self {
        let (wanted, held, due) = (Wanted::Away, Held::Nothing, Duration::ZERO);
        Self { beat, wanted, generation: 0, held, failures: 0, failure: None, due, under_way: false }
    }

    /// Takes in what the instance is to be from now on. Nobody is away again, and leaving is final.
    pub fn want(&mut self, now: Duration, wanted: Wanted) {
        if wanted == Wanted::Away || self.wanted == wanted || self.wanted == Wanted::Leaving || self.is_over() {
            return;
        }
        let before = std::mem::replace(&mut self.wanted, wanted);
        if standing(&before) == standing(&self.wanted) && self.wanted != Wanted::Leaving {
            // Another reason for the same: the next heartbeat carries it.
            return;
        }
        self.generation = self.generation.saturating_add(1);
        if self.wanted == Wanted::Leaving {
            self.end_if_never_there();
            // A pause from before must not cost the time that a stop has.
            (self.failures, self.failure, self.due) = (0, None, now);
        } else if self.failures == 0 {
            self.due = now;
        }
    }

    /// The call that is due, if any. The same one again until it is answered.
    pub fn next(&mut self, now: Duration) -> Option<Call> {
        let call = if self.needed() && self.due <= now { self.call() } else { None };
        self.under_way |= call.is_some();
        call
    }

    /// When [`Course::next`] has something to do, if nothing happens before.
    pub fn due(&self) -> Option<Duration> {
        self.needed().then_some(self.due)
    }

    /// Whether nothing will ever be due again.
    pub fn is_over(&self) -> bool {
        matches!(self.held, Held::Over(_))
    }

    /// Takes in what came of a call, and the heartbeat that the registry wants from now on. `jitter` is from 0 to below 1: it spreads what
    /// many instances do after the same event.
    pub fn answered(&mut self, now: Duration, call: &Call, outcome: Outcome, beat: Duration, jitter: f64) {
        (self.beat, self.under_way) = (beat, false);
        if self.is_over() {
            return;
        }
        let leaving = call.what == What::Leave;
        match outcome {
            Outcome::Ended => self.end(End::Ended),
            Outcome::Done | Outcome::Forgotten if leaving => self.end(End::Left),
            Outcome::Done => self.taken(now, call, jitter),
            Outcome::Forgotten if matches!(call.what, What::Beat(_)) => {
                // Told anew at once. Should it be forgotten again, that is a heartbeat later.
                (self.held, self.due) = (Held::Unknown, now);
                self.failure = Some("it has forgotten the instance".to_owned());
            }
            Outcome::Forgotten => self.failed(now, "it forgets at once what it is told".to_owned(), jitter),
            Outcome::Older { stored } => {
                self.generation = self.generation.max(stored).saturating_add(1);
                self.unknown_unless_taken();
                self.failed(now, format!("it holds generation {stored} already"), jitter);
                if self.failures == 1 {
                    self.due = now;
                }
            }
            Outcome::Unreached(why) => {
                self.failed(now, why, jitter);
                self.end_if_never_there();
            }
            Outcome::Failed(why) => {
                self.unknown_unless_taken();
                self.failed(now, why, jitter);
            }
        }
    }

    /// How things stand, for people.
    pub fn words(&self, names: &Names) -> String {
        let Names { place, ready, not_ready } = names;
        let because = |what: String| match &self.failure {
            Some(why) => format!("{what}: {why}"),
            None => what,
        };
        match (self.held, &self.wanted) {
            (Held::Over(End::NeverThere), _) => format!("never registered in {place}"),
            (Held::Over(End::Left), _) => format!("deregistered from {place}"),
            (Held::Over(End::Ended), _) => format!("ended by {place}, which takes nothing of this instance any more"),
            (_, Wanted::Leaving) => because(format!("not deregistered from {place} yet")),
            (Held::Taken { standing, .. }, wanted) => {
                let what = if standing == Standing::Ready { ready } else { not_ready };
                match (&self.failure, wanted) {
                    (Some(why), _) => format!("{what} in {place} when it answered last; now: {why}"),
                    (None, Wanted::NotReady(reason)) if standing == Standing::NotReady => {
                        format!("{what} in {place}: {reason}")
                    }
                    _ => format!("{what} in {place}"),
                }
            }
            (_, Wanted::Away) => format!("not registered in {place}: it was not ready yet"),
            (Held::Nothing | Held::Unknown, _) => because(format!("not registered in {place}")),
        }
    }

    /// The same without reasons, to tell a change from a repetition.
    pub fn stage(&self) -> Stage {
        let held = match self.held {
            Held::Taken { standing, .. } => Some(standing),
            _ => None,
        };
        let leaving = self.wanted == Wanted::Leaving;
        Stage { held, over: self.is_over(), leaving, failing: self.failure.is_some() }
    }

    fn needed(&self) -> bool {
        !self.is_over() && self.wanted != Wanted::Away
    }

    fn call(&self) -> Option<Call> {
        let is_told = |held: Held| matches!(held, Held::Taken { generation, .. } if generation == self.generation);
        let what = match standing(&self.wanted) {
            Some(standing) if is_told(self.held) => What::Beat(standing),
            Some(standing) => What::Tell(standing),
            None if self.wanted == Wanted::Leaving => What::Leave,
            None => return None,
        };
        let reason = match &self.wanted {
            Wanted::NotReady(reason) => reason.clone(),
            _ => String::new(),
        };
        Some(Call { what, generation: self.generation, reason })
    }

    fn taken(&mut self, now: Duration, call: &Call, jitter: f64) {
        (self.failures, self.failure) = (0, None);
        if let What::Tell(standing) | What::Beat(standing) = call.what {
            self.held = Held::Taken { generation: call.generation, standing };
        }
        // What has changed while the call was under way is told at once.
        let is_current = call.generation == self.generation;
        self.due = if is_current { now.saturating_add(spread(self.beat, 0.9, jitter)) } else { now };
    }

    fn failed(&mut self, now: Duration, why: String, jitter: f64) {
        let most = MOST_PAUSE.min(self.beat);
        let pause = LEAST_PAUSE.saturating_mul(1 << self.failures.min(10)).min(most);
        self.failures = self.failures.saturating_add(1);
        self.failure = Some(why);
        self.due = now.saturating_add(spread(pause, 0.5, jitter));
    }

    fn unknown_unless_taken(&mut self) {
        if self.held == Held::Nothing {
            self.held = Held::Unknown;
        }
    }

    /// Whoever leaves and was never there has nothing to tell anybody.
    fn end_if_never_there(&mut self) {
        if self.wanted == Wanted::Leaving && self.held == Held::Nothing && !self.under_way {
            self.end(End::NeverThere);
        }
    }

    fn end(&mut self, end: End) {
        (self.held, self.failures, self.failure) = (Held::Over(end), 0, None);
    }
}

fn standing(wanted: &Wanted) -> Option<Standing> {
    match wanted {
        Wanted::Ready => Some(Standing::Ready),
        Wanted::NotReady(_) => Some(Standing::NotReady),
        Wanted::Away | Wanted::Leaving => None,
    }
}

/// A span between `least` of it and the whole.
fn spread(span: Duration, least: f64, jitter: f64) -> Duration {
    span.mul_f64(least + (1.0 - least) * jitter.clamp(0.0, 1.0))
}
