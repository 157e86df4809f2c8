//! The cluster that `cargo xtask test` uses: started for it and ended with it, unless one is there already.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::Result;

use super::{build, given, home, kubeconfig, kubectl, running, script};
use crate::{root, run, setup};

/// How many nodes the tests need: instances of a service must be able to outlive one.
const NODES: &str = "2";

/// The ConfigMap by which a cluster of somebody's own allows what tests do: they install Barge, kill its parts, and take it away again.
const CONSENT: &str = "barge-tests-allowed";

/// A cluster that somebody has given, and that allows tests. A KUBECONFIG is in many environments for another reason.
fn allowed() -> Option<PathBuf> {
    static ALLOWED: OnceLock<Option<PathBuf>> = OnceLock::new();
    let ask = || {
        let given = given()?;
        let mut look = Command::new("kubectl");
        look.arg("--kubeconfig").arg(&given).args(["get", "configmap", CONSENT]);
        look.args(["-n", "default", "--request-timeout=10s"]);
        if look.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
            return Some(given);
        }
        eprintln!(
            "xtask: the cluster of KUBECONFIG does not allow tests, and one of our own is used; hint: kubectl create configmap {CONSENT} -n default"
        );
        None
    };
    ALLOWED.get_or_init(ask).clone()
}

/// Installs and builds what a cluster needs.
pub(crate) fn prepare() -> Result<()> {
    if allowed().is_some() || running() {
        return Ok(());
    }
    setup::packages_of_the_cluster()?;
    build::check()?;
    build::build()
}

/// A cluster for as long as this lives.
pub(crate) struct ForTests {
    started: bool,
}

impl ForTests {
    /// Starts one that was prepared, unless one is there.
    pub(crate) fn start() -> Result<Self> {
        let started = allowed().is_none() && !running();
        // Ended also where the start broke off.
        let cluster = Self { started };
        if started {
            script("start.sh", &[NODES])?;
        }
        Ok(cluster)
    }

    /// The way in.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        allowed().unwrap_or_else(kubeconfig)
    }
}

impl Drop for ForTests {
    fn drop(&mut self) {
        if self.started
            && let Err(error) = script("stop.sh", &[])
        {
            eprintln!("xtask: the cluster is not wholly gone: {error:#}; hint: cargo xtask cluster down");
        }
    }
}

/// Nodes of kwok for as long as this lives, by a name of their own.
pub(crate) struct FakeNodes {
    name: &'static str,
    alone: bool,
}

impl FakeNodes {
    /// Adds so many. Their pods need a node selector `fake: NAME` and a toleration.
    pub(crate) fn start(name: &'static str, count: u32) -> Result<Self> {
        let alone = !kwok_runs();
        let nodes = Self { name, alone };
        script("fake-nodes.sh", &[&count.to_string(), name])?;
        Ok(nodes)
    }
}

impl Drop for FakeNodes {
    fn drop(&mut self) {
        let label = format!("fake={}", self.name);
        let gone = run(kubectl().args(["delete", "node", "-l", &label, "-o", "name"]).stdout(Stdio::null()));
        // Somebody else's nodes may live of it.
        let ended = if self.alone && kwok_runs() { script("ctl.sh", &["kill", "kwok", "TERM"]) } else { Ok(()) };
        if let Err(error) = gone.and(ended) {
            eprintln!("xtask: the fake nodes are not gone: {error:#}; hint: kubectl delete node -l {label}");
        }
    }
}

fn kwok_runs() -> bool {
    let list = Command::new(root().join("xtask/cluster/ctl.sh")).arg("list").env("K8S_ROOT", home()).output();
    list.is_ok_and(|list| {
        let text = String::from_utf8_lossy(&list.stdout).into_owned();
        text.lines().any(|line| line.strip_prefix("kwok: ").is_some_and(|pid| pid != "ended"))
    })
}
