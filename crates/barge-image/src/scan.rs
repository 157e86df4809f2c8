//! Looks at the built files. Everything that cannot be part of an image is an error that names it.

use std::fs::Metadata;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A file or link that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its path below the scanned directory, with `/` between parts.
    pub path: String,
    /// What it is.
    pub kind: FoundKind,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundKind {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Where its bytes are.
        source: PathBuf,
        /// Its size in bytes.
        size: u64,
        /// Whether somebody may execute it.
        executable: bool,
    },
    /// A symbolic link that stays inside.
    Link {
        /// Where it points, as written.
        target: String,
    },
}

/// Why the files cannot become an image.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// There is nothing at the path.
    #[error("{0} does not exist")]
    Missing(PathBuf),
    /// A directory without any file.
    #[error("{0} holds no files")]
    Empty(PathBuf),
    /// The file system refuses.
    #[error("read {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A name that is no text.
    #[error("{0:?}: the name is not UTF-8")]
    NameNotUtf8(PathBuf),
    /// A symbolic link that leads out of the directory.
    #[error("{path} is a link to {target}, which lies outside of the built files")]
    LinkOutside {
        /// The link.
        path: PathBuf,
        /// Where it points.
        target: PathBuf,
    },
    /// A socket, pipe or device.
    #[error("{0} is a socket, a pipe or a device; only files, directories and links can be part of an image")]
    Special(PathBuf),
    /// A name that removes files instead of bringing one.
    #[error("{0}: in an image, a file whose name begins with .wh. removes another one")]
    Whiteout(PathBuf),
    /// More files than any application has.
    #[error("{path} holds more than {limit} files")]
    TooMany {
        /// The directory.
        path: PathBuf,
        /// The limit.
        limit: usize,
    },
}

/// The most files that one image may hold.
pub const MAX_FILES: usize = 200_000;

/// Looks at a directory, or at a single file. `leave_out` names what does not belong into the image (such as `barge.yaml`), relative to
/// the directory.
///
/// # Errors
/// The first thing that cannot be part of an image.
pub fn scan(root: &Path, leave_out: &[&str]) -> Result<Vec<Found>, ScanError> {
    scan_up_to(MAX_FILES, root, leave_out)
}

fn scan_up_to(limit: usize, root: &Path, leave_out: &[&str]) -> Result<Vec<Found>, ScanError> {
    let meta = std::fs::metadata(root).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => ScanError::Missing(root.to_owned()),
        _ => ScanError::Read { path: root.to_owned(), source },
    })?;
    if meta.is_file() {
        let name = name_of(root)?;
        return Ok(vec![Found { path: name.to_owned(), kind: file(root, &meta) }]);
    }
    if !meta.is_dir() {
        return Err(ScanError::Special(root.to_owned()));
    }
    let mut found = Vec::new();
    let walk = Walk { limit, root, leave_out };
    walk.directory(root, "", &mut found)?;
    if !found.iter().any(|entry| !matches!(entry.kind, FoundKind::Directory)) {
        return Err(ScanError::Empty(root.to_owned()));
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// What stays the same while a tree is walked through.
struct Walk<'a> {
    limit: usize,
    root: &'a Path,
    leave_out: &'a [&'a str],
}

impl Walk<'_> {
    fn directory(&self, directory: &Path, prefix: &str, found: &mut Vec<Found>) -> Result<(), ScanError> {
        let fail = |path: &Path| {
            let path = path.to_owned();
            move |source| ScanError::Read { path, source }
        };
        for entry in std::fs::read_dir(directory).map_err(fail(directory))? {
            let full = entry.map_err(fail(directory))?.path();
            let name = name_of(&full)?;
            let path = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
            if self.leave_out.contains(&path.as_str()) {
                continue;
            }
            if found.len() >= self.limit {
                return Err(ScanError::TooMany { path: self.root.to_owned(), limit: self.limit });
            }
            let meta = std::fs::symlink_metadata(&full).map_err(fail(&full))?;
            let kind = if meta.is_dir() {
                FoundKind::Directory
            } else if meta.is_symlink() {
                link(&full, &path)?
            } else if meta.is_file() {
                file(&full, &meta)
            } else {
                return Err(ScanError::Special(full));
            };
            let descend = kind == FoundKind::Directory;
            found.push(Found { path: path.clone(), kind });
            if descend {
                self.directory(&full, &path, found)?;
            }
        }
        Ok(())
    }
}

/// The name that a file will have in the image.
fn name_of(path: &Path) -> Result<&str, ScanError> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| ScanError::NameNotUtf8(path.to_owned()))?;
    if name.starts_with(".wh.") { Err(ScanError::Whiteout(path.to_owned())) } else { Ok(name) }
}

fn file(path: &Path, meta: &Metadata) -> FoundKind {
    FoundKind::File { source: path.to_owned(), size: meta.len(), executable: meta.permissions().mode() & 0o111 != 0 }
}

/// A link is kept as a link; its target must stay inside, counted from where the link stands.
fn link(full: &Path, path: &str) -> Result<FoundKind, ScanError> {
    let target = std::fs::read_link(full).map_err(|source| ScanError::Read { path: full.to_owned(), source })?;
    let outside = || ScanError::LinkOutside { path: full.to_owned(), target: target.clone() };
    let text = target.to_str().ok_or_else(|| ScanError::NameNotUtf8(target.clone()))?.to_owned();
    let mut depth = path.matches('/').count();
    if text.starts_with('/') {
        return Err(outside());
    }
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => depth = depth.checked_sub(1).ok_or_else(outside)?,
            _ => depth += 1,
        }
    }
    Ok(FoundKind::Link { target: text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_files_than_the_limit_are_told_with_the_directory_that_was_asked_for() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("sub")).unwrap();
        for name in ["sub/a", "sub/b"] {
            std::fs::write(directory.path().join(name), "").unwrap();
        }
        assert_eq!(scan_up_to(3, directory.path(), &[]).unwrap().len(), 3);
        let error = scan_up_to(2, directory.path(), &[]).unwrap_err();
        assert_eq!(error.to_string(), format!("{} holds more than 2 files", directory.path().display()));
    }
}
