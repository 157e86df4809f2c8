//! Programs run beside an instance's process: a command with its exit code, or a terminal.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

/// The size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSize {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

/// What to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecRequest {
    /// The program and its arguments; empty for a shell.
    pub command: Vec<String>,
    /// A terminal of this size; without one, input and output are plain pipes.
    pub terminal: Option<WindowSize>,
}

/// What goes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecInput {
    /// Bytes for the program's standard input.
    Data(Bytes),
    /// No more of them.
    End,
    /// The terminal has another size.
    Resize(WindowSize),
    /// A signal for the program, by number.
    Signal(i32),
}

/// What comes out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecOutput {
    /// Standard output, or everything on a terminal.
    Stdout(Bytes),
    /// Standard error.
    Stderr(Bytes),
    /// The program has ended; nothing follows.
    Exit(i32),
}

/// A program that runs. Dropping it ends the program.
#[derive(Debug)]
pub struct ExecSession {
    /// What goes in.
    pub input: mpsc::Sender<ExecInput>,
    /// What comes out; the last item is the exit code.
    pub output: mpsc::Receiver<ExecOutput>,
}
