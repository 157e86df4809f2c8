//! The process's output: copied to a rotated file, its last lines kept in memory.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How many lines are kept in memory.
const TAIL_LINES: usize = 200;
/// The longest line that is kept in memory, in bytes; the file has it whole.
const TAIL_LINE_BYTES: usize = 2000;
/// How many rotated files are kept beside the current one.
const ROTATED: u32 = 3;
/// Between two tries to open a file that could not be opened: the disk was full, or no descriptor was left.
const REOPEN_PAUSE: Duration = Duration::from_secs(1);

/// The last lines of output.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    lines: VecDeque<String>,
    partial: Vec<u8>,
}

impl Tail {
    fn push(&mut self, mut bytes: &[u8]) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.extend_partial(&bytes[..end]);
            self.finish_line();
            bytes = &bytes[end + 1..];
        }
        self.extend_partial(bytes);
    }

    fn extend_partial(&mut self, bytes: &[u8]) {
        let room = TAIL_LINE_BYTES.saturating_sub(self.partial.len());
        self.partial.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn finish_line(&mut self) {
        if self.lines.len() == TAIL_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(String::from_utf8_lossy(&self.partial).trim_end_matches('\r').to_owned());
        self.partial.clear();
    }

    /// The lines, oldest first, with an unfinished one last.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.lines.iter().cloned().collect();
        if !self.partial.is_empty() {
            lines.push(String::from_utf8_lossy(&self.partial).into_owned());
        }
        lines
    }
}

/// Reads until the last writer has closed the pipe. A disk that refuses to take the log does not stop the process: its output goes
/// on being read, and the tail in memory stays complete.
pub(crate) fn copy(mut pipe: impl Read, path: &Path, limit: u64, tail: &Arc<Mutex<Tail>>) {
    let mut file = RotatedFile::open(path.to_owned(), limit);
    let mut buffer = vec![0u8; 16 * 1024];
    loop {
        match pipe.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                file.write(&buffer[..count]);
                if let Ok(mut tail) = tail.lock() {
                    tail.push(&buffer[..count]);
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
}

struct RotatedFile {
    path: PathBuf,
    limit: u64,
    file: Option<File>,
    /// When it was opened, or could not be.
    opened_at: Instant,
    written: u64,
    /// What was written last ends a line.
    ends_line: bool,
}

impl RotatedFile {
    fn open(path: PathBuf, limit: u64) -> Self {
        let limit = limit.max(4096);
        let mut this = Self { path, limit, file: None, opened_at: Instant::now(), written: 0, ends_line: true };
        this.reopen();
        this
    }

    fn reopen(&mut self) {
        self.opened_at = Instant::now();
        self.file = OpenOptions::new().create(true).append(true).mode(0o600).open(&self.path).ok();
        self.written = self.file.as_ref().and_then(|file| file.metadata().ok()).map_or(0, |meta| meta.len());
    }

    /// Begins a new file between two lines; in the middle of one only when the line is as long as a file may be.
    fn write(&mut self, bytes: &[u8]) {
        if self.written < self.limit {
            return self.append(bytes);
        }
        let line_end = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1);
        let (end, rest) = bytes.split_at(if self.ends_line { 0 } else { line_end });
        self.append(end);
        if self.ends_line || self.written >= self.limit.saturating_mul(2) {
            self.rotate();
        }
        self.append(rest);
    }

    fn append(&mut self, bytes: &[u8]) {
        let Some(last) = bytes.last() else { return };
        self.ends_line = *last == b'\n';
        if self.file.is_none() && self.opened_at.elapsed() >= REOPEN_PAUSE {
            self.reopen();
        }
        if let Some(file) = &mut self.file
            && file.write_all(bytes).is_ok()
        {
            self.written += bytes.len() as u64;
        }
    }

    fn rotate(&mut self) {
        let name = |number: u32| PathBuf::from(format!("{}.{number}", self.path.display()));
        for number in (1..ROTATED).rev() {
            // A file that is not there yet is no error: the first rotations find none.
            let _ = std::fs::rename(name(number), name(number + 1));
        }
        let _ = std::fs::rename(&self.path, name(1));
        self.reopen();
    }
}
