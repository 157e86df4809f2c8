//! What barge-init is to run: a JSON file, written by an engine into an instance's directory or by the image builder into an image; or the
//! words of a command line ([`line`]).

mod expand;
mod line;
mod order;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::agent::Agent;

pub(crate) use expand::own_environment;
pub use expand::{expand, fill_template};
pub use line::LineError;
pub(crate) use line::{OPTIONS, parse};
pub use order::PlanError;
pub(crate) use order::umask_of;

/// The name of the business process; helpers have others.
pub const MAIN: &str = "main";

/// The plan of one instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The instance's id; the status repeats it, so that nobody takes one instance for another.
    pub instance: String,
    /// The business process, whose end decides.
    pub main: Process,
    /// Other processes by their names: an sshd, a log shipper, something that has to be done before.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub helpers: BTreeMap<String, Process>,
    /// Files (relative to main's working directory) ending in `.template`, filled before the start.
    #[serde(default)]
    pub templates: Vec<String>,
    /// The address that main should listen on.
    #[serde(default = "loopback")]
    pub host: String,
    /// The port that it should listen on; 0 where it is not told.
    #[serde(default)]
    pub port: u16,
    /// How readiness is found out.
    #[serde(default)]
    pub probe: Probe,
    /// How often, and how patiently.
    #[serde(default)]
    pub checks: Checks,
    /// Where everybody may ask over HTTP whether the instance is ready: the same for every project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readiness: Option<Readiness>,
    /// How long the start may take, in milliseconds.
    #[serde(default = "five_minutes")]
    pub start_deadline_ms: u64,
    /// How long a failed start is held, in milliseconds; 0 ends it at once.
    #[serde(default = "a_day")]
    pub hold_limit_ms: u64,
    /// What becomes of the output.
    #[serde(default)]
    pub output: Output,
    /// Who is sent the signals that are not for barge-init.
    #[serde(default)]
    pub signals: Forward,
    /// What a SIGTERM or SIGINT for barge-init begins.
    #[serde(default)]
    pub stop: Stop,
    /// Where barge-init itself registers the instance, in places where nobody else does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<Agent>,
    /// A file for the reason of a failed start or an end, such as Kubernetes' termination message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub termination_message: Option<PathBuf>,
    /// Files `cgroup.procs` of the groups that limit the instance; each process enters them before it becomes its program.
    #[serde(default)]
    pub groups: Vec<PathBuf>,
}

/// One process.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// What it is for.
    #[serde(default)]
    pub kind: Kind,
    /// The program and its arguments; `$NAME` and `${NAME}` stand for variables of `env`.
    pub command: Vec<String>,
    /// Where it runs.
    #[serde(default = "root")]
    pub working_directory: PathBuf,
    /// Its environment: the whole of it, unless it inherits.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Whether it has barge-init's own environment besides.
    #[serde(default)]
    pub inherit_env: bool,
    /// Whether it has barge-init's own standard input; else an empty one.
    #[serde(default)]
    pub inherit_stdin: bool,
    /// Who runs it: `USER`, `UID`, `USER:GROUP` or `UID:GID`; without one, whoever runs barge-init.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The permissions that its new files do not get, in octal such as `027`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub umask: Option<String>,
    /// What it may use; others stay as barge-init has them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<Limit, u64>,
    /// Who has to be there before: a helper that runs, a task that is done, main once it was ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
}

/// What a process is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It goes on; a helper that ends is started again.
    #[default]
    Service,
    /// It is done once, before others; with any other exit code than 0 the start has failed. Main is none.
    Task,
}

/// A resource of setrlimit(2); its soft limit is set, within the hard one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// Open files (RLIMIT_NOFILE).
    OpenFiles,
    /// Processes of its user (RLIMIT_NPROC).
    Processes,
    /// Bytes of a core file (RLIMIT_CORE).
    Core,
    /// Bytes of a file that it writes (RLIMIT_FSIZE).
    FileSize,
    /// Bytes of its stack (RLIMIT_STACK).
    Stack,
    /// Bytes that it may keep from being swapped out (RLIMIT_MEMLOCK).
    LockedMemory,
    /// Bytes of its address space (RLIMIT_AS).
    AddressSpace,
}

/// How readiness is found out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Probe {
    /// It is not: main is ready as soon as it runs.
    #[default]
    None,
    /// An HTTP request. Without a path of the project's own, `/healthcheck` is asked, and where the service does not know that
    /// path, any answer below 500 is good enough.
    Http {
        /// The project's own path.
        path: Option<String>,
    },
    /// The port accepts connections.
    Accept,
    /// A command that ends with 0, run as main is.
    Command {
        /// The program and its arguments.
        command: Vec<String>,
    },
    /// Whatever port main's processes listen on: one that answers HTTP, else one that accepts connections.
    Auto {
        /// The project's own path, for ports that speak HTTP.
        path: Option<String>,
    },
}

/// How often readiness is checked once main was ready, and how patiently. While it starts it is asked more often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Checks {
    /// Between two checks, in milliseconds.
    pub interval_ms: u64,
    /// How long one check may take, in milliseconds.
    pub timeout_ms: u64,
    /// So many failed checks in a row make a ready process not ready.
    pub failures: u32,
    /// So many good checks in a row make one ready.
    pub successes: u32,
}

impl Default for Checks {
    fn default() -> Self {
        Self { interval_ms: 1000, timeout_ms: 2000, failures: 3, successes: 1 }
    }
}

/// Where readiness can be asked: 200 or 503, and why in the body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Readiness {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// The path.
    #[serde(default = "ready_path")]
    pub path: String,
}

/// What becomes of the output. The last 200 lines are in the status in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Output {
    /// Whether it goes on to barge-init's own standard output and error.
    pub pass_on: bool,
    /// Whether it goes to a file in the instance's directory, and the size in bytes at which that is rotated.
    pub file_bytes: Option<u64>,
}

impl Default for Output {
    fn default() -> Self {
        Self { pass_on: true, file_bytes: None }
    }
}

/// Who is sent a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Forward {
    /// Main's process group.
    #[default]
    Group,
    /// Main alone.
    Process,
}

/// What a SIGTERM or SIGINT for barge-init begins. Whoever asks on the socket says it himself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Stop {
    /// How long there must have been no request, in milliseconds.
    pub quiet_ms: u64,
    /// How long that may be waited for, in milliseconds; 0 does not wait.
    pub limit_ms: u64,
    /// From SIGTERM to SIGKILL, in milliseconds.
    pub grace_ms: u64,
    /// A URL that answers with the number of requests in flight: `http://HOST:PORT/PATH`, of the project's own or of the platform. `$NAME` and
    /// `${NAME}` stand for variables of barge-init's own environment.
    pub check: Option<String>,
    /// How long whoever is asked there may be away before the stop goes on without, in milliseconds. One that answers nonsense is given 10 s.
    pub away_ms: u64,
}

impl Default for Stop {
    fn default() -> Self {
        Self { quiet_ms: 1000, limit_ms: 0, grace_ms: 10_000, check: None, away_ms: 10_000 }
    }
}

fn loopback() -> String {
    "127.0.0.1".to_owned()
}

fn root() -> PathBuf {
    PathBuf::from("/")
}

fn ready_path() -> String {
    "/ready".to_owned()
}

fn five_minutes() -> u64 {
    5 * 60 * 1000
}

fn a_day() -> u64 {
    24 * 3600 * 1000
}
