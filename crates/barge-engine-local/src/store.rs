//! The engine's files: `ENVIRONMENT/SERVICE/{desired,status}.json` and `instances/ID/instance.json`, each replaced atomically.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use barge_engine::{Desired, LimitsReport};
use barge_model::rollout::RolloutStatus;
use barge_model::{EnvironmentName, InstanceId, ReleaseId, ServiceKey, ServiceName, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Why the engine's files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file cannot be read.
    #[error("read {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file cannot be written.
    #[error("write {path}")]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("understand {path}")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: serde_json::Error,
    },
}

/// What is stored of an instance, before anything is done to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) id: InstanceId,
    pub(crate) release: ReleaseId,
    pub(crate) created_at: Timestamp,
    /// An address of its own on loopback, and a port that no other instance has.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Started again so often after a crash.
    pub(crate) restarts: u32,
    /// Ends in a row that each came before the instance had run well for a while: what the next back-off is about.
    #[serde(default)]
    pub(crate) quick_ends: u32,
    /// It is being taken out of traffic, or stopped. Never taken back.
    pub(crate) draining: bool,
    /// It was stopped with the whole platform; that is no crash.
    #[serde(default)]
    pub(crate) suspended: bool,
    /// Its start has failed for good and no barge-init holds it: why. It is kept and not started again.
    #[serde(default)]
    pub(crate) failed: Option<String>,
    /// Whether its limits are in force.
    #[serde(default = "not_asked")]
    pub(crate) limits: LimitsReport,
}

fn not_asked() -> LimitsReport {
    LimitsReport::NotAsked
}

impl Record {
    pub(crate) fn new(id: InstanceId, release: ReleaseId, now: Timestamp, host: Ipv4Addr, port: u16) -> Self {
        Self {
            id,
            release,
            created_at: now,
            host: host.to_string(),
            port,
            restarts: 0,
            quick_ends: 0,
            draining: false,
            suspended: false,
            failed: None,
            limits: LimitsReport::NotAsked,
        }
    }
}

/// One service's directory.
#[derive(Debug, Clone)]
pub(crate) struct ServiceStore {
    directory: PathBuf,
}

const RECORD: &str = "instance.json";

impl ServiceStore {
    pub(crate) fn new(root: &Path, key: &ServiceKey) -> Self {
        Self { directory: root.join("services").join(key.environment.as_str()).join(key.service.as_str()) }
    }

    pub(crate) fn instance_directory(&self, id: &InstanceId) -> PathBuf {
        self.directory.join("instances").join(id.as_str())
    }

    pub(crate) fn desired(&self) -> Result<Option<Desired>, StoreError> {
        read(&self.directory.join("desired.json"))
    }

    pub(crate) fn put_desired(&self, desired: &Desired) -> Result<(), StoreError> {
        write(&self.directory.join("desired.json"), desired)
    }

    pub(crate) fn status(&self) -> Result<RolloutStatus, StoreError> {
        Ok(read(&self.directory.join("status.json"))?.unwrap_or_default())
    }

    pub(crate) fn put_status(&self, status: &RolloutStatus) -> Result<(), StoreError> {
        write(&self.directory.join("status.json"), status)
    }

    pub(crate) fn put_record(&self, record: &Record) -> Result<(), StoreError> {
        write(&self.instance_directory(&record.id).join(RECORD), record)
    }

    pub(crate) fn records(&self) -> Result<Vec<Record>, StoreError> {
        let mut records = Vec::new();
        for path in list(&self.directory.join("instances"))? {
            // A directory without a record was never begun, or is half removed; nothing runs there.
            match read(&path.join(RECORD))? {
                Some(record) => records.push(record),
                None => remove_tree(&path),
            }
        }
        Ok(records)
    }

    /// Removes an instance's files, its record first: a crash in between leaves nothing that looks like an instance, and files that
    /// cannot be removed are in nobody's way.
    pub(crate) fn remove_instance(&self, id: &InstanceId) -> Result<(), StoreError> {
        let directory = self.instance_directory(id);
        let record = directory.join(RECORD);
        match std::fs::remove_file(&record) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(StoreError::Write { path: record, source });
            }
            _ => {}
        }
        remove_tree(&directory);
        Ok(())
    }
}

/// The services that have files below `root`.
pub(crate) fn services(root: &Path) -> Result<Vec<ServiceKey>, StoreError> {
    let mut keys = Vec::new();
    for environment in list(&root.join("services"))? {
        for service in list(&environment)? {
            let name = |path: &Path| path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
            let names = (name(&environment), name(&service));
            if let (Some(environment), Some(service)) = names
                && let (Ok(environment), Ok(service)) = (EnvironmentName::new(environment), ServiceName::new(service))
            {
                keys.push(ServiceKey::new(environment, service));
            }
        }
    }
    Ok(keys)
}

/// The ids of all instances of `services` that have files below `root`.
pub(crate) fn instances(root: &Path, services: &[ServiceKey]) -> Result<BTreeSet<String>, StoreError> {
    let mut ids = BTreeSet::new();
    for key in services {
        let directories = list(&ServiceStore::new(root, key).directory.join("instances"))?;
        ids.extend(directories.iter().filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())));
    }
    Ok(ids)
}

fn list(directory: &Path) -> Result<Vec<PathBuf>, StoreError> {
    match std::fs::read_dir(directory) {
        Ok(entries) => Ok(entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_dir()).collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(StoreError::Read { path: directory.to_owned(), source }),
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StoreError> {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|source| StoreError::Damaged { path: path.to_owned(), source }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StoreError::Read { path: path.to_owned(), source }),
    }
}

/// Makes a directory that only its owner may enter.
pub(crate) fn make_directory(path: &Path) -> Result<(), StoreError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| StoreError::Write { path: path.to_owned(), source })
}

/// Replaces a file, so that it is always whole.
pub(crate) fn write(path: &Path, value: &impl Serialize) -> Result<(), StoreError> {
    let fail = |source| StoreError::Write { path: path.to_owned(), source };
    make_directory(path.parent().unwrap_or(path))?;
    let bytes = serde_json::to_vec(value).map_err(|error| fail(error.into()))?;
    barge_runtime::files::replace(path, &bytes).map_err(fail)
}

/// Removes a directory as far as that is possible; what stays is tried again at the next start. Applications leave directories in which
/// not even their owner may write.
pub(crate) fn remove_tree(path: &Path) {
    let gone = |removed: std::io::Result<()>| match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    if gone(std::fs::remove_dir_all(path)).is_ok() {
        return;
    }
    let removed = make_removable(path).and_then(|()| gone(std::fs::remove_dir_all(path)));
    if let Err(error) = removed {
        tracing::warn!(path = %path.display(), %error, "what nobody needs any more could not be removed");
    }
}

/// Lets the owner change every directory below `path`.
fn make_removable(path: &Path) -> std::io::Result<()> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))?;
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            make_removable(&entry.path())?;
        }
    }
    Ok(())
}
