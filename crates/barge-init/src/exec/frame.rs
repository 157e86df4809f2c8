//! How the two sides of an exec talk: what is typed, said and decided, as frames on barge-init's standard input and output.
//!
//! A frame is one byte for its kind, four for the length of what follows, and that. Of output and input, each side sends no more than [`WINDOW`] bytes
//! before the other one has taken them. So nobody ever has to stop reading, and silence means that the other side is gone.

use std::io::{self, Read};
use std::time::Duration;

/// So much may be on its way in each direction, in bytes.
pub const WINDOW: usize = 256 * 1024;
/// The largest payload, in bytes.
pub const MOST: usize = 64 * 1024;
/// Each side says something at least so often.
pub const BEAT: Duration = Duration::from_secs(10);
/// Whoever has said nothing for so long is gone.
pub const SILENCE: Duration = Duration::from_secs(60);

const DATA: u8 = 0;
const END: u8 = 1;
const RESIZE: u8 = 2;
const SIGNAL: u8 = 3;
const TAKEN: u8 = 4;
const ALIVE: u8 = 5;
const STDOUT: u8 = 6;
const STDERR: u8 = 7;
const STARTED: u8 = 8;
const FAILED: u8 = 9;
const EXIT: u8 = 10;

/// The kind and the length.
const HEAD: usize = 5;

/// One message. The first five go to the program, the last five come from it; the two in between go both ways.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Bytes for the program's standard input.
    Data(Vec<u8>),
    /// No more of them.
    End,
    /// The terminal has another size: lines and characters in a line.
    Resize(u16, u16),
    /// A signal for the program, by number.
    Signal(i32),
    /// So many bytes were taken: those of `Data` by the program, those of `Stdout` and `Stderr` by whoever reads.
    Taken(u32),
    /// Still here.
    Alive,
    /// Standard output, or everything on a terminal.
    Stdout(Vec<u8>),
    /// Standard error.
    Stderr(Vec<u8>),
    /// The program runs. The first frame, unless it is `Failed`.
    Started,
    /// The program could not be started, and why; nothing follows.
    Failed(String),
    /// The program has ended with this code; nothing follows.
    Exit(i32),
}

impl Frame {
    /// The frame as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let (kind, payload): (u8, &[u8]) = match self {
            Self::Data(bytes) => (DATA, bytes),
            Self::End => (END, &[]),
            Self::Resize(rows, columns) => {
                let [(a, b), (c, d)] = [rows, columns].map(|number| number.to_be_bytes().into());
                return with_head(RESIZE, &[a, b, c, d]);
            }
            Self::Signal(number) => return with_head(SIGNAL, &number.to_be_bytes()),
            Self::Taken(count) => return with_head(TAKEN, &count.to_be_bytes()),
            Self::Alive => (ALIVE, &[]),
            Self::Stdout(bytes) => (STDOUT, bytes),
            Self::Stderr(bytes) => (STDERR, bytes),
            Self::Started => (STARTED, &[]),
            Self::Failed(reason) => (FAILED, reason.as_bytes()),
            Self::Exit(code) => return with_head(EXIT, &code.to_be_bytes()),
        };
        with_head(kind, payload)
    }

    /// Nothing for a kind of a later version, or nonsense.
    fn decode(kind: u8, payload: Vec<u8>) -> Option<Self> {
        let number = |payload: &[u8]| payload.try_into().ok().map(u32::from_be_bytes);
        Some(match kind {
            DATA => Self::Data(payload),
            END => Self::End,
            RESIZE => {
                let number = number(&payload)?;
                Self::Resize(u16::try_from(number >> 16).ok()?, u16::try_from(number & 0xffff).ok()?)
            }
            SIGNAL => Self::Signal(number(&payload)?.cast_signed()),
            TAKEN => Self::Taken(number(&payload)?),
            ALIVE => Self::Alive,
            STDOUT => Self::Stdout(payload),
            STDERR => Self::Stderr(payload),
            STARTED => Self::Started,
            FAILED => Self::Failed(String::from_utf8_lossy(&payload).into_owned()),
            EXIT => Self::Exit(number(&payload)?.cast_signed()),
            _ => return None,
        })
    }
}

fn with_head(kind: u8, payload: &[u8]) -> Vec<u8> {
    // Payloads are pieces, of at most MOST bytes; only a reason could be longer.
    let payload = &payload[..payload.len().min(MOST)];
    let mut bytes = Vec::with_capacity(HEAD + payload.len());
    bytes.push(kind);
    bytes.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(0).to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// Puts frames together from the pieces in which they arrive.
#[derive(Debug, Default)]
pub struct Frames {
    bytes: Vec<u8>,
}

impl Frames {
    /// Adds what has arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next frame that is complete. Those of kinds that this version does not know are passed over.
    ///
    /// # Errors
    /// Something else than frames has arrived.
    pub fn next_frame(&mut self) -> io::Result<Option<Frame>> {
        loop {
            let Some((head, rest)) = self.bytes.split_first_chunk::<HEAD>() else { return Ok(None) };
            let [kind, length @ ..] = *head;
            let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
            if length > MOST {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame that is too long"));
            }
            let Some(payload) = rest.get(..length).map(<[u8]>::to_vec) else { return Ok(None) };
            self.bytes.drain(..HEAD + length);
            if let Some(frame) = Frame::decode(kind, payload) {
                return Ok(Some(frame));
            }
        }
    }

    /// The next frame from a reader; nothing at its end.
    pub(crate) fn read(&mut self, mut reader: impl Read) -> io::Result<Option<Frame>> {
        let mut buffer = [0; 16 * 1024];
        loop {
            if let Some(frame) = self.next_frame()? {
                return Ok(Some(frame));
            }
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(None),
                Ok(count) => self.push(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_arrive_as_they_were_sent_however_they_are_cut() {
        let sent = [
            Frame::Data(vec![0; 3]),
            Frame::End,
            Frame::Resize(33, 101),
            Frame::Signal(15),
            Frame::Taken(70_000),
            Frame::Alive,
            Frame::Stdout(vec![b'x'; MOST]),
            Frame::Stderr(Vec::new()),
            Frame::Started,
            Frame::Failed("no such file".to_owned()),
            Frame::Exit(-1),
        ];
        let bytes: Vec<u8> = sent.iter().flat_map(Frame::encode).collect();
        for size in [1, 4, 5, 1000, bytes.len()] {
            let (mut frames, mut arrived) = (Frames::default(), Vec::new());
            for piece in bytes.chunks(size) {
                frames.push(piece);
                while let Some(frame) = frames.next_frame().unwrap() {
                    arrived.push(frame);
                }
            }
            assert_eq!(arrived, sent, "{size}");
        }
    }

    #[test]
    fn what_a_later_version_says_is_passed_over_and_nonsense_is_not() {
        let mut frames = Frames::default();
        frames.push(&with_head(200, b"later"));
        frames.push(&with_head(SIGNAL, b"too long"));
        frames.push(&Frame::End.encode());
        assert_eq!(frames.next_frame().unwrap(), Some(Frame::End));
        frames.push(&[DATA, 0xff, 0xff, 0xff, 0xff]);
        assert!(frames.next_frame().is_err());
    }
}
