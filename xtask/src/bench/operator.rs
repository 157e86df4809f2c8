//! `cargo xtask bench operator`: the cluster and the fake nodes that its services need, for as long as it goes on.

use std::process::Command;

use anyhow::Result;

use crate::cluster::{FakeNodes, ForTests, prepare};
use crate::{output, target};

/// Whose nodes they are; the bench knows them by it.
const NODES: &str = "bench-operator";
/// As many pods as a node takes, and as many as a service has with all that is on its way in and out.
const PODS_OF_A_NODE: u32 = 110;
const PODS_OF_A_SERVICE: u32 = 14;

/// How much.
#[derive(clap::Args)]
#[group(id = "operator")]
pub(super) struct Args {
    /// operator: how many services, of 10 instances each
    #[arg(long, value_name = "COUNT", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(4..=10_000))]
    services: u32,
    /// operator: how long the churn goes on
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    minutes: u32,
}

impl Args {
    /// What somebody types who wants the same.
    pub(super) fn words(&self) -> String {
        match (self.services, self.minutes) {
            (1000, 10) => String::new(),
            (services, minutes) => format!(" --services {services} --minutes {minutes}"),
        }
    }
}

/// Measures.
pub(super) fn run(args: &Args) -> Result<String> {
    crate::build_release(&["-p", "barge-cli"])?;
    prepare()?;
    let cluster = ForTests::start()?;
    let _nodes = FakeNodes::start(NODES, args.services * PODS_OF_A_SERVICE / PODS_OF_A_NODE + 1)?;
    output(
        Command::new("cargo")
            .args(["bench", "-q", "--locked", "-p", "e2e", "--bench", "operator"])
            .env("BARGE_BIN", target().join("release/barge"))
            .env("BARGE_TEST_KUBECONFIG", cluster.kubeconfig())
            .env("BARGE_BENCH_SERVICES", args.services.to_string())
            .env("BARGE_BENCH_MINUTES", args.minutes.to_string()),
    )
}
