//! A program that a test starts, kills, and starts again.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// A program that says in one line of JSON where it is, and goes on.
#[derive(Debug, Default)]
pub(crate) struct Program {
    child: Option<Child>,
}

#[allow(clippy::unwrap_used, clippy::panic)] // For tests alone, where a panic is how to fail.
impl Program {
    /// Starts it; the result is what it said.
    pub(crate) fn start(&mut self, mut command: Command) -> serde_json::Value {
        assert!(self.child.is_none(), "it runs already");
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        self.child = Some(child);
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{command:?} said {line:?}: {error}"))
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Whether its process is there.
    pub(crate) fn runs(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    /// Its process, for whoever ends it.
    pub(crate) fn take(&mut self) -> Option<Child> {
        self.child.take()
    }

    /// Kills it with SIGKILL, as a power cut or the kernel would.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        // Somebody else may have killed it already.
        let _ = child.kill();
        child.wait().unwrap();
    }
}
