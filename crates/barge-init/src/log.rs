//! Output: passed on, copied to rotated files, its last lines kept in memory.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How many lines are kept in memory.
const TAIL_LINES: usize = 200;
/// The longest line that is kept in memory, in bytes; the file has it whole.
const TAIL_LINE_BYTES: usize = 2000;
/// How many rotated files are kept beside the current one.
const ROTATED: u32 = 3;
/// Between two tries to open a file that could not be opened: the disk was full, or no descriptor was left.
const REOPEN_PAUSE: Duration = Duration::from_secs(1);

/// The last lines of output, of all processes together.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    lines: VecDeque<String>,
    /// What every stream has begun and not ended.
    partial: BTreeMap<String, Vec<u8>>,
}

impl Tail {
    /// Takes a piece of a stream; `prefix` stands before each of its lines.
    fn push(&mut self, prefix: &str, stream: &str, mut bytes: &[u8]) {
        let mut partial = self.partial.remove(stream).unwrap_or_default();
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            extend(&mut partial, &bytes[..end]);
            self.add(prefix, &partial);
            partial.clear();
            bytes = &bytes[end + 1..];
        }
        extend(&mut partial, bytes);
        if !partial.is_empty() {
            self.partial.insert(stream.to_owned(), partial);
        }
    }

    fn add(&mut self, prefix: &str, line: &[u8]) {
        if self.lines.len() == TAIL_LINES {
            self.lines.pop_front();
        }
        let line = String::from_utf8_lossy(line);
        self.lines.push_back(format!("{prefix}{}", line.trim_end_matches('\r')));
    }

    /// The lines, oldest first, with unfinished ones last.
    pub(crate) fn lines(&self) -> Vec<String> {
        let unfinished = self.partial.values().map(|partial| String::from_utf8_lossy(partial).into_owned());
        self.lines.iter().cloned().chain(unfinished).collect()
    }
}

fn extend(partial: &mut Vec<u8>, bytes: &[u8]) {
    let room = TAIL_LINE_BYTES.saturating_sub(partial.len());
    partial.extend_from_slice(&bytes[..bytes.len().min(room)]);
}

/// Where a stream goes.
pub(crate) struct Sink {
    /// The process's name before each of its lines in the tail; empty for main.
    pub(crate) prefix: String,
    /// The stream's name, unlike any other.
    pub(crate) stream: String,
    pub(crate) file: Option<Arc<Mutex<RotatedFile>>>,
    /// barge-init's own output, to which it is passed on.
    pub(crate) own: Option<File>,
    pub(crate) tail: Arc<Mutex<Tail>>,
}

/// Reads until the last writer has closed the pipe. A disk that refuses to take the log does not stop the process: its output goes
/// on being read, and the tail in memory stays complete.
pub(crate) fn copy(mut pipe: impl Read, mut sink: Sink) {
    let mut buffer = vec![0u8; 16 * 1024];
    loop {
        match pipe.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => sink.take(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
}

impl Sink {
    fn take(&mut self, bytes: &[u8]) {
        // The tail first: whoever reads what is passed on may ask for it.
        self.tail.lock().unwrap_or_else(PoisonError::into_inner).push(&self.prefix, &self.stream, bytes);
        if let Some(file) = &self.file {
            file.lock().unwrap_or_else(PoisonError::into_inner).write(bytes);
        }
        if let Some(own) = &mut self.own
            && own.write_all(bytes).is_err()
        {
            // Nobody reads it any more.
            self.own = None;
        }
    }
}

/// A file that is renamed and begun anew when it has grown.
pub(crate) struct RotatedFile {
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
    pub(crate) fn open(path: PathBuf, limit: u64) -> Self {
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
