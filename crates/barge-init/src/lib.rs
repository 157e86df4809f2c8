//! barge-init: the parent of one business process.
//!
//! It starts the process of a [`Plan`], finds out when it is ready, keeps its log, forwards signals, reaps what is left behind,
//! holds a start that failed, and takes an instance out of traffic before it stops it.
//!
//! One file for each part: [`plan`] what to run, `run` the set-up, `child` how the process is started, `probe` readiness, `log` the
//! log, `socket` the questions that the engine asks, `drain` the wait for silence, [`processes`] what was left behind, `supervise` the
//! loop that joins them, fed by `events`. It knows nothing of releases, roles or engines. No async runtime: it must stay small, and
//! four threads do.

mod child;
mod client;
mod drain;
mod events;
mod http;
mod log;
pub mod plan;
mod probe;
pub mod processes;
mod run;
mod socket;
pub mod status;
mod supervise;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

pub use client::{Client, ClientError};
pub use http::{Answer as HttpAnswer, get as http_get};
pub use plan::{Plan, Probe};
pub use processes::ProcessMark;
pub use socket::{Request, StopRequest, TrafficCheck};
pub use status::{Ending, Phase, ProbeRecord, Status, TimelineEntry};
pub use supervise::NOT_READY_WITHIN;

/// The name under which another binary runs as barge-init: `argv[0]` decides.
pub const PROGRAM: &str = "barge-init";

/// File names inside an instance's directory.
pub mod files {
    /// The plan, written by the engine.
    pub const PLAN: &str = "plan.json";
    /// The last status, written by barge-init on every change.
    pub const STATUS: &str = "status.json";
    /// The socket on which barge-init answers.
    pub const SOCKET: &str = "init.sock";
    /// Locked while a barge-init lives in the directory.
    pub const LOCK: &str = "init.lock";
    /// The process's output.
    pub const LOG: &str = "output.log";
}

const USAGE: &str = "barge-init: runs one process in an instance directory

usage: barge-init run DIRECTORY      run the process of DIRECTORY/plan.json
       barge-init status DIRECTORY   print the status of the instance there
";

/// Runs barge-init with its arguments (without the program's name); the result is the exit code.
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    let words: Vec<&std::ffi::OsStr> = arguments.iter().map(OsString::as_os_str).collect();
    match words.as_slice() {
        [verb, directory] if *verb == "run" => match run::run(&PathBuf::from(directory)) {
            Ok(code) => ExitCode::from(code),
            Err(error) => {
                eprintln!("barge-init: {}", chain(&error));
                ExitCode::from(125)
            }
        },
        [verb, directory] if *verb == "status" => print_status(&PathBuf::from(directory)),
        _ => {
            eprint!("{USAGE}");
            ExitCode::from(64)
        }
    }
}

fn print_status(directory: &std::path::Path) -> ExitCode {
    let answer = Client::connect(directory).and_then(|mut client| client.status());
    match answer.map(|status| serde_json::to_string_pretty(&status).unwrap_or_default()) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("barge-init: {}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
