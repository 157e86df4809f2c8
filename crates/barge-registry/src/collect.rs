//! Garbage collection: removes blobs that no manifest names, and uploads that nobody finished.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::error::StorageError;
use crate::storage::{Storage, io};

/// What a collection removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Collected {
    /// Manifests that nobody needs any more.
    pub manifests: usize,
    /// Blobs that no manifest names.
    pub blobs: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Uploads given up.
    pub uploads: usize,
}

impl Storage {
    /// Removes untagged manifests whose digest is not in `keep` (those that releases still name), then what nothing names.
    /// Nothing younger than `grace` is touched: a push that is under way has not named its blobs yet.
    ///
    /// # Errors
    /// A directory cannot be read or a file not be removed.
    pub fn collect(&self, keep: &BTreeSet<String>, grace: Duration) -> Result<Collected, StorageError> {
        let mut collected = Collected::default();
        let mut named: BTreeSet<String> = BTreeSet::new();
        let mut repositories = Vec::new();
        find_repositories(&self.root().join("repositories"), &mut repositories)?;
        for repository in &repositories {
            let tagged: BTreeSet<String> =
                list(&repository.join("tags"))?.iter().filter_map(|path| std::fs::read_to_string(path).ok()).collect();
            for manifest in list(&repository.join("manifests"))? {
                let hex = file_name(&manifest);
                let digest = format!("sha256:{hex}");
                let needed = tagged.contains(&digest) || keep.contains(&digest) || young(&manifest, grace);
                if needed {
                    named.extend(names(&self.blob_path(&hex)));
                    named.insert(hex);
                } else {
                    std::fs::remove_file(&manifest).map_err(io("remove", &manifest))?;
                    collected.manifests += 1;
                }
            }
        }
        for blob in list(&self.root().join("blobs"))? {
            if !named.contains(&file_name(&blob)) && !young(&blob, grace) {
                collected.bytes += std::fs::metadata(&blob).map(|meta| meta.len()).unwrap_or_default();
                std::fs::remove_file(&blob).map_err(io("remove", &blob))?;
                collected.blobs += 1;
                for repository in &repositories {
                    // Not every repository has every blob.
                    let _ = std::fs::remove_file(repository.join("layers").join(file_name(&blob)));
                }
            }
        }
        for upload in list(&self.root().join("uploads"))? {
            if !young(&upload, grace) {
                std::fs::remove_file(&upload).map_err(io("remove", &upload))?;
                collected.uploads += 1;
            }
        }
        Ok(collected)
    }
}

/// The bytes of all blobs and uploads.
pub(crate) fn size_on_disk(root: &Path) -> u64 {
    ["blobs", "uploads"]
        .iter()
        .filter_map(|part| std::fs::read_dir(root.join(part)).ok())
        .flatten()
        .filter_map(|entry| entry.ok()?.metadata().ok())
        .map(|meta| meta.len())
        .sum()
}

fn find_repositories(directory: &Path, found: &mut Vec<std::path::PathBuf>) -> Result<(), StorageError> {
    for path in list(directory)? {
        if path.ends_with("_barge") {
            found.push(path);
        } else if path.is_dir() {
            find_repositories(&path, found)?;
        }
    }
    Ok(())
}

fn list(directory: &Path) -> Result<Vec<std::path::PathBuf>, StorageError> {
    match std::fs::read_dir(directory) {
        Ok(entries) => Ok(entries.filter_map(|entry| Some(entry.ok()?.path())).collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(io("list", directory)(error)),
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn young(path: &Path, grace: Duration) -> bool {
    let modified = std::fs::metadata(path).and_then(|meta| meta.modified());
    modified.is_ok_and(|at| SystemTime::now().duration_since(at).unwrap_or_default() < grace)
}

/// Every digest that a manifest mentions, without `sha256:`.
fn names(manifest: &Path) -> Vec<String> {
    let Ok(bytes) = std::fs::read(manifest) else { return Vec::new() };
    let text = String::from_utf8_lossy(&bytes);
    text.split("sha256:").skip(1).filter_map(|rest| rest.get(..64)).map(str::to_owned).collect()
}
