//! `cargo xtask test`: the one command that runs everything.

use std::process::Command;

use anyhow::{Context, Result, anyhow};

use crate::cluster::{self, ForTests};
use crate::{layers, root, setup};

/// What may be said.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Words for the test programs, such as a part of a test's name
    #[arg(trailing_var_arg = true)]
    rest: Vec<String>,
}

/// What may be said to the fuzz tests.
#[derive(clap::Args)]
pub(crate) struct FuzzArgs {
    /// How long each of them looks
    #[arg(long, default_value_t = 600)]
    seconds: u64,
}

/// Sets up, checks the layers, runs every test, and says what was skipped.
pub(crate) fn run(args: &Args) -> Result<()> {
    setup::tools()?;
    layers::check()?;
    let skipped = root().join("target/skipped-tests");
    std::fs::write(&skipped, "").context("write target/skipped-tests")?;
    let cluster = build_and_start()?;
    let mut command = Command::new("cargo");
    command.args(["test", "--workspace", "--locked", "--no-fail-fast", "--", "--quiet"]).args(&args.rest);
    // Which cluster tests use is decided here, and nowhere else.
    command.env("BARGE_TEST_SKIPPED", &skipped).env_remove("KUBECONFIG");
    if let Some(cluster) = &cluster {
        command.env("BARGE_TEST_KUBECONFIG", cluster.kubeconfig());
    }
    if std::env::var("CI").is_ok_and(|value| value == "true") {
        command.env("BARGE_TEST_STRICT", "1");
    }
    run_and_tell(&mut command, &skipped)
}

/// Builds the tests, and Kubernetes beside them: both take minutes the first time. Without a cluster the tests that need one say so.
fn build_and_start() -> Result<Option<ForTests>> {
    let kubernetes = std::thread::spawn(cluster::prepare);
    crate::run(Command::new("cargo").args(["test", "--workspace", "--locked", "--no-run", "--quiet"]))?;
    let prepared = kubernetes.join().map_err(|_| anyhow!("the thread that prepares a cluster has panicked"))?;
    match prepared.and_then(|()| ForTests::start()) {
        Ok(cluster) => Ok(Some(cluster)),
        Err(error) => {
            println!("no Kubernetes for the tests: {error:#}");
            Ok(None)
        }
    }
}

/// What may be said to the kill matrix.
#[derive(clap::Args)]
pub(crate) struct ChaosArgs {
    /// How the names of the tests begin that are run, such as `the_gateway` [default: all of them]
    #[arg(default_value = "")]
    tests: String,
    /// Kill at this transition alone, to see again what happened there
    #[arg(long, value_name = "NUMBER")]
    point: Option<usize>,
}

/// The whole kill matrix, or a part of it.
pub(crate) fn chaos(args: &ChaosArgs) -> Result<()> {
    crate::run(Command::new("cargo").args(["build", "--locked", "-p", "barge-cli", "-p", "greeter"]))?;
    let mut test = Command::new("cargo");
    test.args(["test", "--locked", "-p", "e2e", "--test", "it", "--", "--nocapture", "--test-threads", "2"]);
    test.arg(format!("chaos::{}", args.tests)).env("BARGE_CHAOS", "all");
    if let Some(point) = args.point {
        test.env("BARGE_CHAOS_POINT", point.to_string());
    }
    crate::run(&mut test)
}

/// Every fuzz test, one after the other. They are found by the name of their module, so that a new one is not forgotten.
pub(crate) fn fuzz(args: &FuzzArgs) -> Result<()> {
    let test =
        ["test", "--workspace", "--locked", "--no-fail-fast", "--test", "it", "--", "fuzz::", "--test-threads", "1"];
    crate::run(Command::new("cargo").args(test).env("BARGE_FUZZ_SECONDS", args.seconds.to_string()))
}

fn run_and_tell(command: &mut Command, skipped: &std::path::Path) -> Result<()> {
    let result = crate::run(command);
    let told = std::fs::read_to_string(skipped).context("read target/skipped-tests")?;
    for line in told.lines() {
        println!("{line}");
    }
    println!("{} skipped for want of a program", told.lines().count());
    result
}
