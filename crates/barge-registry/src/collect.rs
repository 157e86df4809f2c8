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
        let _collecting = self.collecting();
        let mut collected = Collected::default();
        let mut named: BTreeSet<String> = BTreeSet::new();
        let mut repositories = Vec::new();
        find_repositories(&self.root().join("repositories"), &mut repositories)?;
        for repository in &repositories {
            collected.manifests += self.collect_manifests(repository, keep, grace, &mut named)?;
        }
        for blob in list(&self.root().join("blobs"))? {
            let name = file_name(&blob);
            if !named.contains(&name) && !young(&blob, grace) {
                collected.bytes += self.remove_counted(&blob)?;
                collected.blobs += 1;
                for repository in &repositories {
                    // Not every repository has every blob.
                    let _ = std::fs::remove_file(repository.join("layers").join(&name));
                }
            }
        }
        for upload in list(&self.root().join("uploads"))? {
            if !young(&upload, grace) {
                self.remove_counted(&upload)?;
                collected.uploads += 1;
            }
        }
        Ok(collected)
    }

    /// Removes what a repository does not need of its manifests, and adds what the others name to `named`.
    fn collect_manifests(
        &self,
        repository: &Path,
        keep: &BTreeSet<String>,
        grace: Duration,
        named: &mut BTreeSet<String>,
    ) -> Result<usize, StorageError> {
        let mut wanted = BTreeSet::new();
        for tag in list(&repository.join("tags"))? {
            // A tag that cannot be read stops the collection: its image would be removed.
            wanted.insert(std::fs::read_to_string(&tag).map_err(io("read", &tag))?);
        }
        let mut rest = Vec::new();
        let mut needed = Vec::new();
        for manifest in list(&repository.join("manifests"))? {
            let digest = format!("sha256:{}", file_name(&manifest));
            let is_needed = wanted.contains(&digest) || keep.contains(&digest) || young(&manifest, grace);
            if is_needed { needed.push(file_name(&manifest)) } else { rest.push(manifest) }
        }
        // An index names manifests, which name blobs.
        while let Some(hex) = needed.pop() {
            for name in names(&self.blob_path(&hex)) {
                if let Some(at) = rest.iter().position(|manifest| file_name(manifest) == name) {
                    rest.swap_remove(at);
                    needed.push(name.clone());
                }
                named.insert(name);
            }
            named.insert(hex);
        }
        for manifest in &rest {
            std::fs::remove_file(manifest).map_err(io("remove", manifest))?;
        }
        Ok(rest.len())
    }

    fn remove_counted(&self, path: &Path) -> Result<u64, StorageError> {
        let size = std::fs::metadata(path).map(|meta| meta.len()).unwrap_or_default();
        std::fs::remove_file(path).map_err(io("remove", path))?;
        self.space().give_back(size);
        Ok(size)
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
    // Searched as text: whatever kind of manifest it is, what it may need is kept.
    let text = String::from_utf8_lossy(&bytes);
    text.split("sha256:").skip(1).filter_map(|rest| rest.get(..64)).map(str::to_owned).collect()
}
