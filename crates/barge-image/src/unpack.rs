//! From layers back to files: only /app, because the local engine runs it on the host's own system.

use std::fs::File;
use std::io;
use std::path::{Component, Path, PathBuf};

use flate2::read::MultiGzDecoder;

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
}

/// Unpacks what a layer holds below `app/` into `target`, which must exist.
///
/// # Errors
/// The layer is damaged, or holds entries that lead out of `target`.
pub fn unpack_app(layer: &Path, target: &Path) -> Result<(), UnpackError> {
    let read = |source| UnpackError::Read(layer.to_owned(), source);
    let file = File::open(layer).map_err(read)?;
    let mut archive = tar::Archive::new(MultiGzDecoder::new(io::BufReader::new(file)));
    for entry in archive.entries().map_err(read)? {
        let mut entry = entry.map_err(read)?;
        let path = entry.path().map_err(read)?.into_owned();
        let name = path.display().to_string();
        let Ok(below) = path.strip_prefix(crate::plan::APP) else { continue };
        if !below.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
            return Err(UnpackError::Outside(name));
        }
        if below.as_os_str().is_empty() {
            continue;
        }
        // `unpack_in` refuses to write through links that lead out; giving it a path below `target` keeps /app itself away.
        let inside = target.join(below);
        check_parents(target, below, &name)?;
        if let Some(file) = whiteout(&inside) {
            remove(&file).map_err(|source| UnpackError::Write { entry: name, source })?;
            continue;
        }
        if !entry.header().entry_type().is_dir() {
            let _ = std::fs::remove_file(&inside);
        }
        entry.set_preserve_mtime(false);
        entry.unpack(&inside).map_err(|source| UnpackError::Write { entry: name, source })?;
    }
    Ok(())
}

/// No parent of an entry may be a link, or the entry would land where the link points.
fn check_parents(target: &Path, below: &Path, name: &str) -> Result<(), UnpackError> {
    let mut place = target.to_owned();
    let parents = below.parent().unwrap_or(Path::new(""));
    for part in parents.components() {
        place.push(part);
        if place.is_symlink() {
            return Err(UnpackError::Outside(name.to_owned()));
        }
        if !place.exists() {
            std::fs::create_dir(&place).map_err(|source| UnpackError::Write { entry: name.to_owned(), source })?;
        }
    }
    Ok(())
}

/// `.wh.NAME` removes NAME of a lower layer (image specification, "Whiteouts").
fn whiteout(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?.strip_prefix(".wh.")?;
    Some(path.with_file_name(name))
}

fn remove(path: &Path) -> io::Result<()> {
    let result = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
