//! Garbage collection: removes blobs that no manifest names, and uploads that nobody finished.
//!
//! What goes is decided, and loses its name, while nobody may join names to blobs; the bytes are removed afterwards, so that requests wait
//! for the decision alone. Whatever cannot be read ends the collection: it might name a blob. A manifest that says something of another
//! one stays as long as that one, and does not keep it.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::disk::{io, remove, remove_if_there, sync_directory};
use crate::error::StorageError;
use crate::referrers;
use crate::storage::Storage;

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
    /// This waits for the disk, so it has no place on a thread that serves requests.
    ///
    /// # Errors
    /// A file or directory cannot be read or not be removed.
    pub fn collect(&self, keep: &BTreeSet<String>, grace: Duration) -> Result<Collected, StorageError> {
        // One at a time: two would remove each other's trash.
        let _tidying = self.tidying();
        let mut collected = Collected::default();
        {
            let _collecting = self.collecting();
            self.take_names_away(keep, grace, &mut collected)?;
        }
        self.empty_trash()?;
        self.collect_uploads(grace, &mut collected)?;
        Ok(collected)
    }

    /// Takes manifests from their repositories and moves blobs to the trash, once it is decided of all of them.
    fn take_names_away(
        &self,
        keep: &BTreeSet<String>,
        grace: Duration,
        collected: &mut Collected,
    ) -> Result<(), StorageError> {
        let mut repositories = Vec::new();
        find_repositories(&self.root().join("repositories"), &mut repositories)?;
        let mut named = BTreeSet::new();
        let mut manifests = Vec::new();
        for repository in &repositories {
            manifests.extend(self.unneeded_manifests(repository, keep, grace, &mut named)?);
        }
        let mut blobs = list(&self.root().join("blobs"))?;
        blobs.retain(|blob| !named.contains(&file_name(blob)) && !young(blob, grace));

        for manifest in &manifests {
            remove(manifest)?;
        }
        collected.manifests = manifests.len();
        // On disk before any blob goes: a manifest that comes back without its layers would count as pushed.
        for directory in manifests.iter().filter_map(|manifest| manifest.parent()).collect::<BTreeSet<_>>() {
            sync_directory(directory)?;
        }
        for repository in &repositories {
            referrers::tidy(repository)?;
        }
        for blob in &blobs {
            let name = file_name(blob);
            for repository in &repositories {
                remove_if_there(&repository.join("layers").join(&name))?;
            }
            let size = std::fs::metadata(blob).map_err(io("read", blob))?.len();
            std::fs::rename(blob, self.trash().join(&name)).map_err(io("remove", blob))?;
            collected.blobs += 1;
            collected.bytes += size;
        }
        Ok(())
    }

    /// The manifests that a repository does not need; what the others name is added to `named`.
    fn unneeded_manifests(
        &self,
        repository: &Path,
        keep: &BTreeSet<String>,
        grace: Duration,
        named: &mut BTreeSet<String>,
    ) -> Result<Vec<PathBuf>, StorageError> {
        let mut wanted = BTreeSet::new();
        for tag in list(&repository.join("tags"))? {
            // What begins with a dot is left from a write that never ended.
            if file_name(&tag).starts_with('.') {
                continue;
            }
            wanted.insert(std::fs::read_to_string(&tag).map_err(io("read", &tag))?);
        }
        let mut rest = Vec::new();
        let mut needed = Vec::new();
        for manifest in list(&repository.join("manifests"))? {
            let digest = format!("sha256:{}", file_name(&manifest));
            let is_needed = wanted.contains(&digest) || keep.contains(&digest) || young(&manifest, grace);
            if is_needed { needed.push(file_name(&manifest)) } else { rest.push(manifest) }
        }
        // An index names manifests, which name blobs; and there may be manifests that say something of each.
        while let Some(hex) = needed.pop() {
            let mut names = names(&self.blob_path(&hex))?;
            names.extend(referrers::noted(repository, &hex)?);
            for name in names {
                if let Some(at) = rest.iter().position(|manifest| file_name(manifest) == name) {
                    rest.swap_remove(at);
                    needed.push(name.clone());
                }
                named.insert(name);
            }
            named.insert(hex);
        }
        Ok(rest)
    }

    /// Removes what lost its name, now or in a collection that was interrupted.
    fn empty_trash(&self) -> Result<(), StorageError> {
        for path in list(&self.trash())? {
            self.remove_counted(&path)?;
        }
        Ok(())
    }

    fn collect_uploads(&self, grace: Duration, collected: &mut Collected) -> Result<(), StorageError> {
        for upload in list(&self.root().join("uploads"))? {
            if young(&upload, grace) {
                continue;
            }
            // One that a request works on is not given up, however long ago its last piece came.
            let Some(_claim) = self.busy().claim(&upload) else { continue };
            if !young(&upload, grace) {
                self.remove_counted(&upload)?;
                collected.uploads += 1;
            }
        }
        Ok(())
    }

    fn remove_counted(&self, path: &Path) -> Result<(), StorageError> {
        let size = std::fs::metadata(path).map_err(io("read", path))?.len();
        remove(path)?;
        self.space().give_back(size);
        Ok(())
    }
}

/// The bytes of all blobs and uploads, and of what a collection has not come to remove.
pub(crate) fn size_on_disk(root: &Path) -> u64 {
    ["blobs", "uploads", "trash"]
        .iter()
        .filter_map(|part| std::fs::read_dir(root.join(part)).ok())
        .flatten()
        .filter_map(|entry| entry.ok()?.metadata().ok())
        .map(|meta| meta.len())
        .sum()
}

fn find_repositories(directory: &Path, found: &mut Vec<PathBuf>) -> Result<(), StorageError> {
    for path in list(directory)? {
        if path.ends_with("_barge") {
            found.push(path);
        } else if std::fs::metadata(&path).map_err(io("read", &path))?.is_dir() {
            find_repositories(&path, found)?;
        }
    }
    Ok(())
}

/// What a directory holds; nothing where there is none.
fn list(directory: &Path) -> Result<Vec<PathBuf>, StorageError> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(io("list", directory))?,
    };
    entries.map(|entry| entry.map(|entry| entry.path()).map_err(io("list", directory))).collect()
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Whether a file is younger than `grace`; one of which that cannot be said is.
fn young(path: &Path, grace: Duration) -> bool {
    let modified = std::fs::metadata(path).and_then(|meta| meta.modified());
    modified.map_or(true, |at| SystemTime::now().duration_since(at).unwrap_or_default() < grace)
}

/// Every digest that a manifest needs, without `sha256:`; none where the manifest's own blob is gone.
fn names(manifest: &Path) -> Result<Vec<String>, StorageError> {
    let bytes = match std::fs::read(manifest) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        bytes => bytes.map_err(io("read", manifest))?,
    };
    // Searched as text: whatever kind of manifest it is, what it may need is kept. As text that is written anew: as it came, a digest may
    // have escapes in it. That of which it only says something it does not need.
    let text = match serde_json::from_slice(&bytes) {
        Ok(serde_json::Value::Object(mut document)) => {
            document.remove("subject");
            serde_json::Value::Object(document).to_string()
        }
        _ => String::from_utf8_lossy(&bytes).into_owned(),
    };
    Ok(text.split("sha256:").skip(1).filter_map(|rest| rest.get(..64)).map(str::to_owned).collect())
}
