//! Files that are whole at any time, whatever ends the program or the machine.

use std::fs::OpenOptions;
use std::io::{Result, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Replaces the file at `path`, readable by its owner alone: whoever reads it finds the old bytes or the new ones, also after a power cut
/// or on a full disk. The bytes are on the disk before they get their name.
///
/// # Errors
/// The bytes cannot be written; the file is as it was then.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let temporary = path.with_file_name(name);
    let written = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_data()))
        .and_then(|()| std::fs::rename(&temporary, path));
    if written.is_err() {
        // On a full disk the half of a file would take the room that somebody makes.
        let _ = std::fs::remove_file(&temporary);
    }
    written
}
