//! One file for each command: what it takes, its help, what it does.

pub(crate) mod abort;
pub(crate) mod adopt;
pub(crate) mod approve;
pub(crate) mod build;
pub(crate) mod cluster;
pub(crate) mod completions;
pub(crate) mod deploy;
pub(crate) mod down;
pub(crate) mod exec;
pub(crate) mod gateway;
pub(crate) mod init;
pub(crate) mod instances;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod logs;
pub(crate) mod open;
pub(crate) mod operator;
pub(crate) mod registrar;
pub(crate) mod releases;
pub(crate) mod restart;
pub(crate) mod rollback;
pub(crate) mod scale;
pub(crate) mod services;
pub(crate) mod status;
pub(crate) mod up;
pub(crate) mod whoami;

use std::process::ExitCode;
use std::time::Duration;

use crate::arguments::{Command, Globals, Line};
use crate::demo;
use crate::failure::{Failure, Kind};
use crate::terminal::Terminal;

/// How long work in the background may still take after a command has ended.
const WIND_DOWN: Duration = Duration::from_millis(500);

/// Runs a command, prints its failure, and gives its exit code.
pub(crate) fn execute(line: Line) -> ExitCode {
    let Line { globals, command } = line;
    let terminal = Terminal::new(&globals);
    let result = match tokio::runtime::Runtime::new() {
        Ok(runtime) => {
            let result = runtime.block_on(interruptible(command, &globals));
            runtime.shutdown_timeout(WIND_DOWN);
            result
        }
        Err(error) => Err(Failure::io("start the async runtime", &error)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            terminal.failure(&failure);
            ExitCode::from(failure.kind().exit_code())
        }
    }
}

/// Ctrl-C ends a command cleanly; some have something to say or to do first and look after it themselves.
async fn interruptible(command: Command, globals: &Globals) -> Result<(), Failure> {
    let own = matches!(
        command,
        Command::Up(_)
            | Command::Gateway(_)
            | Command::Operator(_)
            | Command::Registrar(_)
            | Command::Demo(_)
            | Command::Exec(_)
            | Command::Deploy(_)
            | Command::Approve(_)
            | Command::Rollback(_)
            | Command::Restart(_)
    );
    if own {
        return run(command, globals).await;
    }
    unless_interrupted(run(command, globals)).await
}

pub(crate) async fn run(command: Command, globals: &Globals) -> Result<(), Failure> {
    match command {
        Command::Up(args) => up::run(args, globals).await,
        Command::Gateway(args) => gateway::run(args, globals).await,
        Command::Operator(args) => operator::run(args, globals).await,
        Command::Registrar(args) => registrar::run(args, globals).await,
        Command::Cluster(args) => cluster::run(args, globals).await,
        Command::Adopt(args) => adopt::run(*args, globals).await,
        Command::Down(args) => down::run(args, globals).await,
        Command::Demo(args) => demo::run(args, globals).await,
        Command::Init(args) => init::run(args, globals),
        Command::Build(args) => build::run(args, globals).await,
        Command::Deploy(args) => deploy::run(args, globals).await,
        Command::Status(args) => status::run(args, globals).await,
        Command::Approve(args) => approve::run(args, globals).await,
        Command::Abort(args) => abort::run(args, globals).await,
        Command::Rollback(args) => rollback::run(args, globals).await,
        Command::Scale(args) => scale::run(args, globals).await,
        Command::Restart(args) => restart::run(args, globals).await,
        Command::Releases(args) => releases::run(args, globals).await,
        Command::Instances(args) => instances::run(args, globals).await,
        Command::Logs(args) => logs::run(args, globals).await,
        Command::Exec(args) => exec::run(args, globals).await,
        Command::Services(args) => services::run(args, globals).await,
        Command::Open(args) => open::run(args, globals).await,
        Command::Login(args) => login::run(args, globals).await,
        Command::Logout(args) => logout::run(args, globals).await,
        Command::Whoami(args) => whoami::run(args, globals).await,
        Command::Completions(args) => completions::run(args, globals),
    }
}

/// For commands that look after Ctrl-C themselves later on: until then it ends them cleanly.
pub(crate) async fn unless_interrupted<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::select! {
        result = work => result,
        // Whoever pressed it knows; the exit code tells the others.
        _ = tokio::signal::ctrl_c() => Err(Failure::program(Kind::Interrupted.exit_code())),
    }
}
