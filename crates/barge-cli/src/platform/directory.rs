//! The platform's directory: locked while it runs, with a format that later versions can tell, and the ports that it had.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use barge_runtime::files;
use serde::{Deserialize, Serialize};

use super::PlatformError;

/// Grows when an older version could not read what this one writes.
const FORMAT: u32 = 1;

const ADMIN_TOKEN: &str = "admin.token";
const GATEWAY_TOKEN: &str = "gateway.token";
const GATEWAY: &str = "gateway.path";
/// The token with which images are pulled from the registry.
const PULL_TOKEN: &str = "pull.token";
/// Where the disk had no room for the owner's name.
const UNKNOWN_OWNER: &str = "which could not say who it is";

/// The platform's directory, for as long as this program has it.
#[derive(Debug)]
pub(crate) struct DataDirectory {
    path: PathBuf,
    /// Held until the end; the kernel lets go of it whatever happens to us.
    _lock: File,
}

/// A gateway of its own that is one platform's, for as long as it holds this.
#[derive(Debug)]
pub(crate) struct Held {
    _lock: File,
}

/// The ports that were chosen, so that image names and addresses stay the same over restarts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ports {
    pub(crate) api: u16,
    pub(crate) registry: u16,
    pub(crate) gateway: u16,
}

/// A look into a directory that somebody else may have.
pub(super) struct Glance<'a>(pub(super) &'a Path);

impl Glance<'_> {
    /// The ports of the last run, if there was one.
    pub(super) fn ports(&self) -> Ports {
        // A damaged file costs the old ports and nothing else.
        let bytes = std::fs::read(self.0.join("ports.json")).ok();
        bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// The token of a gateway that runs on its own, if it has run before.
    pub(super) fn gateway_token(&self) -> Option<String> {
        self.token(GATEWAY_TOKEN)
    }

    fn token(&self, name: &str) -> Option<String> {
        let text = std::fs::read_to_string(self.0.join(name)).ok()?;
        Some(text.trim().to_owned()).filter(|token| !token.is_empty())
    }
}

impl DataDirectory {
    /// Makes the directory where it is missing, locks it and checks its format.
    pub(crate) fn open(path: PathBuf) -> Result<Self, PlatformError> {
        make(&path)?;
        let path = std::fs::canonicalize(&path).map_err(|source| io("find", &path, source))?;
        let own = format!("process {}", std::process::id());
        let lock = lock(&path.join("lock"), &own)?;
        let lock = lock.map_err(|owner| PlatformError::Locked { path: path.clone(), owner })?;
        check_format(&path)?;
        Ok(Self { path, _lock: lock })
    }

    /// The directory.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A file or directory in it.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// A directory in it that only its owner may enter; made where it is missing.
    pub(crate) fn subdirectory(&self, name: &str) -> Result<PathBuf, PlatformError> {
        let path = self.join(name);
        make(&path)?;
        Ok(path)
    }

