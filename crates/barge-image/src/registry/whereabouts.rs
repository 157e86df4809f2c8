//! Which repository of a registry is known to have a blob, from earlier pushes of any project of this user: it is mounted from there
//! instead of being sent again.
//!
//! A file for each large blob, with the repository's name. What it says may be out of date, and then costs nothing: a registry that
//! cannot mount takes an upload.

use std::path::PathBuf;

use super::Reference;

/// Smaller blobs, in bytes, are not worth a file.
const LEAST: u64 = 64 * 1024;
/// So many blobs are remembered of each registry; the oldest half goes when there are more.
const MOST: usize = 4096;

/// What is known of where blobs are.
#[derive(Debug, Clone, Default)]
pub struct Whereabouts {
    directory: Option<PathBuf>,
}

impl Whereabouts {
    /// Remembers in a directory, or nothing.
    pub fn new(directory: Option<PathBuf>) -> Self {
        Self { directory }
    }

    /// Another repository of the same registry that had the blob.
    pub(super) fn of(&self, target: &Reference, digest: &str) -> Option<String> {
        let text = std::fs::read_to_string(self.file(target, digest)?).ok()?;
        // Whatever else is in the file, it is asked for only if it is a name.
        let known: Reference = format!("{}/{text}", target.host).parse().ok()?;
        (known.repository == text && known.repository != target.repository).then_some(known.repository)
    }

    /// Remembers that a repository has a blob. That this fails is no reason for a push to fail.
    pub(super) fn remember(&self, target: &Reference, digest: &str, size: u64) {
        let Some(path) = self.file(target, digest).filter(|_| size >= LEAST) else { return };
        let Some(directory) = path.parent() else { return };
        if let Err(error) = std::fs::create_dir_all(directory).and_then(|()| std::fs::write(&path, &target.repository))
        {
            tracing::debug!(path = %path.display(), %error, "where a blob is was not remembered");
        }
        forget_oldest(directory);
    }

    fn file(&self, target: &Reference, digest: &str) -> Option<PathBuf> {
        let hex = digest.strip_prefix("sha256:")?;
        Some(self.directory.as_ref()?.join(target.host.replace([':', '/'], "_")).join(hex))
    }
}

fn forget_oldest(directory: &std::path::Path) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    let paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    if paths.len() <= MOST {
        return;
    }
    let age = |path: &PathBuf| std::fs::metadata(path).and_then(|meta| meta.modified()).ok();
    let mut paths: Vec<_> = paths.into_iter().map(|path| (age(&path), path)).collect();
    paths.sort();
    for (_, path) in paths.iter().take(MOST / 2) {
        // Another process may have been faster.
        let _ = std::fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_is_remembered_in_the_registry_where_it_is_and_only_if_it_is_large() {
        let directory = tempfile::tempdir().unwrap();
        let known = Whereabouts::new(Some(directory.path().join("whereabouts")));
        let reference = |text: &str| -> Reference { text.parse().unwrap() };
        let digest = format!("sha256:{}", "a".repeat(64));
        let one = reference("registry.example:5000/group/one:1");
        known.remember(&one, &digest, LEAST - 1);
        assert_eq!(known.of(&reference("registry.example:5000/two:1"), &digest), None);
        known.remember(&one, &digest, LEAST);
        assert_eq!(known.of(&reference("registry.example:5000/two:1"), &digest).as_deref(), Some("group/one"));
        assert_eq!(known.of(&reference("registry.example:5001/two:1"), &digest), None);
        assert_eq!(known.of(&one, &digest), None, "a repository mounts nothing from itself");
        let file = known.file(&one, &digest).unwrap();
        std::fs::write(file, "group/one&from=x").unwrap();
        assert_eq!(known.of(&reference("registry.example:5000/two:1"), &digest), None);
        assert_eq!(Whereabouts::default().of(&one, &digest), None);
    }

    #[test]
    fn no_more_is_remembered_than_there_is_room_for() {
        let directory = tempfile::tempdir().unwrap();
        for number in 0..=MOST {
            std::fs::write(directory.path().join(number.to_string()), "a").unwrap();
        }
        forget_oldest(directory.path());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), MOST / 2 + 1);
    }
}
