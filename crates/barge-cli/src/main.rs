//! The `barge` binary: every command that people and pipelines use, and barge-init under its own name.

mod arguments;
mod changes;
mod commands;
mod demo;
mod failure;
mod follow;
mod image;
mod page;
mod places;
mod platform;
mod progress;
mod project;
mod registries;
mod replica;
mod report;
mod session;
mod table;
mod terminal;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let program = arguments.first().map(Path::new).and_then(Path::file_name);
    if program == Some(OsStr::new(barge_init::PROGRAM)) {
        return barge_init::main(arguments.into_iter().skip(1).collect());
    }
    barge_runtime::choose_cryptography();
    barge_runtime::start_logging();
    match arguments::parse(&arguments) {
        Ok(line) => commands::execute(line),
        Err(code) => code,
    }
}
