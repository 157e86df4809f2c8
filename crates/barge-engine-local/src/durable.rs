//! Files that must be whole after a power cut. What came through a network is brought to the disk before it gets its name; a copy of it is
//! cheaper made again than brought to the disk, so of a copy it is only known in which run of the machine it was made.

use std::fs::File;
use std::io::Result;
use std::path::{Path, PathBuf};

use barge_runtime::files;

/// Up to so many files are brought to the disk one by one, which costs what they hold and nothing else. More are brought there with all
/// that the file system still has to write, other programs' files too: that may be much, but it is waited for once and not for each file.
const ONE_BY_ONE: usize = 64;
/// In which run of the machine the files beside it were made.
const MADE_IN: &str = "boot";
/// Tells one run of the machine from every other.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Brings everything below `directory` to the disk: bytes, and names.
pub(crate) fn sync_tree(directory: &Path) -> Result<()> {
    let (mut all, mut directories) = (Vec::new(), vec![directory.to_owned()]);
    let mut next = 0;
    while let Some(inside) = directories.get(next).cloned() {
        next += 1;
        for entry in std::fs::read_dir(inside)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                directories.push(entry.path());
            } else if kind.is_file() {
                all.push(entry.path());
            }
        }
        if all.len() + directories.len() > ONE_BY_ONE {
            return sync_file_system(directory);
        }
    }
    sync_each(&all, &directories)
}

fn sync_each(all: &[PathBuf], directories: &[PathBuf]) -> Result<()> {
    for path in all {
        File::open(path)?.sync_all()?;
    }
    directories.iter().try_for_each(|path| files::sync_directory(path))
}

fn sync_file_system(directory: &Path) -> Result<()> {
    Ok(nix::unistd::syncfs(File::open(directory)?)?)
}

/// Notes in `directory` that the files there are made in this run of the machine.
pub(crate) fn note_made(directory: &Path) -> Result<()> {
    std::fs::write(directory.join(MADE_IN), this_boot()?)
}

/// Whether the files in `directory` were made in this run of the machine: then no power cut can have cost them anything.
pub(crate) fn made_in_this_boot(directory: &Path) -> bool {
    let noted = std::fs::read(directory.join(MADE_IN));
    noted.is_ok_and(|noted| this_boot().is_ok_and(|boot| boot == noted))
}

fn this_boot() -> Result<Vec<u8>> {
    std::fs::read(BOOT_ID)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_files_and_many_are_brought_to_the_disk() {
        for count in [3, 3 * ONE_BY_ONE] {
            let place = tempfile::tempdir().unwrap();
            let inside = place.path().join("a/b");
            std::fs::create_dir_all(&inside).unwrap();
            for number in 0..count {
                std::fs::write(inside.join(number.to_string()), "content").unwrap();
            }
            // A link is a name of its directory; where it leads is nobody's file here.
            std::os::unix::fs::symlink("nowhere", inside.join("link")).unwrap();
            sync_tree(place.path()).unwrap();
        }
        assert!(sync_tree(Path::new("/nowhere/at/all")).is_err(), "what cannot be read is not said to be safe");
    }

    #[test]
    fn files_of_another_run_of_the_machine_are_known() {
        let place = tempfile::tempdir().unwrap();
        assert!(!made_in_this_boot(place.path()));
        note_made(place.path()).unwrap();
        assert!(made_in_this_boot(place.path()));
        std::fs::write(place.path().join(MADE_IN), "another").unwrap();
        assert!(!made_in_this_boot(place.path()));
    }
}
