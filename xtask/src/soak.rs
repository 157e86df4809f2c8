//! `cargo xtask soak`: what only many operations bring to light. Too long for the tests, which take a few of its steps
//! (`e2e/tests/it/soak`).

use std::hash::{BuildHasher, Hasher, RandomState};
use std::process::Command;

use anyhow::{Context, Result};

/// How long, and what.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long it goes on
    #[arg(long, value_name = "COUNT", default_value_t = 60)]
    minutes: u64,
    /// The same operations as in an earlier run [default: another seed each time]
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Stop after so many operations
    #[arg(long, value_name = "COUNT")]
    steps: Option<u32>,
}

/// Soaks.
pub(crate) fn run(args: &Args) -> Result<()> {
    let seed = args.seed.unwrap_or_else(any_seed);
    println!("soaking for {} minutes with the seed {seed}", args.minutes);
    crate::build_release(&["-p", "barge-cli", "-p", "greeter"])?;
    let mut soak = Command::new("cargo");
    soak.args(["test", "-q", "--release", "--locked", "-p", "e2e", "--test", "it", "--"])
        .args(["soak", "--nocapture", "--test-threads", "1"])
        .env("BARGE_SOAK_SEED", seed.to_string())
        .env("BARGE_SOAK_MINUTES", args.minutes.to_string());
    if let Some(steps) = args.steps {
        soak.env("BARGE_SOAK_STEPS", steps.to_string());
    }
    crate::run(&mut soak).with_context(|| {
        format!("the same operations again, up to the one that failed: cargo xtask soak --seed {seed}")
    })
}

/// As short as somebody would like to type it.
fn any_seed() -> u64 {
    RandomState::new().build_hasher().finish() % 1_000_000
}
