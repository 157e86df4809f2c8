//! The project's own chores: what the tests need, the tests, the layers between crates, the soak, the benches.

mod bench;
mod cluster;
mod layers;
mod schemathesis;
mod setup;
mod soak;
mod test;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's own chores")]
struct Line {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Set up what the tests need, and run all of them
    Test(test::Args),
    /// Check that crates depend on each other only downwards
    Layers,
    /// Kill everything at every transition of a release under load (the tests try some of them)
    Chaos(test::ChaosArgs),
    /// Release, roll back, scale and kill at random under load for an hour: no request may fail, and nothing may grow
    Soak(soak::Args),
    /// Look with every fuzz test at cases that nobody has seen before, one test after the other (the tests look at a few)
    Fuzz(test::FuzzArgs),
    /// Ask a running server whatever its document allows and more, and judge every answer by the document (installs schemathesis)
    Schemathesis(schemathesis::Args),
    /// A real Kubernetes on this machine, for the tests
    #[command(subcommand)]
    Cluster(cluster::Task),
    /// Measure, and print the figures; `--record` writes them into docs/benchmarks.md
    Bench(bench::Args),
}

fn main() -> ExitCode {
    let done = match Line::parse().task {
        Task::Test(args) => test::run(&args),
        Task::Layers => layers::check(),
        Task::Chaos(args) => test::chaos(&args),
        Task::Soak(args) => soak::run(&args),
        Task::Fuzz(args) => test::fuzz(&args),
        Task::Schemathesis(args) => schemathesis::run(&args),
        Task::Cluster(task) => cluster::run_task(&task),
        Task::Bench(args) => bench::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The repository's root.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Where cargo builds, and tests look.
fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |target| root().join(target))
}

/// Runs a program in the repository's root; its output goes where ours goes.
fn run(command: &mut Command) -> Result<()> {
    let shown = format!("{command:?}");
    let status = command.current_dir(root()).status().with_context(|| format!("start {shown}"))?;
    if !status.success() {
        bail!("{shown} failed ({status})");
    }
    Ok(())
}

/// Builds as users have it.
fn build_release(what: &[&str]) -> Result<()> {
    run(Command::new("cargo").args(["build", "-q", "--release", "--locked"]).args(what))
}

/// Runs a program in the repository's root; the result is its standard output.
fn output(command: &mut Command) -> Result<String> {
    let shown = format!("{command:?}");
    let output = command
        .current_dir(root())
        .stderr(std::process::Stdio::inherit())
        .output()
        .with_context(|| format!("start {shown}"))?;
    if !output.status.success() {
        bail!("{shown} failed ({})", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("read the output of {shown}"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn every_chore_can_be_asked_for() {
        super::Line::command().debug_assert();
    }
}
