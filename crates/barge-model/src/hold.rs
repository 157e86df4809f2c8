//! What the end of an instance's process means: a stop that was asked for, a failed start that is held, or a crash.

use serde::{Deserialize, Serialize};

use crate::rollout::Role;
use crate::time::Millis;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case", tag = "ended")]
pub enum Ending {
    /// It returned an exit code.
    Exited {
        /// The code, 0 to 255.
        code: i32,
    },
    /// A signal ended it.
    Signalled {
        /// The signal's number.
        signal: i32,
    },
    /// It could not even be started.
    NotStarted,
    /// Nobody was there to see it end.
    Unknown,
}

impl Ending {
    /// The ending in words.
    pub fn in_words(self) -> String {
        match self {
            Ending::Exited { code: 0 } => "it ended by itself with exit code 0".to_owned(),
            Ending::Exited { code: 126 } => "it could not be executed (exit code 126)".to_owned(),
            Ending::Exited { code: 127 } => "its command was not found (exit code 127)".to_owned(),
            Ending::Exited { code } => format!("it ended with exit code {code}"),
            Ending::Signalled { signal } => format!("it was ended by {}", signal_name(signal)),
            Ending::NotStarted => "it could not be started".to_owned(),
            Ending::Unknown => "its process is gone".to_owned(),
        }
    }
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL (illegal instruction)",
        6 => "SIGABRT (it aborted)",
        7 => "SIGBUS (bad memory access)",
        8 => "SIGFPE (arithmetic error)",
        9 => "SIGKILL (killed, perhaps for its use of memory)",
        11 => "SIGSEGV (bad memory access)",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        _ => return format!("signal {signal}"),
    };
    name.to_owned()
}

/// What is known of an instance whose process has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ended {
    /// What the instance's set is for.
    pub role: Role,
    /// Somebody asked for the stop.
    pub stopping: bool,
    /// The process was ready at least once in this run.
    pub was_ready: bool,
    /// How often the instance was started again before.
    pub restarts: u32,
}

/// What follows from an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It is over.
    Gone,
    /// The start failed: keep the scene, do not start again (I7).
    Hold,
    /// Start again after this back-off.
    Restart(Millis),
}

/// Decides what an end means.
///
/// A failed start of a candidate is held. A stable instance that cannot start again is tried again with back-off: its release has
/// run well before, so the cause is likely to pass, and people are better served by a retry than by a scene.
pub fn verdict(ended: Ended) -> Verdict {
    if ended.stopping || ended.role == Role::Defunct {
        return Verdict::Gone;
    }
    if !ended.was_ready && ended.role == Role::Candidate {
        return Verdict::Hold;
    }
    Verdict::Restart(back_off(ended.restarts))
}

/// The longest wait before a crashed instance is started again.
pub const MAX_BACK_OFF: Millis = Millis::from_secs(60);

/// The wait before a restart: at once, then 1 s doubled each time, at most a minute.
pub fn back_off(restarts: u32) -> Millis {
    match restarts {
        0 => Millis(0),
        n => Millis((1000u64 << (n - 1).min(10)).min(MAX_BACK_OFF.0)),
    }
}
