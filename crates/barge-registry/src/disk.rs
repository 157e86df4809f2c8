//! Files and directories that are there after a power cut as well: on disk before they get their name, and then the name too.

use std::io::ErrorKind;
use std::path::Path;
use std::time::SystemTime;

use barge_runtime::files;

use crate::error::StorageError;

pub(crate) fn io(verb: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> StorageError + use<> {
    let path = path.to_owned();
    move |source| StorageError::Io { verb, path, source }
}

/// As `io`, where a file that is missing means that something is unknown.
pub(crate) fn missing(
    source: std::io::Error,
    verb: &'static str,
    path: &Path,
    unknown: impl FnOnce() -> StorageError,
) -> StorageError {
    if source.kind() == ErrorKind::NotFound { unknown() } else { io(verb, path)(source) }
}

/// Makes a file young.
pub(crate) fn touch(path: &Path) -> Result<(), StorageError> {
    let file = std::fs::File::options().append(true).open(path).map_err(io("touch", path))?;
    file.set_modified(SystemTime::now()).map_err(io("touch", path))
}

pub(crate) fn remove(path: &Path) -> Result<(), StorageError> {
    std::fs::remove_file(path).map_err(io("remove", path))
}

/// Removes a file that may be gone already.
pub(crate) fn remove_if_there(path: &Path) -> Result<(), StorageError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(io("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Makes a directory and those above it that are missing.
pub(crate) fn make_directory(path: &Path) -> Result<(), StorageError> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_directory(parent)?;
    match std::fs::create_dir(path) {
        // Another request was faster.
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => {}
        made => made.map_err(io("make directory", path))?,
    }
    sync_directory(parent)
}

/// Writes a file whole, in the place of one that is there.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), StorageError> {
    files::replace(path, bytes).map_err(io("write", path))
}

/// Brings a file's bytes to the disk.
pub(crate) fn sync_file(path: &Path) -> Result<(), StorageError> {
    std::fs::File::open(path).and_then(|file| file.sync_all()).map_err(io("write", path))
}

/// Brings a directory's names to the disk.
pub(crate) fn sync_directory(path: &Path) -> Result<(), StorageError> {
    files::sync_directory(path).map_err(io("write", path))
}
