//! What barge-init is to run: a JSON file that the engine writes into the instance's directory.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How readiness is found out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Probe {
    /// An HTTP request. Without a path of the project's own, `/healthcheck` is asked, and where the service does not know that
    /// path, any answer below 500 is good enough.
    Http {
        /// The project's own path.
        path: Option<String>,
    },
    /// The port accepts connections.
    Accept,
}

/// The plan of one instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The instance's id; the status repeats it, so that nobody takes one instance for another.
    pub instance: String,
    /// The program and its arguments; `$NAME` and `${NAME}` stand for variables of `env`.
    pub command: Vec<String>,
    /// Where it runs.
    pub working_directory: PathBuf,
    /// Its whole environment.
    pub env: BTreeMap<String, String>,
    /// Files (relative to the working directory) ending in `.template`, filled before the start.
    pub templates: Vec<String>,
    /// The address that the process should listen on.
    pub host: String,
    /// The port that it should listen on.
    pub port: u16,
    /// How readiness is found out.
    pub probe: Probe,
    /// How long the start may take, in milliseconds.
    pub start_deadline_ms: u64,
    /// How long a failed start is held, in milliseconds.
    pub hold_limit_ms: u64,
    /// The size at which the log file is rotated, in bytes.
    pub log_file_bytes: u64,
    /// How many files the process may have open before it asks for more (RLIMIT_NOFILE's soft limit); none leaves barge-init's own.
    #[serde(default)]
    pub open_files: Option<u64>,
    /// Files `cgroup.procs` of the groups that limit the instance; barge-init enters them before it starts the process.
    pub groups: Vec<PathBuf>,
}

/// Replaces `$NAME` and `${NAME}` by variables of `env`; an unknown name and `$$` stay readable: `$$` becomes `$`.
pub fn expand(text: &str, env: &BTreeMap<String, String>) -> String {
    replace(text, env, true)
}

/// Replaces `${NAME}` alone, for templates: `$name` means something to many configuration files.
pub fn fill_template(text: &str, env: &BTreeMap<String, String>) -> String {
    replace(text, env, false)
}

fn replace(text: &str, env: &BTreeMap<String, String>, bare: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if bare && let Some(tail) = after.strip_prefix('$') {
            out.push('$');
            rest = tail;
            continue;
        }
        let (name, length) = match after.strip_prefix('{') {
            Some(braced) => match braced.find('}') {
                Some(end) => (&braced[..end], end + 2),
                None => ("", 0),
            },
            None if bare => {
                let end = after.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
                (&after[..end], end)
            }
            None => ("", 0),
        };
        match env.get(name) {
            Some(value) => {
                out.push_str(value);
                rest = &after[length..];
            }
            None => {
                out.push('$');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}
