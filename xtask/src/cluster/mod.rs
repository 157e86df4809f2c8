//! `cargo xtask cluster`: a real Kubernetes on this machine for the tests, of the scripts in `xtask/cluster` (see its README), or the one
//! that KUBECONFIG names.
//!
//! It leaves out what a cluster is made of: that is the scripts'. Here is what somebody types, what is missing for it, and what is built anew.

mod build;
mod go;
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Subcommand;

use crate::{root, run};

pub(crate) use tests::{FakeNodes, ForTests, prepare};

/// What may be done with the cluster.
#[derive(Subcommand)]
pub(crate) enum Task {
    /// Build Kubernetes where that was not done yet, and start a cluster; where KUBECONFIG is set, only look whether that one answers
    Up {
        /// How many machines it seems to have
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=9))]
        nodes: u8,
    },
    /// End it, and take back all that it has left on this machine but what was built
    Down,
    /// What of it runs, and its nodes and pods
    Status,
    /// End one of its parts at once: etcd, apiserver, kcm, scheduler, dns, metrics, or nodeN, containerdN, kubeletN, proxyN; a nodeN is a
    /// power cut
    Kill {
        /// Which one
        name: String,
    },
    /// Start a part that was killed, or one more node
    Start {
        /// Which one
        name: String,
    },
    /// The images that its nodes have
    Images,
    /// Let the nodes pull over HTTP from a registry
    Trust {
        /// As HOST:PORT, such as 10.99.0.1:5000; pods name it so
        registry: SocketAddr,
    },
    /// Nodes that nobody has: their pods are running at once, and nothing runs
    Fake {
        /// How many
        nodes: u16,
    },
}

/// Does it.
pub(crate) fn run_task(task: &Task) -> Result<()> {
    match task {
        Task::Up { nodes } => up(*nodes),
        Task::Down => script("stop.sh", &[]),
        Task::Status => status(),
        Task::Kill { name } => script("ctl.sh", &["kill", name]),
        Task::Start { name } => start(name),
        Task::Images => images(),
        Task::Trust { registry } => trust(*registry),
        Task::Fake { nodes } => script("fake-nodes.sh", &[&nodes.to_string()]),
    }
}

fn up(nodes: u8) -> Result<()> {
    if let Some(given) = given() {
        println!("KUBECONFIG names a cluster ({}); nothing is started", given.display());
        return run(Command::new("kubectl").args(["get", "nodes"])).context("ask that cluster for its nodes");
    }
    if running() {
        bail!("it runs already; hint: cargo xtask cluster down");
    }
    prepare()?;
    script("start.sh", &[&nodes.to_string()])?;
    let (run, bin) = (home().join("run"), home().join("bin"));
    println!(
        "export KUBECONFIG={} KUBECACHEDIR={}/kubectl PATH={}:$PATH",
        kubeconfig().display(),
        run.display(),
        bin.display()
    );
    Ok(())
}

/// containerd looks there at each pull (its `hosts.toml`), and speaks HTTPS with whoever is not named.
fn trust(registry: SocketAddr) -> Result<()> {
    let directory = home().join("run/certs.d").join(registry.to_string());
    std::fs::create_dir_all(&directory).with_context(|| format!("make {}", directory.display()))?;
    // Without a host of its own, containerd 1.6 reads nothing of the file.
    let url = format!("http://{registry}");
    let text = format!("server = \"{url}\"\n[host.\"{url}\"]\ncapabilities = [\"pull\", \"resolve\"]\n");
    std::fs::write(directory.join("hosts.toml"), text).with_context(|| format!("write into {}", directory.display()))
}

/// A node consists of four parts; whoever starts one that was never there wants all of them.
fn start(name: &str) -> Result<()> {
    let parts = match name.strip_prefix("node") {
        Some(number) => ["node", "containerd", "kubelet", "proxy"].map(|part| format!("{part}{number}")).to_vec(),
        None => vec![name.to_owned()],
    };
    parts.iter().try_for_each(|part| script("ctl.sh", &["start", part]))
}

fn status() -> Result<()> {
    if given().is_none() && !running() {
        println!("there is none; hint: cargo xtask cluster up");
        return Ok(());
    }
    if given().is_none() {
        script("ctl.sh", &["list"])?;
    }
    run(kubectl().args(["get", "nodes", "-o", "wide"]))?;
    run(kubectl().args(["get", "pods", "-A", "-o", "wide"]))
}

fn images() -> Result<()> {
    let nodes = crate::output(kubectl().args(["get", "nodes", "-o", "name"]))?;
    for node in nodes.lines() {
        println!("{node}");
        let names = "{range .status.images[*]}  {.sizeBytes}  {.names[-1:]}{\"\\n\"}{end}";
        run(kubectl().args(["get", node, "-o", &format!("jsonpath={names}")]))?;
    }
    Ok(())
}

/// A cluster of somebody's own that is to be used.
fn given() -> Option<PathBuf> {
    std::env::var_os("KUBECONFIG").map(PathBuf::from).filter(|given| *given != kubeconfig())
}

/// Where all of it is that is built or written.
fn home() -> PathBuf {
    root().join("target/cluster")
}

fn kubeconfig() -> PathBuf {
    home().join("run/admin.kubeconfig")
}

fn running() -> bool {
    home().join("run/pid").exists()
}

fn kubectl() -> Command {
    if given().is_some() {
        return Command::new("kubectl");
    }
    let mut command = Command::new(home().join("bin/kubectl"));
    // What it remembers of a cluster ends with the cluster.
    command.env("KUBECONFIG", kubeconfig()).env("KUBECACHEDIR", home().join("run/kubectl"));
    command
}

fn script(name: &str, arguments: &[&str]) -> Result<()> {
    run(Command::new(root().join("xtask/cluster").join(name)).args(arguments).env("K8S_ROOT", home()))
}
