//! The operator's process, and those of the cluster as far as they are on this machine, as the kernel counts them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use barge_testkit::{barge_binary, signal};
use tempfile::TempDir;
use tokio::time::sleep;

/// The label of the fake nodes, which `cargo xtask bench operator` makes.
pub(crate) const NODES: (&str, &str) = ("fake", "bench-operator");
/// What keeps others away from them; and what would drive pods away from them, where a busy machine lets their leases expire.
pub(crate) const TOLERATED: [&str; 3] =
    ["kwok.x-k8s.io/node", "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];
/// Nobody pulls it.
pub(crate) const BARGE_INIT: &str =
    "registry.example.com/barge-init@sha256:0000000000000000000000000000000000000000000000000000000000000000";
/// A stop may take so long.
const PATIENCE: Duration = Duration::from_secs(15);
/// The kernel tells CPU time to programs in hundredths of a second (proc_pid_stat(5), `USER_HZ`).
const TICK: Duration = Duration::from_millis(10);

/// A running operator.
pub(crate) struct Operator {
    child: Child,
    directory: TempDir,
}

impl Drop for Operator {
    fn drop(&mut self) {
        // Where the bench has failed; one that has ended is not killed again.
        if self.child.kill().is_ok() {
            let _ = self.child.wait();
            eprintln!("{}", self.log());
        }
    }
}

impl Operator {
    /// Starts one for a namespace, in which its Lease is as well.
    pub(crate) fn start(kubeconfig: &Path, namespace: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let log = File::create(directory.path().join("log")).unwrap();
        let mut command = Command::new(barge_binary());
        command.args(["operator", "--listen", "127.0.0.1:0", "--identity", "bench", "--barge-init", BARGE_INIT]);
        command.args(["--home", namespace, "--namespace", namespace]).arg("--kubeconfig").arg(kubeconfig);
        command.args(["--node-selector", &format!("{}={}", NODES.0, NODES.1)]);
        for key in TOLERATED {
            command.args(["--toleration", key]);
        }
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        Self { child: command.spawn().unwrap(), directory }
    }

    /// The resident memory in bytes.
    pub(crate) fn memory(&self) -> u64 {
        self.of_status("VmRSS:")
    }

    /// The same, at its most so far.
    pub(crate) fn most(&self) -> u64 {
        self.of_status("VmHWM:")
    }

    fn of_status(&self, name: &str) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{}", self.log()));
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// The CPU time so far.
    pub(crate) fn cpu(&self) -> Duration {
        cpu(self.child.id()).expect("the operator's process")
    }

    /// Stops it as a cluster would. What it complains of is told.
    pub(crate) async fn stop(mut self) {
        signal("TERM", self.child.id());
        let deadline = Instant::now() + PATIENCE;
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "the operator does not stop: {}", self.log());
            sleep(Duration::from_millis(50)).await;
        }
        let log = self.log();
        let warnings: Vec<&str> = log.lines().filter(|line| line.contains("WARN") || line.contains("ERROR")).collect();
        if let Some(first) = warnings.first() {
            eprintln!("the operator has warned {} times; the first one: {first}", warnings.len());
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

/// What a specification goes through besides the operator, as far as `cargo xtask cluster` has started it.
pub(crate) struct Machinery(PathBuf);

impl Machinery {
    pub(crate) fn beside(kubeconfig: &Path) -> Self {
        Self(kubeconfig.with_file_name("pid"))
    }

    /// The CPU time of the API server and of etcd so far.
    pub(crate) fn cpu(&self) -> Duration {
        let of = |name: &str| {
            let text = std::fs::read_to_string(self.0.join(name)).ok()?;
            cpu(text.split_whitespace().next()?.parse().ok()?)
        };
        ["apiserver", "etcd"].iter().filter_map(|name| of(name)).sum()
    }
}

/// In its own code and in the kernel; nothing where it is not there.
fn cpu(pid: u32) -> Option<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold anything; the third field follows it.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11..13)?.iter().filter_map(|field| field.parse::<u32>().ok()).sum();
    Some(TICK * ticks)
}
