//! Why the platform does not start, and what to do about it.

use std::path::PathBuf;

use barge_runtime::Stopped;
use barge_server::StoreError;

use crate::failure::{Failure, Kind};

/// Why the platform does not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlatformError {
    #[error("{verb} the data directory's {path}")]
    Directory { verb: &'static str, path: PathBuf, source: std::io::Error },
    #[error("the data directory {path} is in use by another Barge ({owner})")]
    Locked { path: PathBuf, owner: String },
    #[error(
        "the data directory {path} was written by a later version of Barge (format {found}; this one knows {known})"
    )]
    Newer { path: PathBuf, found: u32, known: u32 },
    #[error("{path} does not look like a data directory of Barge: its file `format` holds no number")]
    NotOurs { path: PathBuf },
    #[error("port {port} for the {what} is taken by another program")]
    PortTaken { what: &'static str, port: u16, option: &'static str },
    #[error("listen on port {port} for the {what}")]
    Listen { what: &'static str, port: u16, source: std::io::Error },
    #[error("open the gateway's registrations")]
    Gateway(#[source] barge_gateway::SnapshotError),
    #[error("set up the client for images")]
    Images(#[source] barge_image::RegistryError),
    #[error("open the local engine")]
    Engine(#[source] barge_engine_local::OpenError),
    #[error("set up the cluster of environment {environment}: {why}")]
    Cluster { environment: barge_model::EnvironmentName, why: String },
    #[error("open the registrar")]
    Registrar(#[source] barge_registrar::JournalError),
    #[error("open the embedded registry")]
    Registry(#[source] barge_registry::StorageError),
    #[error("open the server's database")]
    Server(#[source] barge_server::StoreError),
    #[error("set up the way to the gateway")]
    Target(#[source] barge_registrar::TargetError),
    #[error("there is no gateway in {path}: nothing there says where one listens")]
    NoGateway { path: PathBuf },
    #[error("the gateway in {path} has a platform already ({owner})")]
    GatewayTaken { path: PathBuf, owner: String },
    #[error(
        "some instances still run: they have not ended in time, or the gateway has not acknowledged that they get no requests"
    )]
    StillRuns,
    #[error("the platform broke: {what}")]
    Broke { what: String },
    #[error("watch for signals")]
    Signals(#[source] std::io::Error),
}

impl PlatformError {
    /// What it means that tasks have come to their end.
    pub(super) fn unless_asked(stopped: Stopped) -> Result<(), Self> {
        match stopped {
            Stopped::Asked => Ok(()),
            Stopped::Broke(what) => Err(Self::Broke { what }),
        }
    }
}

impl From<PlatformError> for Failure {
    fn from(error: PlatformError) -> Self {
        let failure = Failure::from_error(Kind::General, &error);
        match &error {
            PlatformError::Locked { .. } => failure
                .hint("use the platform that runs, or start another one with `barge up --data DIRECTORY --any-port`"),
            PlatformError::Newer { .. } | PlatformError::Server(StoreError::Newer { .. }) => {
                failure.hint("install that version again, or start afresh with `barge up --data DIRECTORY`")
            }
            PlatformError::Server(
                StoreError::NotADatabase { path }
                | StoreError::Broken { path, .. }
                | StoreError::Open { path, .. }
                | StoreError::Migrate { path, .. },
            ) => failure.hint(format!(
                "the file is left as it is, and instances go on. `sqlite3 {path} .recover` may save its records; \
                 `mv {path} {path}.damaged` and `barge up` begin a new history over what runs"
            )),
            PlatformError::Server(StoreError::File { path, .. }) => failure.hint(format!(
                "instances go on. The file and its directory have to be writable for whoever runs `barge up`: `ls -l {path}*` says for whom \
                 they are"
            )),
            PlatformError::NotOurs { .. } => failure.hint("name another directory with --data"),
            PlatformError::Cluster { .. } => {
                failure.hint("`kubectl config get-contexts` lists what a kubeconfig has; then mend the file of --config")
            }
            PlatformError::PortTaken { port, option, .. } => failure.hint(format!(
                "`ss -ltnp 'sport = :{port}'` says who has it; `barge up {option} 0` takes any free port"
            )),
            PlatformError::NoGateway { path } => failure
                .hint(format!("`barge gateway --data {}` starts one there; then start this again", path.display())),
            PlatformError::GatewayTaken { .. } => failure.hint(
                "two platforms would end each other's instances there; stop that one, or start a gateway for this one with \
                 `barge gateway --data DIRECTORY --any-port`",
            ),
            PlatformError::StillRuns => {
                failure.hint("what runs is left as it is; see that the gateway is up, and repeat `barge down`")
            }
            PlatformError::Broke { .. } => {
                failure.hint("the instances go on; start it again, and it takes them over. Its log is above")
            }
            _ => failure,
        }
    }
}
