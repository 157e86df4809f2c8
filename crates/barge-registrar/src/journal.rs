//! The intents on disk: one small file for each instance, replaced atomically.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use barge_model::registration::Registration;
use barge_model::{InstanceId, ServiceKey};
use serde::{Deserialize, Serialize};

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The directory or a file cannot be read.
    #[error("read the registrar's journal {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file cannot be written.
    #[error("write the registrar's journal {path}")]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

/// What is stored of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) key: ServiceKey,
    pub(crate) address: SocketAddr,
    pub(crate) registration: Registration,
}

/// The journal's directory.
#[derive(Debug)]
pub(crate) struct Journal {
    directory: PathBuf,
}

impl Journal {
    /// Opens the directory and reads what is there. A damaged file is set aside: the target's list and the engine tell the rest.
    pub(crate) fn open(directory: PathBuf) -> Result<(Self, BTreeMap<InstanceId, Entry>), JournalError> {
        let fail = |path: &PathBuf| {
            let path = path.clone();
            move |source| JournalError::Read { path, source }
        };
        std::fs::create_dir_all(&directory).map_err(fail(&directory))?;
        let mut entries = BTreeMap::new();
        for file in std::fs::read_dir(&directory).map_err(fail(&directory))? {
            let path = file.map_err(fail(&directory))?.path();
            let id = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".json"));
            let Some(id) = id.and_then(|id| InstanceId::new(id).ok()) else { continue };
            let bytes = std::fs::read(&path).map_err(fail(&path))?;
            match serde_json::from_slice(&bytes) {
                Ok(entry) => {
                    entries.insert(id, entry);
                }
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "a damaged file of the journal is set aside");
                    std::fs::rename(&path, path.with_extension("damaged")).map_err(fail(&path))?;
                }
            }
        }
        Ok((Self { directory }, entries))
    }

    pub(crate) fn store(&self, id: &InstanceId, entry: &Entry) -> Result<(), JournalError> {
        let path = self.path(id);
        let fail = |source| JournalError::Write { path: path.clone(), source };
        let bytes = serde_json::to_vec(entry).map_err(|error| fail(error.into()))?;
        barge_runtime::files::replace(&path, &bytes).map_err(fail)
    }

    pub(crate) fn remove(&self, id: &InstanceId) -> Result<(), JournalError> {
        let path = self.path(id);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(JournalError::Write { path, source: error })
            }
            _ => Ok(()),
        }
    }

    fn path(&self, id: &InstanceId) -> PathBuf {
        self.directory.join(format!("{id}.json"))
    }
}
