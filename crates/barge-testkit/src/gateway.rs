//! A gateway in a process of its own, as its users have it: the real `barge gateway`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command};

use tempfile::TempDir;

use crate::platform::{barge_binary, begin, signal};

/// A gateway that runs. Dropping it ends it.
#[derive(Debug)]
pub struct TestGateway {
    directory: TempDir,
    child: Option<Child>,
    /// Where services answer.
    pub address: SocketAddr,
}

#[allow(clippy::unwrap_used, clippy::missing_panics_doc)] // For tests alone, where a panic is how to fail.
impl TestGateway {
    /// Starts one on free ports.
    pub fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("barge-test-").tempdir().unwrap();
        let mut gateway = Self { directory, child: None, address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        gateway.up();
        gateway
    }

    /// Starts it again, after `kill`, on the same ports.
    pub fn up(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let mut command = Command::new(barge_binary());
        command.args(["gateway", "--any-port", "--json", "--data"]).arg(self.data());
        let (child, told) = begin(command);
        self.child = Some(child);
        self.address = told["gateway"].as_str().unwrap().parse().unwrap();
    }

    /// Its directory, by which platforms find it.
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("gateway")
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Whether its process is there.
    pub fn runs(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        // Somebody else may have killed it already.
        let _ = child.kill();
        child.wait().unwrap();
    }
}

impl Drop for TestGateway {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        signal("KILL", child.id());
        // A process that cannot be waited for is nobody's any more.
        let _ = child.wait();
    }
}
