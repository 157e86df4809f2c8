//! Makes room: what was not used for longest goes first.

use std::fs::{File, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::Cache;

/// Room is made for more than the next build needs, in hundredths of the limit.
const KEPT: u64 = 90;
/// Notes that nobody has written anew for so long are of projects that are gone, or of which nothing changes.
const OLD: Duration = Duration::from_secs(30 * 86_400);

struct Blob {
    path: PathBuf,
    size: u64,
    used: SystemTime,
}

impl Cache {
    /// Removes blobs until they take no more than they may. Builds that use one of them have it open and do not notice.
    pub(crate) fn prune(&self) {
        let Ok(turn) = File::create(self.0.directory.join("prune.lock")) else { return };
        // One at a time is enough; where files cannot be locked, two do no harm.
        if matches!(turn.try_lock(), Err(TryLockError::WouldBlock)) {
            return;
        }
        let mut blobs = self.blobs();
        let mut total: u64 = blobs.iter().map(|blob| blob.size).sum();
        if total <= self.0.limit {
            return;
        }
        blobs.sort_by_key(|blob| blob.used);
        let wanted = self.0.limit / 100 * KEPT;
        for blob in blobs {
            if total <= wanted {
                break;
            }
            if std::fs::remove_file(&blob.path).is_ok() {
                total -= blob.size;
            }
        }
        remove_old(&self.0.directory.join("index"));
        for notes in ["layers", "derived"].iter().flat_map(|kind| list(&self.0.directory.join(kind))) {
            remove_old(&notes);
            // It is kept while there is something in it.
            let _ = std::fs::remove_dir(&notes);
        }
    }

    fn blobs(&self) -> Vec<Blob> {
        let blob = |path: PathBuf| {
            let found = std::fs::symlink_metadata(&path).ok()?;
            // What the disk has of it: small ones take a whole block.
            Some(Blob { path, size: found.blocks() * 512, used: found.accessed().ok()? })
        };
        list(&self.0.directory.join("blobs/sha256")).filter_map(blob).collect()
    }
}

fn list(directory: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    std::fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path())
}

fn remove_old(directory: &Path) {
    let now = SystemTime::now();
    let old = |path: &PathBuf| {
        let modified = std::fs::metadata(path).and_then(|found| found.modified()).ok();
        modified.and_then(|at| now.duration_since(at).ok()).is_some_and(|age| age > OLD)
    };
    for path in list(directory).filter(old) {
        // Another build may have been faster.
        let _ = std::fs::remove_file(path);
    }
}
