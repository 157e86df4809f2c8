//! A layer's bytes: a tar with normalised headers, compressed.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use crate::compress::Compressor;
use crate::plan::{Content, Entry, LayerPlan};

/// Why a layer could not be written.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// A source file could not be read.
    #[error("read {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A source file became shorter or longer meanwhile.
    #[error("{path} changed while it was read ({planned} bytes at first); build again when nothing writes to it")]
    Changed {
        /// Which file.
        path: PathBuf,
        /// Its size when the build began.
        planned: u64,
    },
    /// The layer's own file could not be written.
    #[error("write the layer")]
    Write(#[source] io::Error),
}

/// A finished layer in a temporary file.
#[derive(Debug, Clone)]
pub struct Layer {
    /// Digest of the compressed bytes, with `sha256:`.
    pub digest: String,
    /// Digest of the tar itself, with `sha256:`.
    pub diff_id: String,
    /// Compressed size in bytes.
    pub size: u64,
    /// The file, removed with the last clone.
    pub file: Arc<NamedTempFile>,
}

/// Modification time of every entry: 1, because some tools take 0 for "unknown".
const MTIME: u64 = 1;

/// Writes the layer of `plan`.
///
/// # Errors
/// A file cannot be read or changes meanwhile, or the disk refuses.
pub fn write(plan: &LayerPlan) -> Result<Layer, LayerError> {
    let file = NamedTempFile::with_prefix("barge-layer").map_err(LayerError::Write)?;
    let out = Hashing::new(BufWriter::with_capacity(256 * 1024, file.reopen().map_err(LayerError::Write)?));
    let mut tar = tar::Builder::new(Hashing::new(Compressor::new(out)));
    for (path, entry) in plan {
        append(&mut tar, path, entry)?;
    }
    let (compressor, diff_id, _) = tar.into_inner().map_err(LayerError::Write)?.finish();
    let (mut out, digest, size) = compressor.finish().map_err(LayerError::Write)?.finish();
    out.flush().map_err(LayerError::Write)?;
    Ok(Layer { digest, diff_id, size, file: Arc::new(file) })
}

fn append<W: Write>(tar: &mut tar::Builder<W>, path: &str, entry: &Entry) -> Result<(), LayerError> {
    let mut header = tar::Header::new_ustar();
    header.set_mtime(MTIME);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    match entry {
        Entry::Directory | Entry::Shared => {
            header.set_entry_type(tar::EntryType::Directory);
            header.set_mode(if *entry == Entry::Shared { 0o1777 } else { 0o755 });
            tar.append_data(&mut header, format!("{path}/"), io::empty()).map_err(LayerError::Write)
        }
        Entry::Link { target } => {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_mode(0o777);
            tar.append_link(&mut header, path, target).map_err(LayerError::Write)
        }
        Entry::File { content, size, executable, stamped } => {
            header.set_entry_type(tar::EntryType::Regular);
            header.set_mode(if *executable { 0o755 } else { 0o644 });
            header.set_size(*size);
            if *stamped {
                header.set_mtime(stamp(content, *size)?);
            }
            let mut exact = Exact::open(content, *size)?;
            let appended = tar.append_data(&mut header, path, &mut exact);
            exact.judge()?;
            appended.map_err(LayerError::Write)
        }
    }
}

/// A modification time that is another one for other content: within ten years from 1980 on, before which some tools know no time.
fn stamp(content: &Content, size: u64) -> Result<u64, LayerError> {
    const FIRST: u64 = 315_532_800;
    const SPAN: u64 = 10 * 365 * 86_400;
    let mut exact = Exact::open(content, size)?;
    let mut hashing = Hashing::new(io::sink());
    let copied = io::copy(&mut exact, &mut hashing);
    exact.judge()?;
    copied.map_err(LayerError::Write)?;
    let hash = hashing.hasher.finalize();
    let number = hash.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte));
    Ok(FIRST + number % SPAN)
}

/// Reads exactly as many bytes as planned, and remembers what went wrong with the source, apart from what goes wrong with the target.
struct Exact {
    path: PathBuf,
    planned: u64,
    left: u64,
    bytes: Box<dyn Read>,
    failed: Option<io::Error>,
    changed: bool,
}

impl Exact {
    fn open(content: &Content, planned: u64) -> Result<Self, LayerError> {
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

    fn judge(mut self) -> Result<(), LayerError> {
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

/// Hashes and counts what passes.
struct Hashing<W> {
    inner: W,
    hasher: Sha256,
    count: u64,
}

impl<W> Hashing<W> {
    fn new(inner: W) -> Self {
        Self { inner, hasher: Sha256::new(), count: 0 }
    }

    fn finish(self) -> (W, String, u64) {
        (self.inner, digest_text(&self.hasher.finalize()), self.count)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.count += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// The digest of `bytes`, with `sha256:`.
pub fn digest(bytes: &[u8]) -> String {
    digest_text(&Sha256::digest(bytes))
}

/// The digest of everything that `reader` gives, and its length.
///
/// # Errors
/// The reader fails.
pub fn digest_reader(reader: impl Read) -> io::Result<(String, u64)> {
    copy(reader, io::sink())
}

/// Copies everything that `reader` gives; the result is its digest and its length.
pub(crate) fn copy(mut reader: impl Read, writer: impl Write) -> io::Result<(String, u64)> {
    let mut hashing = Hashing::new(writer);
    io::copy(&mut reader, &mut hashing)?;
    hashing.flush()?;
    let (_, digest, count) = hashing.finish();
    Ok((digest, count))
}

/// Reads a layer's file from its start.
///
/// # Errors
/// The file is gone.
pub fn reopen(layer: &NamedTempFile) -> io::Result<File> {
    let mut file = layer.reopen()?;
    file.rewind()?;
    Ok(file)
}

pub(crate) fn digest_text(hash: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(71);
    text.push_str("sha256:");
    for byte in hash {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
