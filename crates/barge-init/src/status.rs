//! What barge-init says of its instance: on the socket, and in the status file that outlives it.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize};

use crate::processes::ProcessMark;

/// What the instance is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The process runs and was not ready yet.
    #[default]
    Starting,
    /// The readiness check passes.
    Ready,
    /// The readiness check passed before and does not now.
    NotReady,
    /// The start failed; the scene is kept.
    Held,
    /// The instance is being drained and stopped.
    Stopping,
    /// It is over.
    Ended,
}

/// How the process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "ended")]
pub enum Ending {
    /// With an exit code.
    Exited {
        /// The code.
        code: i32,
    },
    /// By a signal.
    Signalled {
        /// The signal's number.
        signal: i32,
    },
    /// It was never started.
    NotStarted,
}

impl Ending {
    /// The exit code as shells count it: 128 and the signal's number for a signal.
    pub fn code(self) -> u8 {
        match self {
            Ending::Exited { code } => u8::try_from(code & 0xff).unwrap_or(1),
            Ending::Signalled { signal } => u8::try_from(128 + signal).unwrap_or(255),
            Ending::NotStarted => 127,
        }
    }

    /// The end in words, such as `exit code 3` or `killed (SIGKILL)`.
    pub fn in_words(self) -> String {
        let name = |signal: i32| match nix::sys::signal::Signal::try_from(signal) {
            Ok(known) => known.as_str().to_owned(),
            Err(_) => format!("signal {signal}"),
        };
        match self {
            Ending::Exited { code } => format!("exit code {code}"),
            Ending::Signalled { signal } => format!("killed ({})", name(signal)),
            Ending::NotStarted => "never started".to_owned(),
        }
    }
}

/// One readiness check.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ProbeRecord {
    /// When, in milliseconds since the Unix epoch.
    pub at: i64,
    /// Whether it passed.
    pub ok: bool,
    /// What was asked and what came back.
    pub detail: String,
    /// How many checks in a row said the same.
    pub times: u32,
}

/// One step in the instance's life.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TimelineEntry {
    /// When, in milliseconds since the Unix epoch.
    pub at: i64,
    /// What happened.
    pub what: String,
}

/// A process beside the main one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HelperStatus {
    /// Its id, while it runs.
    pub pid: Option<i32>,
    /// How often it was started again.
    pub restarts: u32,
    /// How it ended last.
    #[serde(deserialize_with = "understood")]
    pub ending: Option<Ending>,
    /// The same in words, or why it could not be started.
    pub reason: Option<String>,
}

/// Everything that is known of the instance.
///
/// An instance outlives upgrades of whoever reads this, so no line is unreadable for what it lacks, or for words of a later version.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// The instance's id, from its plan.
    pub instance: String,
    /// What it is doing.
    #[serde(deserialize_with = "understood")]
    pub phase: Phase,
    /// barge-init's own process id.
    pub init_pid: u32,
    /// The process's id, while it runs.
    pub pid: Option<i32>,
    /// What the process is known by should barge-init be killed, while it runs.
    #[serde(deserialize_with = "understood")]
    pub process: Option<ProcessMark>,
    /// The processes beside it, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub helpers: BTreeMap<String, HelperStatus>,
    /// How it stands in the registry of its plan, in words, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registration: Option<String>,
    /// Where it answers, as `address:port`, once that is known.
    pub address: Option<String>,
    /// Whether it was ready at least once.
    pub was_ready: bool,
    /// How it ended, once it has.
    #[serde(deserialize_with = "understood")]
    pub ending: Option<Ending>,
    /// Why it is held or not ready, in words.
    pub reason: Option<String>,
    /// The latest readiness checks, oldest first.
    pub probes: Vec<ProbeRecord>,
    /// The instance's life so far.
    pub timeline: Vec<TimelineEntry>,
    /// The last lines of output; filled for a held or ended instance.
    pub log_tail: Vec<String>,
}

/// How many readiness checks the status keeps; equal ones in a row count as one.
const PROBES_KEPT: usize = 10;
/// How many steps the timeline keeps.
const TIMELINE_KEPT: usize = 60;

impl Status {
    /// The status of an instance that is about to start.
    pub fn new(instance: String) -> Self {
        Self { instance, init_pid: std::process::id(), ..Self::default() }
    }

    /// Adds a step to the timeline; `at` is in milliseconds since the Unix epoch.
    pub(crate) fn note_at(&mut self, at: i64, what: impl Into<String>) {
        if self.timeline.len() == TIMELINE_KEPT {
            self.timeline.remove(1);
        }
        self.timeline.push(TimelineEntry { at, what: what.into() });
    }

    /// Adds a readiness check.
    pub(crate) fn probed_at(&mut self, at: i64, ok: bool, detail: &str) {
        if let Some(last) = self.probes.last_mut()
            && last.ok == ok
            && last.detail == detail
        {
            last.times = last.times.saturating_add(1);
            last.at = at;
            return;
        }
        if self.probes.len() == PROBES_KEPT {
            self.probes.remove(0);
        }
        self.probes.push(ProbeRecord { at, ok, detail: detail.to_owned(), times: 1 });
    }
}

/// What is said in words that this version does not know counts as not said.
fn understood<'de, D: Deserializer<'de>, T: serde::de::DeserializeOwned + Default>(said: D) -> Result<T, D::Error> {
    let said = serde_json::Value::deserialize(said)?;
    Ok(serde_json::from_value(said).unwrap_or_default())
}

/// The wall clock in milliseconds since the Unix epoch.
pub fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

/// Replaces the status file. A full disk must not end the process, and the socket still answers, so a failure is passed over.
pub(crate) fn write(path: &Path, status: &Status) {
    let temporary = path.with_extension("new");
    let Ok(bytes) = serde_json::to_vec(status) else { return };
    // What is there is of somebody who was killed, or a link that was left there for us to write through.
    let _ = std::fs::remove_file(&temporary);
    let file = std::fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(&temporary);
    if file.and_then(|mut file| file.write_all(&bytes)).is_ok() {
        let _ = std::fs::rename(&temporary, path);
    }
}

/// A span of time for people: whole seconds where it has them.
pub(crate) fn in_words(span: std::time::Duration) -> String {
    let millis = span.as_millis();
    if millis.is_multiple_of(1000) { format!("{} s", millis / 1000) } else { format!("{millis} ms") }
}
