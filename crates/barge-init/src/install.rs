//! Puts barge-init where another container finds it: images of projects need not have it.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::PROGRAM;

/// Why it was not put there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InstallError {
    #[error("read this program, {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// Copies the program that runs into `directory`; it is there whole or not at all, and takes the place of an earlier one.
pub(crate) fn into(directory: &Path) -> Result<(), InstallError> {
    let own = PathBuf::from("/proc/self/exe");
    let mut from = std::fs::File::open(&own).map_err(|source| InstallError::Read { path: own, source })?;
    let (path, partial) = (directory.join(PROGRAM), directory.join(format!(".{PROGRAM}.part")));
    let write = |source| InstallError::Write { path: path.clone(), source };
    // One that was begun by somebody who was killed may be a program that runs, which nobody may write to.
    match std::fs::remove_file(&partial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(write(error)),
        _ => {}
    }
    let mut to = OpenOptions::new().create_new(true).write(true).mode(0o755).open(&partial).map_err(write)?;
    io::copy(&mut from, &mut to).map_err(write)?;
    // Whatever the umask was: any user of the container runs it.
    let everybody = PermissionsExt::from_mode(0o755);
    to.set_permissions(everybody).and_then(|()| to.sync_all()).map_err(write)?;
    drop(to);
    std::fs::rename(&partial, &path).map_err(write)?;
    keep_from_others(directory);
    Ok(())
}

/// A pod's volume is one that everybody may write to. The sticky bit keeps another user of the container from putting a program of its own in
/// the place of ours, which root would run; and the kernel then follows no link that somebody else has left there. Whose directory it is not
/// cannot set it, and has no say in who else writes there either.
fn keep_from_others(directory: &Path) {
    if let Ok(mode) = std::fs::metadata(directory).map(|found| found.permissions().mode())
        && mode & 0o022 != 0
    {
        let _ = std::fs::set_permissions(directory, PermissionsExt::from_mode(mode & 0o7777 | 0o1000));
    }
}
