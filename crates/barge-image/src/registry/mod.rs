//! Registries of the OCI distribution specification (1.1): references, requests with retries, pushes and pulls.
//!
//! The push loop is ours: HEAD, mount, one streamed PUT for each blob, several at once, and a retry that starts again from the POST.

mod client;
mod pull;
mod push;
mod reference;

pub use client::{Client, Credentials};
pub use push::{Progress, Pushed};
pub use reference::{InvalidReference, Reference};

/// Why a registry did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// It cannot be reached, or the connection broke.
    #[error("reach the registry {host}")]
    Unreachable {
        /// The registry.
        host: String,
        /// Why not.
        source: reqwest::Error,
    },
    /// It refuses the credentials.
    #[error("the registry {host} refuses access to {what}")]
    Unauthorized {
        /// The registry.
        host: String,
        /// What was asked for.
        what: String,
    },
    /// It answers with something else than was hoped for.
    #[error("the registry {host} answered {status} to {what}: {message}")]
    Status {
        /// The registry.
        host: String,
        /// The HTTP status.
        status: u16,
        /// What was asked for.
        what: String,
        /// The registry's own words.
        message: String,
    },
    /// What came does not have the digest that was asked for.
    #[error(
        "{what} has digest {actual}; the registry sent something else than was asked for, or the connection damaged it"
    )]
    Digest {
        /// What was asked for.
        what: String,
        /// The digest of what came.
        actual: String,
    },
    /// The registry's answer lacks something that the specification demands.
    #[error("the registry {host} does not follow the distribution specification: {problem}")]
    Protocol {
        /// The registry.
        host: String,
        /// What is missing.
        problem: String,
    },
    /// A file on this side.
    #[error("{0}")]
    File(String, #[source] std::io::Error),
    /// Credentials over plain HTTP to another machine.
    #[error("{0} speaks plain HTTP; only registries on this machine may")]
    Plain(String),
    /// A part lies in a registry and none may be asked.
    #[error("there is no connection to a registry")]
    NoClient,
    /// The client could not be set up.
    #[error("set up the HTTP client")]
    Setup(#[source] reqwest::Error),
}

impl RegistryError {
    /// Whether the same request may succeed a little later.
    pub(crate) fn passing(&self) -> bool {
        match self {
            RegistryError::Unreachable { .. } => true,
            RegistryError::Status { status, .. } => passing(*status),
            _ => false,
        }
    }
}

/// Whether the same request may get another answer than this status a little later. A full disk (507) does not pass by itself.
pub(crate) fn passing(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502..=504)
}
