//! Where the bytes of an archive are: in a file, in a part of one, or in memory. Read at any place, by any number of threads.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use nix::fcntl::OFlag;
use rawzip::ReaderAt;

use super::error::{ArchiveError, ArchiveFault};

/// The bytes of an archive.
#[derive(Debug, Clone)]
pub(super) struct Source {
    place: Place,
    length: u64,
}

#[derive(Debug, Clone)]
enum Place {
    /// From `start` on in a file that is watched.
    File { file: Arc<Watched>, start: u64 },
    /// In memory.
    Memory(Arc<[u8]>),
}

/// A file, and how it was when it was opened.
#[derive(Debug)]
struct Watched {
    file: File,
    /// None for a file that nobody else knows.
    then: Option<Stamp>,
}

/// By which a changed file is told. Not the time of a change of the inode: that changes too when a new file takes this one's name, and
/// then what is read here stays whole.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    size: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(meta: &Metadata) -> Self {
        Self { size: meta.size(), modified: (meta.mtime(), meta.mtime_nsec()) }
    }
}

impl Source {
    /// Opens a file. Without waiting: a pipe in its place has no writer that ever comes.
    pub(super) fn open(path: &Path) -> Result<Self, ArchiveError> {
        let read = |source| ArchiveError::Read { path: path.to_owned(), source };
        let file = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path).map_err(read)?;
        let meta = file.metadata().map_err(read)?;
        if !meta.is_file() {
            let archive = path.display().to_string();
            return Err(ArchiveError::Archive { archive, source: ArchiveFault::NotAFile });
        }
        let watched = Watched { file, then: Some(Stamp::of(&meta)) };
        Ok(Self { place: Place::File { file: Arc::new(watched), start: 0 }, length: meta.size() })
    }

    /// A file without a name, of which nobody else knows.
    pub(super) fn unnamed(file: File, length: u64) -> Self {
        let watched = Watched { file, then: None };
        Self { place: Place::File { file: Arc::new(watched), start: 0 }, length }
    }

    /// Bytes in memory.
    pub(super) fn memory(bytes: impl Into<Arc<[u8]>>) -> Self {
        let bytes: Arc<[u8]> = bytes.into();
        let length = bytes.len() as u64;
        Self { place: Place::Memory(bytes), length }
    }

    /// A part of it. `start` and `length` must lie inside.
    pub(super) fn part(&self, start: u64, length: u64) -> Self {
        let place = match &self.place {
            Place::File { file, start: before } => Place::File { file: Arc::clone(file), start: before + start },
            Place::Memory(bytes) => {
                let from = usize::try_from(start).unwrap_or(usize::MAX).min(bytes.len());
                let to = usize::try_from(start + length).unwrap_or(usize::MAX).min(bytes.len());
                Place::Memory(Arc::from(&bytes[from..to]))
            }
        };
        Self { place, length }
    }

    /// How many bytes it has.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Whether it is still the file that was opened.
    pub(super) fn unchanged(&self) -> io::Result<bool> {
        match &self.place {
            Place::File { file, .. } => match &file.then {
                Some(then) => Ok(*then == Stamp::of(&file.file.metadata()?)),
                None => Ok(true),
            },
            Place::Memory(_) => Ok(true),
        }
    }
}

impl ReaderAt for Source {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let left = usize::try_from(self.length.saturating_sub(offset)).unwrap_or(usize::MAX);
        let want = buffer.len().min(left);
        let buffer = &mut buffer[..want];
        match &self.place {
            Place::File { file, start } => loop {
                match file.file.read_at(buffer, start + offset) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    result => return result,
                }
            },
            Place::Memory(bytes) => bytes.read_at(buffer, offset),
        }
    }
}

/// A part of a source, read from front to back.
#[derive(Debug)]
pub(super) struct Range {
    pub(super) source: Source,
    pub(super) at: u64,
    pub(super) end: u64,
}

impl Read for Range {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let want = buffer.len().min(left);
        let read = self.source.read_at(&mut buffer[..want], self.at)?;
        if read == 0 && want > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += read as u64;
        Ok(read)
    }
}
