//! A layer's bytes: a tar with normalised headers, compressed.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use crate::cache::Held;
use crate::compress::Compressor;
use crate::content::Exact;
use crate::hash::{self, Hashing, Sum};
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

/// A finished layer.
#[derive(Debug, Clone)]
pub struct Layer {
    /// Digest of the compressed bytes, with `sha256:`.
    pub digest: String,
    /// Digest of the tar itself, with `sha256:`.
    pub diff_id: String,
    /// Compressed size in bytes.
    pub size: u64,
    /// The compressed bytes.
    pub file: Arc<Held>,
}

/// What writing a layer has found out.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    pub(crate) digest: String,
    pub(crate) diff_id: String,
    pub(crate) size: u64,
    /// The sum of each file's content, in the plan's order.
    pub(crate) contents: Vec<Sum>,
}

impl Written {
    /// With the file that it was written to.
    pub(crate) fn into_layer(self, file: Held) -> Layer {
        Layer { digest: self.digest, diff_id: self.diff_id, size: self.size, file: Arc::new(file) }
    }
}

/// Modification time of every entry: 1, because some tools take 0 for "unknown".
const MTIME: u64 = 1;
/// A file up to this size is read into memory, so that it is read once also where its header depends on its content.
const SMALL: u64 = 1 << 20;

/// Writes the layer of `plan` into a file without a name.
///
/// # Errors
/// A file cannot be read or changes meanwhile, or the disk refuses.
pub fn write(plan: &LayerPlan) -> Result<Layer, LayerError> {
    let file = tempfile::tempfile().map_err(LayerError::Write)?;
    Ok(write_to(plan, &file)?.into_layer(Held::new(file)))
}

/// Writes the layer of `plan` into `file`.
pub(crate) fn write_to(plan: &LayerPlan, file: &File) -> Result<Written, LayerError> {
    let out = Hashing::new(BufWriter::with_capacity(256 * 1024, file));
    let mut tar = tar::Builder::new(Hashing::new(Compressor::new(out)));
    let mut contents = Vec::new();
    for (path, entry) in plan {
        contents.extend(append(&mut tar, path, entry)?);
    }
    let (compressor, diff_id, _) = tar.into_inner().map_err(LayerError::Write)?.finish();
    let (mut out, digest, size) = compressor.finish().map_err(LayerError::Write)?.finish();
    out.flush().map_err(LayerError::Write)?;
    Ok(Written { digest: digest.digest(), diff_id: diff_id.digest(), size, contents })
}

/// Compresses a whole tar into `file`.
pub(crate) fn compress(mut tar: impl Read, file: &File) -> Result<Written, LayerError> {
    let out = Hashing::new(BufWriter::with_capacity(256 * 1024, file));
    let mut compressor = Compressor::new(out);
    let (diff_id, _) = hash::copy(&mut tar, &mut compressor).map_err(LayerError::Write)?;
    let (mut out, digest, size) = compressor.finish().map_err(LayerError::Write)?.finish();
    out.flush().map_err(LayerError::Write)?;
    Ok(Written { digest: digest.digest(), diff_id: diff_id.digest(), size, contents: Vec::new() })
}

/// Adds an entry; the result is the sum of its content, where it has one.
fn append<W: Write>(tar: &mut tar::Builder<W>, path: &str, entry: &Entry) -> Result<Option<Sum>, LayerError> {
    let mut header = tar::Header::new_ustar();
    header.set_mtime(MTIME);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    match entry {
        Entry::Directory | Entry::Shared => {
            header.set_entry_type(tar::EntryType::Directory);
            header.set_mode(if *entry == Entry::Shared { 0o1777 } else { 0o755 });
            tar.append_data(&mut header, format!("{path}/"), io::empty()).map_err(LayerError::Write)?;
            Ok(None)
        }
        Entry::Link { target } => {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_mode(0o777);
            tar.append_link(&mut header, path, target).map_err(LayerError::Write)?;
            Ok(None)
        }
        Entry::File { content, size, executable, stamped } => {
            header.set_entry_type(tar::EntryType::Regular);
            header.set_mode(if *executable { 0o755 } else { 0o644 });
            header.set_size(*size);
            append_file(tar, path, &mut header, content, *size, *stamped).map(Some)
        }
    }
}

fn append_file<W: Write>(
    tar: &mut tar::Builder<W>,
    path: &str,
    header: &mut tar::Header,
    content: &Content,
    size: u64,
    stamped: bool,
) -> Result<Sum, LayerError> {
    if size <= SMALL {
        let bytes = bytes(content, size)?;
        let sum = Sum::of(&bytes);
        if stamped {
            header.set_mtime(stamp(&sum));
        }
        tar.append_data(header, path, bytes.as_slice()).map_err(LayerError::Write)?;
        return Ok(sum);
    }
    if stamped {
        header.set_mtime(stamp(&sum(content, size)?));
    }
    let mut exact = Hashing::new(Exact::open(content, size)?);
    let appended = tar.append_data(header, path, &mut exact);
    let (exact, sum, _) = exact.finish();
    exact.judge()?;
    appended.map_err(LayerError::Write)?;
    Ok(sum)
}

fn bytes(content: &Content, size: u64) -> Result<Vec<u8>, LayerError> {
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
    let mut exact = Exact::open(content, size)?;
    let read = exact.read_to_end(&mut bytes);
    exact.judge()?;
    read.map_err(LayerError::Write)?;
    Ok(bytes)
}

/// The sum of the content of a planned file.
pub(crate) fn sum(content: &Content, size: u64) -> Result<Sum, LayerError> {
    let mut exact = Exact::open(content, size)?;
    let copied = hash::copy(&mut exact, io::sink());
    exact.judge()?;
    copied.map(|(sum, _)| sum).map_err(LayerError::Write)
}

/// A modification time that is another one for other content: within ten years from 1980 on, before which some tools know no time.
fn stamp(sum: &Sum) -> u64 {
    const FIRST: u64 = 315_532_800;
    const SPAN: u64 = 10 * 365 * 86_400;
    let number = sum.bytes().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte));
    FIRST + number % SPAN
}

/// The digest of `bytes`, with `sha256:`.
pub fn digest(bytes: &[u8]) -> String {
    Sum::of(bytes).digest()
}

/// The digest of everything that `reader` gives, and its length.
///
/// # Errors
/// The reader fails.
pub fn digest_reader(reader: impl Read) -> io::Result<(String, u64)> {
    copy(reader, io::sink())
}

/// Copies everything that `reader` gives; the result is its digest and its length.
pub(crate) fn copy(reader: impl Read, writer: impl Write) -> io::Result<(String, u64)> {
    hash::copy(reader, writer).map(|(sum, count)| (sum.digest(), count))
}

/// A digest from the finished hash of blobs that pass in pieces.
pub(crate) fn digest_text(hash: &[u8]) -> String {
    format!("sha256:{}", hash::hex(hash))
}
