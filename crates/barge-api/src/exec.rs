//! Frames of the exec WebSocket. The client opens with [`ExecOpen`] as text; then binary messages carry one byte for the kind
//! and the payload.

use serde::{Deserialize, Serialize};

/// What to run; the first message, as JSON text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(example = json!({ "command": ["sh", "-c", "ls -l"], "terminal": [24, 80] }))]
pub struct ExecOpen {
    /// The program and its arguments; empty for a shell.
    pub command: Vec<String>,
    /// Rows and columns of the terminal; without it plain pipes.
    pub terminal: Option<(u16, u16)>,
}

/// One binary message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecFrame {
    /// To the program.
    Stdin(Vec<u8>),
    /// No more input.
    StdinEnd,
    /// The terminal's new size: rows, columns.
    Resize(u16, u16),
    /// A signal for the program.
    Signal(u8),
    /// From the program.
    Stdout(Vec<u8>),
    /// From the program.
    Stderr(Vec<u8>),
    /// The program has ended with this code.
    Exit(i32),
    /// The program could not be run, and why.
    Failed(String),
}

impl ExecFrame {
    /// The message's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let with = |kind: u8, payload: &[u8]| {
            let mut bytes = Vec::with_capacity(payload.len() + 1);
            bytes.push(kind);
            bytes.extend_from_slice(payload);
            bytes
        };
        match self {
            ExecFrame::Stdin(data) => with(0, data),
            ExecFrame::StdinEnd => with(1, &[]),
            ExecFrame::Resize(rows, columns) => with(2, &[rows.to_be_bytes(), columns.to_be_bytes()].concat()),
            ExecFrame::Signal(number) => with(3, &[*number]),
            ExecFrame::Stdout(data) => with(4, data),
            ExecFrame::Stderr(data) => with(5, data),
            ExecFrame::Exit(code) => with(6, &code.to_be_bytes()),
            ExecFrame::Failed(reason) => with(7, reason.as_bytes()),
        }
    }

    /// Reads a message; `None` when it is none of ours.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, payload) = bytes.split_first()?;
        Some(match (kind, payload) {
            (0, data) => ExecFrame::Stdin(data.to_vec()),
            (1, []) => ExecFrame::StdinEnd,
            (2, [a, b, c, d]) => ExecFrame::Resize(u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d])),
            (3, [number]) => ExecFrame::Signal(*number),
            (4, data) => ExecFrame::Stdout(data.to_vec()),
            (5, data) => ExecFrame::Stderr(data.to_vec()),
            (6, [a, b, c, d]) => ExecFrame::Exit(i32::from_be_bytes([*a, *b, *c, *d])),
            (7, reason) => ExecFrame::Failed(String::from_utf8_lossy(reason).into_owned()),
            _ => return None,
        })
    }
}
