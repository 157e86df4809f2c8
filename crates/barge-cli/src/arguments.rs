//! The command line: what may be said to all commands, and the list of commands.
//!
//! What a single command takes is said in its own file below `commands/`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use barge_model::{EnvironmentName, ServiceName};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::commands::{
    abort, adopt, approve, build, cluster, completions, deploy, down, exec, gateway, init, instances, login, logout,
    logs, open, operator, registrar, releases, restart, rollback, scale, services, status, up, whoami,
};
use crate::demo;
use crate::failure::{EXIT_CODES, Failure, Kind};

const HELP_TEMPLATE: &str = "{before-help}{about-with-newline}\n{usage-heading} {usage}\n\n{all-args}{after-help}";

const EXAMPLES: &str = "\
Examples:
  barge demo                  watch a whole release on this machine
  barge up                    run the platform on this machine
  barge init && barge deploy  from built code to one instance that serves
  barge approve               it is good: the remaining instances follow
  barge rollback              it is not: back to the release before";

/// Release built code to instances that serve traffic: one instance, an approval, the rest
#[derive(Debug, Parser)]
#[command(name = "barge", version, help_template = HELP_TEMPLATE, max_term_width = 100)]
#[command(after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"), subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Line {
    /// What holds for every command.
    #[command(flatten)]
    pub(crate) globals: Globals,
    /// The command.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What holds for every command.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Globals {
    /// Print data as JSON to standard output
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// The environment [default: the server's first]
    #[arg(short, long, global = true, value_name = "NAME", env = "BARGE_ENVIRONMENT", hide_env_values = true)]
    pub(crate) environment: Option<EnvironmentName>,
    /// The service [default: the name in barge.yaml, here or above]
    #[arg(short = 'm', long, global = true, value_name = "NAME")]
    pub(crate) service: Option<ServiceName>,
    /// The server's address [default: where you are logged in]
    #[arg(long, global = true, value_name = "URL", env = "BARGE_SERVER", hide_env_values = true)]
    pub(crate) server: Option<String>,
    /// A file with the token [default: $BARGE_TOKEN, else your login's]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// No progress, only results and errors
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Colours: `auto` means on a terminal and without NO_COLOR
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: Colour,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Colour {
    /// On a terminal, without NO_COLOR.
    #[default]
    Auto,
    /// In files and pipes too.
    Always,
    /// Never.
    Never,
}

/// The commands, in the order in which people meet them.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Demo(demo::Args),
    Up(up::Args),
    Gateway(gateway::Args),
    Cluster(cluster::Args),
    Adopt(Box<adopt::Args>),
    Operator(operator::Args),
    Registrar(registrar::Args),
    Down(down::Args),
    Init(init::Args),
    Build(build::Args),
    Deploy(deploy::Args),
    Status(status::Args),
    Approve(approve::Args),
    Abort(abort::Args),
    Rollback(rollback::Args),
    Scale(scale::Args),
    Restart(restart::Args),
    Releases(releases::Args),
    Instances(instances::Args),
    Logs(logs::Args),
    Exec(exec::Args),
    Services(services::Args),
    Open(open::Args),
    Login(login::Args),
    Logout(logout::Args),
    Whoami(whoami::Args),
    Completions(completions::Args),
}

/// Reads the command line; an error has been printed already.
pub(crate) fn parse(arguments: &[OsString]) -> Result<Line, ExitCode> {
    Line::try_parse_from(arguments).map_err(|error| {
        let wrong = error.use_stderr();
        // Nobody is left to be told if this fails.
        let _ = error.print();
        if wrong && arguments.iter().any(|argument| argument == "--json") {
            let message = error.to_string();
            let message = message.lines().next().unwrap_or_default().trim_start_matches("error: ");
            println!("{}", Failure::new(Kind::Usage, message).json());
        }
        ExitCode::from(if wrong { Kind::Usage.exit_code() } else { 0 })
    })
}
