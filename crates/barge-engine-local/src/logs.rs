//! An instance's output: its last lines, and new ones as they come.

use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use barge_engine::{EngineError, LogLine, LogOptions, LogStream};
use tokio::sync::mpsc;

/// How much of the end of a log is searched for its last lines, in bytes.
const TAIL_BYTES: u64 = 1024 * 1024;
/// How often a followed log is looked at.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(100);

/// Streams the log at `path`; the stream ends when nobody reads it any more or the instance's files are gone.
pub(crate) fn stream(path: PathBuf, options: LogOptions) -> Result<LogStream, EngineError> {
    let (sender, receiver) = mpsc::channel::<LogLine>(256);
    std::thread::Builder::new()
        .stack_size(128 * 1024)
        .spawn(move || {
            if let Err(error) = copy(&path, options, &sender) {
                let _ = sender.blocking_send(Err(error));
            }
        })
        .map_err(|error| EngineError::failed("read the instance's log", error))?;
    Ok(Box::pin(futures_util::stream::unfold(receiver, |mut receiver| async move {
        let line = receiver.recv().await?;
        Some((line, receiver))
    })))
}

fn copy(path: &Path, options: LogOptions, sender: &mpsc::Sender<LogLine>) -> std::io::Result<()> {
    let mut file = match std::fs::File::open(path) {
        Ok(file) => file,
        // Nothing was written yet.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && options.follow => wait_for(path, sender)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let size = file.metadata()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(TAIL_BYTES)))?;
    let mut text = Vec::new();
    file.by_ref().take(TAIL_BYTES + 1).read_to_end(&mut text)?;
    let end = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let mut partial = text.split_off(if options.follow { end } else { text.len() });
    let lines: Vec<&[u8]> = text.strip_suffix(b"\n").unwrap_or(&text).split(|byte| *byte == b'\n').collect();
    let skip = if text.is_empty() { lines.len() } else { lines.len().saturating_sub(options.tail) };
    for line in &lines[skip..] {
        if !send(sender, line) {
            return Ok(());
        }
    }
    if options.follow { follow(path, file, &mut partial, sender) } else { Ok(()) }
}

fn wait_for(path: &Path, sender: &mpsc::Sender<LogLine>) -> std::io::Result<std::fs::File> {
    while !sender.is_closed() && path.parent().is_some_and(Path::is_dir) {
        if let Ok(file) = std::fs::File::open(path) {
            return Ok(file);
        }
        std::thread::sleep(FOLLOW_INTERVAL);
    }
    Err(std::io::ErrorKind::NotFound.into())
}

fn follow(
    path: &Path,
    file: std::fs::File,
    partial: &mut Vec<u8>,
    sender: &mpsc::Sender<LogLine>,
) -> std::io::Result<()> {
    let mut inode = file.metadata()?.ino();
    let mut reader = BufReader::new(file);
    while !sender.is_closed() {
        if reader.read_until(b'\n', partial)? > 0 {
            if partial.last() == Some(&b'\n') {
                partial.pop();
                send(sender, partial);
                partial.clear();
            }
            continue;
        }
        match std::fs::metadata(path) {
            // The log was rotated: what is left of the old file has been read, the new one begins at its start.
            Ok(meta) if meta.ino() != inode => {
                reader = BufReader::new(std::fs::File::open(path)?);
                inode = meta.ino();
            }
            Ok(_) => std::thread::sleep(FOLLOW_INTERVAL),
            Err(_) if !path.parent().is_some_and(Path::is_dir) => return Ok(()),
            Err(_) => std::thread::sleep(FOLLOW_INTERVAL),
        }
    }
    Ok(())
}

fn send(sender: &mpsc::Sender<LogLine>, line: &[u8]) -> bool {
    let text = String::from_utf8_lossy(line).trim_end_matches('\r').to_owned();
    sender.blocking_send(Ok(text)).is_ok()
}
