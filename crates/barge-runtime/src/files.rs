//! Files that are whole at any time, whatever ends the program or the machine.

use std::fs::File;
use std::io::{ErrorKind, Result, Write};
use std::path::Path;

/// Replaces the file at `path`, readable by its owner alone: whoever reads it finds the old bytes or the new ones, also after a power cut
/// or on a full disk. The bytes are on the disk before they get their name, and the name is when this returns.
///
/// # Errors
/// The bytes cannot be written; the file is as it was then. Or the name cannot be brought to the disk.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // A name of its own for each writer: two at once would write into each other's.
    let mut file = tempfile::Builder::new().prefix(".new").tempfile_in(directory)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    sync_directory(directory)
}

/// Brings a directory's names to the disk: those that were added, and that others are gone.
///
/// # Errors
/// The disk cannot do it.
pub fn sync_directory(path: &Path) -> Result<()> {
    match File::open(path).and_then(|directory| directory.sync_all()) {
        // There are file systems that cannot do this for a directory. Their names are as safe as they make them.
        Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(()),
        synced => synced,
    }
}