    /// The program that runs as barge-init: the small one that we carry, or where that cannot be put down (a full disk), ourselves.
    pub(crate) fn entrypoint(&self) -> PathBuf {
        let path = self.join(barge_init::PROGRAM);
        match barge_entrypoint::place(&path) {
            Ok(()) => path,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot put barge-init there; barge itself runs as barge-init");
                // Through the process's own link, so that a binary that was replaced meanwhile still starts itself.
                PathBuf::from("/proc/self/exe")
            }
        }
    }

    /// The ports of the last run, if there was one.
    pub(crate) fn ports(&self) -> Ports {
        Glance(&self.path).ports()
    }

    /// Remembers the ports of this run.
    pub(crate) fn put_ports(&self, ports: Ports) -> Result<(), PlatformError> {
        if ports == self.ports() {
            return Ok(());
        }
        let path = self.join("ports.json");
        let text = serde_json::to_string(&ports).unwrap_or_default();
        files::replace(&path, text.as_bytes()).map_err(|source| io("write", &path, source))
    }

    /// The administrator's token of an earlier run.
    pub(crate) fn admin_token(&self) -> Option<String> {
        Glance(&self.path).token(ADMIN_TOKEN)
    }

    /// Keeps the administrator's token, readable by the owner alone.
    pub(crate) fn put_admin_token(&self, token: &str) -> Result<(), PlatformError> {
        self.put_token(ADMIN_TOKEN, token)
    }

    /// The token with which images are pulled.
    pub(super) fn pull_token(&self) -> Option<String> {
        Glance(&self.path).token(PULL_TOKEN)
    }

    /// Keeps it, readable by the owner alone.
    pub(super) fn put_pull_token(&self, token: &str) -> Result<(), PlatformError> {
        self.put_token(PULL_TOKEN, token)
    }

    /// The token of a gateway that runs on its own, if it has run before.
    pub(crate) fn gateway_token(&self) -> Option<String> {
        Glance(&self.path).token(GATEWAY_TOKEN)
    }

    /// Keeps the gateway's token, readable by the owner alone.
    pub(crate) fn put_gateway_token(&self, token: &str) -> Result<(), PlatformError> {
        self.put_token(GATEWAY_TOKEN, token)
    }

    /// The directory of the gateway of its own that the last platform here used.
    pub(crate) fn gateway(&self) -> Option<PathBuf> {
        let bytes = std::fs::read(self.join(GATEWAY)).ok().filter(|bytes| !bytes.is_empty())?;
        Some(PathBuf::from(OsString::from_vec(bytes)))
    }

    /// Remembers it, for whoever has to end what a platform has left running.
    pub(crate) fn put_gateway(&self, gateway: Option<&Path>) -> Result<(), PlatformError> {
        let gateway = gateway.map(|path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()));
        if gateway == self.gateway() {
            return Ok(());
        }
        let path = self.join(GATEWAY);
        let bytes = gateway.map(|gateway| gateway.into_os_string().into_vec()).unwrap_or_default();
        files::replace(&path, &bytes).map_err(|source| io("write", &path, source))
    }

    /// Takes a gateway of its own for this platform alone: two would take each other's instances for strangers, and end them.
    pub(crate) fn hold_gateway(&self, gateway: &Path) -> Result<Held, PlatformError> {
        let own = format!("process {} with the data directory {}", std::process::id(), self.path.display());
        let held = lock(&gateway.join("platform.lock"), &own)?;
        let lock = held.map_err(|owner| PlatformError::GatewayTaken { path: gateway.to_owned(), owner })?;
        Ok(Held { _lock: lock })
    }

    fn put_token(&self, name: &str, token: &str) -> Result<(), PlatformError> {
        let path = self.join(name);
        files::replace(&path, format!("{token}\n").as_bytes()).map_err(|source| io("write", &path, source))
    }

    /// Where the administrator's token is.
    pub(crate) fn token_path(&self) -> PathBuf {
        self.join(ADMIN_TOKEN)
    }
}

fn make(path: &Path) -> Result<(), PlatformError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|source| io("make", path, source))
}

fn io(verb: &'static str, path: &Path, source: std::io::Error) -> PlatformError {
    PlatformError::Directory { verb, path: path.to_owned(), source }
}

/// Locks the file at `path`, in which the owner says who it is; who it is already is the `Err` inside.
fn lock(path: &Path, words: &str) -> Result<Result<File, String>, PlatformError> {
    let open = OpenOptions::new().create(true).read(true).write(true).truncate(false).mode(0o600).open(path);
    let mut file = open.map_err(|source| io("open", path, source))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(std::fs::TryLockError::WouldBlock) => {
            let mut owner = String::new();
            // Only for the message; without it the message is shorter.
            let _ = file.read_to_string(&mut owner);
            let owner = owner.trim();
            return Ok(Err(if owner.is_empty() { UNKNOWN_OWNER.to_owned() } else { owner.to_owned() }));
        }
        Err(std::fs::TryLockError::Error(source)) => return Err(io("lock", path, source)),
    }
    // The lock is ours without these words: a full disk costs somebody else's message a word, and us no start.
    let noted = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(words.as_bytes()));
    if let Err(error) = noted {
        tracing::warn!(path = %path.display(), %error, "who has the lock could not be noted there");
    }
    Ok(Ok(file))
}

fn check_format(directory: &Path) -> Result<(), PlatformError> {
    let path = directory.join("format");
    match std::fs::read_to_string(&path) {
        Ok(text) => match text.trim().parse::<u32>() {
            Ok(found) if found <= FORMAT => Ok(()),
            Ok(found) => Err(PlatformError::Newer { path: directory.to_owned(), found, known: FORMAT }),
            Err(_) => Err(PlatformError::NotOurs { path: directory.to_owned() }),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => {
            files::replace(&path, format!("{FORMAT}\n").as_bytes()).map_err(|source| io("write", &path, source))
        }
        Err(source) => Err(io("read", &path, source)),
    }
}
