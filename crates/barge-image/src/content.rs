//! Reads the content of a planned file: exactly as many bytes as planned, or an error that names it.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::layer::LayerError;
use crate::plan::Content;

/// Remembers what goes wrong with the source, apart from what goes wrong with the target.
pub(crate) struct Exact {
    path: PathBuf,
    planned: u64,
    left: u64,
    bytes: Box<dyn Read>,
    failed: Option<io::Error>,
    changed: bool,
}

impl Exact {
    pub(crate) fn open(content: &Content, planned: u64) -> Result<Self, LayerError> {
        let (path, bytes): (_, Box<dyn Read>) = match content {
            Content::Path(path) => (path.clone(), Box::new(open_file(path, planned)?)),
            Content::Bytes(bytes) => (PathBuf::new(), Box::new(io::Cursor::new(Arc::clone(bytes)))),
            Content::Inside(inside) => {
                let path = inside.archive().join(inside.member());
                let bytes = inside.open().map_err(|source| LayerError::Read { path: path.clone(), source })?;
                (path, bytes)
            }
        };
        Ok(Self { path, planned, left: planned, bytes, failed: None, changed: false })
    }

    /// Whether the source gave what was planned, and nothing more.
    pub(crate) fn judge(mut self) -> Result<(), LayerError> {
        if let Some(source) = self.failed.take() {
            return Err(LayerError::Read { path: self.path, source });
        }
        let grown = self.left == 0 && matches!(self.bytes.read(&mut [0u8; 1]), Ok(1));
        if self.changed || grown {
            return Err(LayerError::Changed { path: self.path, planned: self.planned });
        }
        Ok(())
    }
}

fn open_file(path: &Path, planned: u64) -> Result<File, LayerError> {
    let read = |source| LayerError::Read { path: path.to_owned(), source };
    // Where a pipe has taken the file's place meanwhile, opening it would wait for a writer, perhaps for ever.
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(read)?;
    if file.metadata().map_err(read)?.is_file() {
        Ok(file)
    } else {
        Err(LayerError::Changed { path: path.to_owned(), planned })
    }
}

impl Read for Exact {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if room == 0 {
            return Ok(0);
        }
        match self.bytes.read(&mut buffer[..room]) {
            Ok(0) => {
                self.changed = true;
                Err(io::ErrorKind::UnexpectedEof.into())
            }
            Ok(count) => {
                self.left -= count as u64;
                Ok(count)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                self.failed = Some(io::Error::new(error.kind(), error.to_string()));
                Err(error)
            }
        }
    }
}
