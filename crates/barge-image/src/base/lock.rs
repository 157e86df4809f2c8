//! `barge.lock`: which image a tag meant when the project was first built on it.
//!
//! A tag moves; what a project is built on must not, until somebody says so. The file stands beside barge.yaml and belongs into version
//! control, so that everybody builds on the same base.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use barge_model::Digest;
use serde::{Deserialize, Serialize};

use super::{BaseError, Means, fetch};
use crate::layer;
use crate::registry::{Reference, RegistryError};

/// The file's name.
pub const FILE: &str = "barge.lock";

/// No lock file is larger, in bytes.
const LIMIT: u64 = 64 * 1024;

const HEAD: &str = "\
# What this project's image is built on. Written by `barge build`, moved by `barge build --update`.
# It belongs into version control, so that everybody builds on the same base.
";

/// Why a lock file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// It cannot be read.
    #[error("read {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It is not what it should be.
    #[error("{path} is not a lock file of Barge: {problem}")]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// It cannot be written.
    #[error("write {path}")]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

/// What a base's name means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// As barge.yaml names it.
    pub reference: String,
    /// The manifest, or the index of several.
    pub digest: Digest,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    base: Lock,
}

impl Lock {
    /// Reads the file at `path`; none where there is none.
    ///
    /// # Errors
    /// It cannot be read or understood.
    pub fn read(path: &Path) -> Result<Option<Self>, LockError> {
        let file = match std::fs::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(LockError::Read { path: path.to_owned(), source }),
        };
        let mut bytes = Vec::new();
        file.take(LIMIT + 1)
            .read_to_end(&mut bytes)
            .map_err(|source| LockError::Read { path: path.to_owned(), source })?;
        let invalid = |problem: String| LockError::Invalid { path: path.to_owned(), problem };
        if bytes.len() as u64 > LIMIT {
            return Err(invalid(format!("it has more than {LIMIT} bytes")));
        }
        let text = std::str::from_utf8(&bytes).map_err(|_| invalid("it is not UTF-8 text".to_owned()))?;
        let document: Document = serde_saphyr::from_str(text).map_err(|error| {
            let told = error.without_snippet().to_string();
            invalid(told.lines().next().unwrap_or_default().to_owned())
        })?;
        Ok(Some(document.base))
    }

    /// Writes the file at `path`, in the place of what is there.
    ///
    /// # Errors
    /// It cannot be written; the file is as it was then.
    pub fn write(&self, path: &Path) -> Result<(), LockError> {
        let failed = |source| LockError::Write { path: path.to_owned(), source };
        // JSON's strings are YAML's as well.
        let reference = serde_json::to_string(&self.reference).map_err(|error| failed(error.into()))?;
        let text = format!("{HEAD}base:\n  reference: {reference}\n  digest: {}\n", self.digest);
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let permissions = std::fs::Permissions::from_mode(0o666);
        let file = tempfile::Builder::new().prefix(".barge.lock").permissions(permissions).tempfile_in(directory);
        let mut file = file.map_err(failed)?;
        file.write_all(text.as_bytes()).map_err(failed)?;
        file.persist(path).map(drop).map_err(|error| failed(error.error))
    }
}

/// What a build does to the lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// There was none.
    First,
    /// The tag means another image now.
    Moved {
        /// What it meant before.
        from: Digest,
    },
    /// Another base was locked.
    Renamed {
        /// Which one.
        from: String,
    },
}

/// What a base is built on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pinned {
    /// The base by its digest.
    pub reference: Reference,
    /// What is to be written, and why; none where everything stays.
    pub change: Option<(Lock, Change)>,
}

/// Says which image `reference` means: the locked one, unless it is to be moved or another base was locked. A reference with a digest says
/// that itself.
///
/// # Errors
/// The registry has to be asked and does not answer.
pub async fn pin(
    reference: &Reference,
    locked: Option<&Lock>,
    update: bool,
    means: Means<'_>,
) -> Result<Pinned, BaseError> {
    if reference.is_by_digest() {
        return Ok(Pinned { reference: reference.clone(), change: None });
    }
    let name = reference.to_string();
    let same = locked.filter(|lock| lock.reference == name);
    if let Some(lock) = same.filter(|_| !update) {
        return Ok(Pinned { reference: reference.with_digest(lock.digest.as_str()), change: None });
    }
    let bytes = fetch::manifest(means.client, reference, means.cache).await.map_err(BaseError::Registry)?;
    let invalid = |_| BaseError::Registry(RegistryError::NoClient);
    let digest = Digest::new(layer::digest(&bytes)).map_err(invalid)?;
    let change = match (same, locked) {
        (Some(lock), _) if lock.digest == digest => None,
        (Some(lock), _) => Some(Change::Moved { from: lock.digest.clone() }),
        (None, Some(other)) => Some(Change::Renamed { from: other.reference.clone() }),
        (None, None) => Some(Change::First),
    };
    let reference = reference.with_digest(digest.as_str());
    Ok(Pinned { reference, change: change.map(|change| (Lock { reference: name, digest }, change)) })
}
