//! barge-init: the parent of one business process and of its helpers.
//!
//! It starts the processes of a [`Plan`], finds out when the business process is ready, keeps the output, forwards signals, reaps what is
//! left behind, holds a start that failed, and takes an instance out of traffic before it stops it.
//!
//! One file for each part: [`plan`] what to run, `run` the set-up, `machine` the decisions, `supervise` what carries them out, fed by
//! `events`; `child` how processes are started, `reaper` how they are waited for, `probe` readiness, `ready` who asks for it, `log` the
//! output, `socket` the questions that the engine asks, [`exec`] programs beside the process, `drain` the wait for silence, [`agent`]
//! registrations where nobody else makes them, `explain` why something ended, [`processes`] what was left behind, `system` the little
//! that needs `unsafe`. It knows nothing of releases, roles or engines. No async runtime: it must stay small, and a few threads do.

pub mod agent;
mod child;
mod client;
mod drain;
mod events;
pub mod exec;
mod explain;
mod http;
mod install;
mod log;
mod machine;
pub mod plan;
mod probe;
pub mod processes;
mod ready;
mod reaper;
mod run;
mod socket;
pub mod status;
mod supervise;
mod system;
mod voice;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

pub use client::{Client, ClientError};
pub use http::{Answer as HttpAnswer, get as http_get};
pub use machine::NOT_READY_WITHIN;
pub use plan::{Plan, Probe, Process};
pub use processes::ProcessMark;
pub use ready::PHASE_HEADER;
pub use socket::{Request, StopRequest, TrafficCheck};
pub use status::{Ending, HelperStatus, Phase, ProbeRecord, Status, TimelineEntry};

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

const USAGE: &str = "barge-init: the parent of a container's processes

usage: barge-init [OPTIONS] -- COMMAND [ARGUMENT]...
                                         run the command
       barge-init run DIRECTORY [STATE]  run what DIRECTORY/plan.json says; files are kept in STATE, else in DIRECTORY
       barge-init status DIRECTORY       print the status of the instance whose files are there
       barge-init stop DIRECTORY         stop it as its plan says, and wait until it is over
       barge-init exec [--terminal ROWSxCOLUMNS] [--] [COMMAND [ARGUMENT]...]
                                         run a program beside it, for an engine that speaks in frames
       barge-init install DIRECTORY      put this program into DIRECTORY, where another container finds it

options:
";

/// Nothing that was said can be carried out.
const NOT_RUN: u8 = 125;

/// Runs barge-init with its arguments (without the program's name); the result is the exit code.
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    let words: Vec<&std::ffi::OsStr> = arguments.iter().map(OsString::as_os_str).collect();
    let done = match words.as_slice() {
        [verb, directory] if *verb == "run" => run::run_directory(Path::new(directory), None).map(ExitCode::from),
        [verb, directory, state] if *verb == "run" => {
            run::run_directory(Path::new(directory), Some(Path::new(state))).map(ExitCode::from)
        }
        [verb, directory] if *verb == "status" => return told(print_status(Path::new(directory))),
        [verb, directory] if *verb == "stop" => return told(stop(Path::new(directory))),
        [verb, directory] if *verb == "install" => {
            return told(install::into(Path::new(directory)));
        }
        [verb, words @ ..] if *verb == "exec" => return ExitCode::from(exec::run(words)),
        [option] if *option == "--version" => {
            voice::answer(concat!("barge-init ", env!("CARGO_PKG_VERSION"), "\n"));
            return ExitCode::SUCCESS;
        }
        [option] if *option == "--help" || *option == "-h" => {
            voice::answer(&format!("{USAGE}{}", plan::OPTIONS));
            return ExitCode::SUCCESS;
        }
        [first, ..] if first.as_encoded_bytes().starts_with(b"-") => return run_line(&arguments),
        _ => {
            voice::say(&format!("say what to run\n{USAGE}{}", plan::OPTIONS));
            return ExitCode::from(64);
        }
    };
    done.unwrap_or_else(|error| {
        voice::say(&chain(&error));
        ExitCode::from(NOT_RUN)
    })
}

fn run_line(arguments: &[OsString]) -> ExitCode {
    let text = |word: &OsString| word.clone().into_string().map_err(|word| format!("{word:?} is not UTF-8"));
    let words: Result<Vec<String>, String> = arguments.iter().map(text).collect();
    let plan = words.and_then(|words| plan::parse(&words).map_err(|error| error.to_string()));
    match plan {
        Ok(plan) => run::run_alone(plan).map(ExitCode::from).unwrap_or_else(|error| {
            voice::say(&chain(&error));
            ExitCode::from(NOT_RUN)
        }),
        Err(error) => {
            voice::say(&format!("{error}\nhint: barge-init --help"));
            ExitCode::from(64)
        }
    }
}

fn told(done: Result<(), impl std::error::Error>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            voice::say(&chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn print_status(directory: &Path) -> Result<(), ClientError> {
    let status = Client::connect(directory)?.status()?;
    voice::answer(&(serde_json::to_string_pretty(&status).unwrap_or_default() + "\n"));
    Ok(())
}

/// Has the instance stopped as its plan says, and waits for its end.
fn stop(directory: &Path) -> Result<(), ClientError> {
    let mut watch = Client::connect(directory)?;
    watch.send(&Request::Watch)?;
    Client::connect(directory)?.send(&Request::StopAsPlanned)?;
    while watch.next_status()?.is_some() {}
    Ok(())
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
