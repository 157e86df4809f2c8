//! An instance's output: its last lines, and new ones as they come, across the files that the log is rotated into.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use barge_engine::{EngineError, LogLine, LogOptions, LogStream};
use tokio::sync::mpsc;

/// How much of the end of a log is searched for its last lines, in bytes.
const TAIL_BYTES: u64 = 1024 * 1024;
/// A longer line is passed on in pieces, in bytes.
const LINE_BYTES: usize = 64 * 1024;
/// So many lines wait for a reader that is slower than the log; with the longest ones, that is what each such reader costs in memory.
const LINES_WAITING: usize = 64;
/// How often a followed log is looked at.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(100);
/// More rotated files than barge-init keeps.
const MOST_FILES: u32 = 9;

/// Streams the log at `path`; the stream ends when nobody reads it any more or the instance's files are gone. What is written after
/// this has answered is never missed.
pub(crate) async fn stream(path: PathBuf, options: LogOptions) -> Result<LogStream, EngineError> {
    let failed = |error| EngineError::failed("read the instance's log", error);
    let place = path.clone();
    let looked = tokio::task::spawn_blocking(move || {
        let mut files = open_all(&place)?;
        let text = read_ends(&mut files, options.tail)?;
        Ok((files.into_iter().next(), text))
    });
    let (newest, text) = looked.await.unwrap_or_else(|error| Err(std::io::Error::other(error))).map_err(failed)?;
    let (sender, receiver) = mpsc::channel::<LogLine>(LINES_WAITING);
    std::thread::Builder::new()
        .stack_size(128 * 1024)
        .spawn(move || {
            if let Err(error) = copy(&path, newest, &text, options, &sender) {
                // The reader may be gone, as readers are.
                let _ = sender.blocking_send(Err(error));
            }
        })
        .map_err(failed)?;
    Ok(Box::pin(futures_util::stream::unfold(receiver, |mut receiver| async move {
        let line = receiver.recv().await?;
        Some((line, receiver))
    })))
}

/// Passes on what was there, and then what comes.
fn copy(
    path: &Path,
    newest: Option<File>,
    text: &[u8],
    options: LogOptions,
    sender: &mpsc::Sender<LogLine>,
) -> std::io::Result<()> {
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let (lines, partial) = text.split_at(if options.follow { whole } else { text.len() });
    if !lines.is_empty() {
        let lines: Vec<&[u8]> = lines.strip_suffix(b"\n").unwrap_or(lines).split(|byte| *byte == b'\n').collect();
        for line in &lines[lines.len().saturating_sub(options.tail)..] {
            if !send(sender, line) {
                return Ok(());
            }
        }
    }
    if !options.follow {
        return Ok(());
    }
    match newest.map_or_else(|| wait_for(path, sender), |file| Ok(Some(file)))? {
        Some(file) => follow(path, file, partial.to_vec(), sender),
        None => Ok(()),
    }
}

/// The log's file, once something is written.
fn wait_for(path: &Path, sender: &mpsc::Sender<LogLine>) -> std::io::Result<Option<File>> {
    while !sender.is_closed() && instance_exists(path) {
        match File::open(path) {
            Ok(file) => return Ok(Some(file)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => std::thread::sleep(FOLLOW_INTERVAL),
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// The log's files, newest first. One that is renamed meanwhile is met only once.
fn open_all(path: &Path) -> std::io::Result<Vec<File>> {
    let mut files = Vec::new();
    let mut met = BTreeSet::new();
    for number in 0..=MOST_FILES {
        match File::open(name(path, number)) {
            Ok(file) => {
                if met.insert(file.metadata()?.ino()) {
                    files.push(file);
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(files)
}

fn name(path: &Path, number: u32) -> PathBuf {
    if number == 0 { path.to_owned() } else { PathBuf::from(format!("{}.{number}", path.display())) }
}

/// Reads the newest file from its end, and older ones as far as `tail` lines ask for them. Each file is left at its end.
fn read_ends(files: &mut [File], tail: usize) -> std::io::Result<Vec<u8>> {
    let mut text: Vec<u8> = Vec::new();
    for file in files {
        let room = TAIL_BYTES.saturating_sub(text.len() as u64);
        if room == 0 || text.iter().filter(|byte| **byte == b'\n').count() > tail {
            break;
        }
        let size = file.metadata()?.len();
        let cut = size > room;
        file.seek(SeekFrom::Start(size.saturating_sub(room)))?;
        let mut part = Vec::new();
        file.read_to_end(&mut part)?;
        if cut {
            // The line in which the reading began is not whole.
            let begin = part.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            part.drain(..begin);
        }
        part.append(&mut text);
        text = part;
        if cut {
            break;
        }
    }
    Ok(text)
}

fn follow(path: &Path, file: File, mut partial: Vec<u8>, sender: &mpsc::Sender<LogLine>) -> std::io::Result<()> {
    let mut inode = file.metadata()?.ino();
    let mut reader = BufReader::new(file);
    let mut next: Option<File> = None;
    while !sender.is_closed() {
        let room = LINE_BYTES.saturating_sub(partial.len()).max(1);
        if reader.by_ref().take(room as u64).read_until(b'\n', &mut partial)? > 0 {
            let whole = partial.last() == Some(&b'\n');
            if whole || partial.len() >= LINE_BYTES {
                send(sender, partial.strip_suffix(b"\n").unwrap_or(&partial));
                partial.clear();
            }
            continue;
        }
        if let Some(file) = next.take() {
            // Nobody writes to the old file since the new one is there, and the old one has been read to its end since.
            inode = file.metadata()?.ino();
            reader = BufReader::new(file);
            continue;
        }
        next = successor(path, inode);
        if next.is_none() {
            if !instance_exists(path) {
                return Ok(());
            }
            std::thread::sleep(FOLLOW_INTERVAL);
        }
    }
    Ok(())
}

/// The file into which the log went on after the one with `inode`; the oldest there is when that one has been removed since.
fn successor(path: &Path, inode: u64) -> Option<File> {
    let mut newer = None;
    for number in 0..=MOST_FILES {
        let Ok(file) = File::open(name(path, number)) else { continue };
        if file.metadata().is_ok_and(|meta| meta.ino() == inode) {
            return newer;
        }
        newer = Some(file);
    }
    newer
}

fn instance_exists(path: &Path) -> bool {
    path.parent().is_some_and(Path::is_dir)
}

fn send(sender: &mpsc::Sender<LogLine>, line: &[u8]) -> bool {
    let text = String::from_utf8_lossy(line).trim_end_matches('\r').to_owned();
    sender.blocking_send(Ok(text)).is_ok()
}
