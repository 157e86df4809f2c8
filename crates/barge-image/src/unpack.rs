//! From layers back to files: only /app, because the local engine runs it on the host's own system.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use tar::{EntryType, Unpacked};

/// Why a layer could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The layer's file cannot be read as what it should be.
    #[error("read layer {0}")]
    Read(PathBuf, #[source] io::Error),
    /// An entry cannot be written.
    #[error("unpack {entry}")]
    Write {
        /// Which entry.
        entry: String,
        /// Why not.
        source: io::Error,
    },
    /// An entry would leave the directory.
    #[error("the entry {0:?} would be written outside of the instance's directory")]
    Outside(String),
    /// A link that leads out of /app.
    #[error("the entry {entry:?} is a link to {target:?}, which lies outside of /app")]
    LinkOutside {
        /// Which entry.
        entry: String,
        /// Where it leads.
        target: String,
    },
    /// A device or a pipe.
    #[error("the entry {0:?} is neither a file, nor a directory, nor a link")]
    Special(String),
}

/// Unpacks what a layer holds below `app/` into `target`, which must exist. Layers are unpacked lowest first.
///
/// # Errors
/// The layer is damaged, or holds entries that lead out of `target`.
pub fn unpack_app(layer: &Path, target: &Path) -> Result<(), UnpackError> {
    let read = |source| UnpackError::Read(layer.to_owned(), source);
    let mut file = BufReader::with_capacity(128 * 1024, File::open(layer).map_err(read)?);
    let compressed = file.fill_buf().map_err(read)?.starts_with(&[0x1f, 0x8b]);
    let bytes: Box<dyn Read> = if compressed { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
    let mut archive = tar::Archive::new(bytes);
    let mut unpacking = Unpacking { target, written: HashSet::new() };
    for entry in archive.entries().map_err(read)? {
        unpacking.entry(entry.map_err(read)?, read)?;
    }
    Ok(())
}

struct Unpacking<'a> {
    target: &'a Path,
    /// What this layer has brought, which its own whiteouts do not concern.
    written: HashSet<PathBuf>,
}

