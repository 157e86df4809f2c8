//! The operator at a size: 1,000 services of 10 instances each, on a real API server. The instances are pods of fake nodes, which kwok brings up
//! and takes away, and for which it opens the gate that is the registrar's otherwise. Memory and CPU of a real `barge operator`, at rest and over
//! a churn; how long it takes from a specification to the ReplicaSet of its release, with 500 releases at once; and beside that the time of somebody
//! who decides nothing and makes the same writes, which is what the API server alone takes.
//!
//! `cargo xtask bench operator` starts the cluster and the nodes that this needs.

// A bench fails by panicking, like a test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bare;
mod churn;
mod figures;
mod fleet;
mod process;
mod seen;

use std::time::{Duration, Instant};

use kube::Client;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use tokio::time::sleep;

use figures::{Times, mebibytes, percent, row, seconds};
use fleet::{Fleet, REPLICAS};
use process::{Machinery, Operator};

/// How many services, unless this variable says otherwise.
const SERVICES: usize = 1000;
const SERVICES_VARIABLE: &str = "BARGE_BENCH_SERVICES";
/// How long the churn goes on, unless this variable says otherwise.
const MINUTES: usize = 10;
const MINUTES_VARIABLE: &str = "BARGE_BENCH_MINUTES";
/// So many of the services are released at once.
const SHARE: usize = 2;
/// How long nothing happens.
const REST: Duration = Duration::from_secs(60);
const LOOKS: u32 = 12;
const NAMESPACE: &str = "barge-bench-operator";
const GOAL: &str = "under 150 MiB";

fn main() {
    barge_runtime::choose_cryptography();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(measure(asked(SERVICES_VARIABLE, SERVICES), asked(MINUTES_VARIABLE, MINUTES)));
}

fn asked(variable: &str, usual: usize) -> usize {
    std::env::var(variable).map_or(usual, |count| count.parse().expect("a number"))
}

async fn measure(services: usize, minutes: usize) {
    let kubeconfig = barge_testkit::cluster::kubeconfig().expect("a cluster; hint: cargo xtask bench operator");
    let given = Kubeconfig::read_from(&kubeconfig).unwrap();
    let config = Config::from_custom_kubeconfig(given, &KubeConfigOptions::default()).await.unwrap();
    let client = Client::try_from(config).unwrap();
    let machinery = Machinery::beside(&kubeconfig);
    let mut fleet = Fleet::new(client.clone(), NAMESPACE, services).await;
    let operator = Operator::start(&kubeconfig, NAMESPACE);

    println!("| {services} services of {REPLICAS} instances on fake nodes | | goal |");
    println!("| --- | --- | --- |");
    come_up(&mut fleet, &operator).await;
    rest(&operator).await;
    let released = services / SHARE;
    let alone = bare::releases(&client, &fleet, released).await;
    let together = releases(&mut fleet, released, (&operator, &machinery)).await;
    compare(released, &together, &alone);
    approvals(&mut fleet, released, (&operator, &machinery)).await;
    churn::churn(&mut fleet, &operator, Duration::from_secs(60 * minutes as u64)).await;
    row("memory at the most, over all of it", &mebibytes(operator.most()), GOAL);
    operator.stop().await;
    fleet.end().await;
}

async fn come_up(fleet: &mut Fleet, operator: &Operator) {
    let begin = Instant::now();
    fleet.begin().await;
    fleet.settled("every instance of the first releases is available").await;
    row("from nothing until all instances are available", &seconds(begin.elapsed()), "");
    row("CPU of the operator for that", &seconds(operator.cpu()), "");
}

async fn rest(operator: &Operator) {
    let (before, begin) = (operator.cpu(), Instant::now());
    let mut most = 0;
    for _ in 0..LOOKS {
        sleep(REST / LOOKS).await;
        most = most.max(operator.memory());
    }
    let used = percent(operator.cpu() - before, begin.elapsed());
    let span = REST.as_secs();
    row(&format!("for {span} s nothing happens: resident memory (Rss), at the most"), &mebibytes(most), GOAL);
    row("its CPU then, in percent of one core", &used, "");
}

/// From the answer to each write of a specification to the moment at which a watch tells of the ReplicaSet.
async fn releases(fleet: &mut Fleet, count: usize, (operator, machinery): (&Operator, &Machinery)) -> Times {
    let (before, others, begin) = (operator.cpu(), machinery.cpu(), Instant::now());
    let times = fleet.release(count).await;
    let span = begin.elapsed();
    let used = percent(operator.cpu() - before, span);
    row(&format!("{count} releases at once: until the last ReplicaSet is there"), &seconds(span), "");
    row("CPU of the operator then, in percent of one core", &used, "");
    row("CPU of the API server and etcd then", &percent(machinery.cpu() - others, span), "");
    times
}

fn compare(count: usize, together: &Times, alone: &Times) {
    row("from specification to ReplicaSet: median", &together.show(50), "");
    row("p99", &together.show(99), "under 1 s");
    row("slowest", &together.show(100), "");
    row(&format!("the same {count} times three writes without an operator: median"), &alone.show(50), "");
    row("p99", &alone.show(99), "");
    row("slowest", &alone.show(100), "");
    row("p99 with the operator, in times of that without", &format!("{:.2}", together.ratio(alone, 99)), "");
}

async fn approvals(fleet: &mut Fleet, count: usize, (operator, machinery): (&Operator, &Machinery)) {
    fleet.waiting(count).await;
    let (before, others, begin) = (operator.cpu(), machinery.cpu(), Instant::now());
    fleet.approve(count).await;
    fleet.settled("every approved release is stable").await;
    let span = begin.elapsed();
    let used = percent(operator.cpu() - before, span);
    row(&format!("{count} approvals at once: until all instances are replaced"), &seconds(span), "");
    row("CPU of the operator then, in percent of one core", &used, "");
    row("CPU of the API server and etcd then", &percent(machinery.cpu() - others, span), "");
}
