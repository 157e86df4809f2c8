//! The table on disk: written whole, atomically, before a registration is acknowledged.

use std::path::{Path, PathBuf};

use barge_model::{InstanceId, ServiceKey};
use serde::{Deserialize, Serialize};

use crate::table::{Listed, Put};

/// Why the snapshot cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The file cannot be read.
    #[error("read the gateway's snapshot {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file cannot be written.
    #[error("write the gateway's snapshot {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file was written by a later version.
    #[error("the gateway's snapshot {path} has format {found}; this version reads {FORMAT}")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
}

const FORMAT: u32 = 1;

#[derive(Debug, Deserialize)]
struct Format {
    format: u32,
}

/// What the file holds: read as instances of their own, and written from those of the table, of which nothing is copied.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Snapshot<I = (ServiceKey, Listed)> {
    format: u32,
    pub(crate) revision: u64,
    pub(crate) instances: Vec<I>,
}

impl<I> Snapshot<I> {
    fn new(revision: u64, instances: Vec<I>) -> Self {
        Self { format: FORMAT, revision, instances }
    }
}

/// Reads the snapshot; an absent one is empty. A damaged one is set aside: the registrar tells everything again (R3).
pub(crate) fn read(path: &Path) -> Result<Snapshot, SnapshotError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Snapshot::new(0, Vec::new())),
        Err(source) => return Err(SnapshotError::Read { path: path.to_owned(), source }),
    };
    // The format alone first: what else a later version writes, this one cannot know.
    if let Ok(Format { format: found }) = serde_json::from_slice(&bytes)
        && found > FORMAT
    {
        return Err(SnapshotError::Newer { path: path.to_owned(), found });
    }
    match serde_json::from_slice::<Snapshot>(&bytes) {
        Ok(snapshot) => Ok(snapshot),
        Err(error) => {
            let aside = path.with_extension("damaged");
            tracing::warn!(path = %path.display(), kept = %aside.display(), %error, "the gateway's snapshot is damaged");
            std::fs::rename(path, aside).map_err(|source| SnapshotError::Read { path: path.to_owned(), source })?;
            Ok(Snapshot::new(0, Vec::new()))
        }
    }
}

/// As [`Listed`].
#[derive(Serialize)]
struct WrittenInstance<'a> {
    uid: &'a InstanceId,
    #[serde(flatten)]
    put: &'a Put,
}

/// The snapshot that is to stand at `path`.
pub(crate) fn bytes(
    path: &Path,
    revision: u64,
    instances: &[(&ServiceKey, &InstanceId, &Put)],
) -> Result<Vec<u8>, SnapshotError> {
    let instances = instances.iter().map(|(key, uid, put)| (*key, WrittenInstance { uid, put })).collect();
    serde_json::to_vec(&Snapshot::new(revision, instances))
        .map_err(|error| SnapshotError::Write { path: path.to_owned(), source: error.into() })
}

/// Replaces the snapshot.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), SnapshotError> {
    barge_runtime::files::replace(path, bytes).map_err(|source| SnapshotError::Write { path: path.to_owned(), source })
}