impl Unpacking<'_> {
    fn entry<R: Read>(
        &mut self,
        mut entry: tar::Entry<'_, R>,
        read: impl FnOnce(io::Error) -> UnpackError,
    ) -> Result<(), UnpackError> {
        let path = entry.path().map_err(read)?.into_owned();
        let name = path.display().to_string();
        let Some(below) = below_app(&path) else { return Ok(()) };
        let below = plain(below).ok_or_else(|| UnpackError::Outside(name.clone()))?;
        let Some(file_name) = below.file_name() else { return Ok(()) };
        let write = |source| UnpackError::Write { entry: name.clone(), source };
        self.make_parents(&below, &name)?;
        let inside = self.target.join(&below);
        if let Some(hidden) = file_name.to_str().and_then(|text| text.strip_prefix(".wh.")) {
            return self.whiteout(&below, hidden, &name)?.map_err(write);
        }
        let kind = entry.header().entry_type();
        // Old tars have directories that only their names tell from files.
        let named_so = entry.header().as_ustar().is_none() && entry.path_bytes().ends_with(b"/");
        let is_directory = kind.is_dir() || (kind.is_file() && named_so);
        // What a lower layer has here gives way; only a directory is joined with a directory.
        match std::fs::symlink_metadata(&inside) {
            Ok(meta) if !(is_directory && meta.is_dir()) => remove(&inside).map_err(write)?,
            _ => {}
        }
        match kind {
            _ if is_directory => {
                let mode = entry.header().mode().unwrap_or(0o755);
                std::fs::create_dir_all(&inside).and_then(|()| permit(&inside, mode | 0o700)).map_err(write)?;
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                entry.set_preserve_mtime(false);
                let unpacked = entry.unpack(&inside).map_err(write)?;
                let mode = entry.header().mode().unwrap_or(0o644);
                if matches!(unpacked, Unpacked::File(_)) && mode & 0o400 == 0 {
                    permit(&inside, mode | 0o400).map_err(write)?;
                }
            }
            EntryType::Symlink => {
                let to = link_name(&entry, &name)?;
                let stays = stays_inside(below.parent().unwrap_or(Path::new("")), &to);
                if !stays {
                    return Err(UnpackError::LinkOutside { entry: name, target: to.display().to_string() });
                }
                symlink(&to, &inside).map_err(write)?;
            }
            EntryType::Link => {
                let to = link_name(&entry, &name)?;
                let from = below_app(&to).and_then(plain).filter(|from| self.no_links(from));
                let from =
                    from.ok_or(UnpackError::LinkOutside { entry: name.clone(), target: to.display().to_string() })?;
                std::fs::hard_link(self.target.join(from), &inside).map_err(write)?;
            }
            _ => return Err(UnpackError::Special(name)),
        }
        self.written.extend(below.ancestors().map(Path::to_owned));
        Ok(())
    }

    /// Makes missing parents. None of them may be a link, or the entry would land where the link points.
    fn make_parents(&self, below: &Path, name: &str) -> Result<(), UnpackError> {
        let parents = below.parent().unwrap_or(Path::new(""));
        if !self.no_links(parents) {
            return Err(UnpackError::Outside(name.to_owned()));
        }
        std::fs::create_dir_all(self.target.join(parents))
            .map_err(|source| UnpackError::Write { entry: name.to_owned(), source })
    }

    fn no_links(&self, below: &Path) -> bool {
        below.ancestors().all(|part| part.as_os_str().is_empty() || !self.target.join(part).is_symlink())
    }

    /// `.wh.NAME` removes NAME of lower layers, `.wh..wh..opq` all that they have in the directory (image specification,
    /// "Whiteouts").
    fn whiteout(&self, below: &Path, hidden: &str, name: &str) -> Result<io::Result<()>, UnpackError> {
        let parent = below.parent().unwrap_or(Path::new(""));
        if hidden == ".wh..opq" {
            return Ok(self.clear(parent));
        }
        let hidden = plain(Path::new(hidden)).filter(|path| path.components().count() == 1);
        let hidden = parent.join(hidden.ok_or_else(|| UnpackError::Outside(name.to_owned()))?);
        Ok(if self.written.contains(&hidden) { Ok(()) } else { remove(&self.target.join(hidden)) })
    }

    /// Removes what lower layers have in a directory.
    fn clear(&self, directory: &Path) -> io::Result<()> {
        for entry in std::fs::read_dir(self.target.join(directory))? {
            let entry = entry?;
            let below = directory.join(entry.file_name());
            if !self.written.contains(&below) {
                remove(&entry.path())?;
            } else if entry.file_type()?.is_dir() {
                self.clear(&below)?;
            }
        }
        Ok(())
    }
}

/// Gives a mode to what was unpacked. Images are made by root, who may write where nobody may; here, whoever owns the files must be able to
/// read them, to fill their directories and to remove them.
fn permit(path: &Path, mode: u32) -> io::Result<()> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode & 0o777))
}

/// What of a path lies below /app, however it begins.
fn below_app(path: &Path) -> Option<&Path> {
    let path = path.strip_prefix("/").unwrap_or(path);
    path.strip_prefix(".").unwrap_or(path).strip_prefix(crate::plan::APP).ok()
}

/// The path without `.`; none when it has anything but names.
fn plain(path: &Path) -> Option<PathBuf> {
    path.components()
        .filter(|part| *part != Component::CurDir)
        .map(|part| if let Component::Normal(name) = part { Some(name) } else { None })
        .collect()
}

fn link_name<R: Read>(entry: &tar::Entry<'_, R>, name: &str) -> Result<PathBuf, UnpackError> {
    let missing = || UnpackError::Special(name.to_owned());
    entry.link_name().ok().flatten().map(std::borrow::Cow::into_owned).ok_or_else(missing)
}

/// Whether a link in `directory` stays inside, counted from where it stands.
fn stays_inside(directory: &Path, target: &Path) -> bool {
    let mut depth = directory.components().count();
    for part in target.components() {
        match part {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir if depth > 0 => depth -= 1,
            _ => return false,
        }
    }
    true
}

fn remove(path: &Path) -> io::Result<()> {
    let result = match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => std::fs::remove_dir_all(path),
        _ => std::fs::remove_file(path),
    };
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
