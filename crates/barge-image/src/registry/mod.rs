//! Registries of the OCI distribution specification (1.1): references, requests with retries, pushes and pulls.
//!
//! The push loop is ours: HEAD, mount, one streamed PUT for each blob, several at once, and a retry that starts again from the POST.

mod address;
mod blob;
pub mod certificates;
mod client;
pub mod config;
mod credentials;
mod helper;
pub mod keychain;
pub mod login;
mod manifest;
mod product;
mod pull;
mod push;
mod reference;
mod referrers;
mod retry;
mod token;
mod transport;
mod upload;
mod whereabouts;

use std::path::PathBuf;
use std::time::Duration;

pub use certificates::CertificateError;
pub use client::{Client, Limits};
pub use config::{Places, Registries, Registry, Settings};
pub use credentials::Credentials;
pub use helper::HelperError;
pub use keychain::{Keychain, KeychainError};
pub(crate) use pull::Destination;
pub use push::{Progress, Pushed, Step};
pub use reference::{InvalidReference, Reference, is_host};
pub use referrers::{Attachment, Subject};
pub use whereabouts::Whereabouts;

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
        /// How long it asks to wait before the next try.
        retry_after: Option<Duration>,
    },
    /// It has no room left. That does not pass by itself, so nothing is tried again.
    #[error("the registry {host} has no room for {what}: {message}")]
    Full {
        /// The registry.
        host: String,
        /// What it has no room for.
        what: String,
        /// The registry's own words.
        message: String,
    },
    /// Nothing moves any more.
    #[error("the registry {host} {problem} for {waited:?}")]
    Silent {
        /// The registry.
        host: String,
        /// What it does not do.
        problem: &'static str,
        /// For how long.
        waited: Duration,
    },
    /// It sends more than was said before, or than anything sensible has.
    #[error("the registry {host} sent more than {limit} bytes as {what}; no more are taken")]
    TooLarge {
        /// The registry.
        host: String,
        /// What was asked for.
        what: String,
        /// The limit in bytes.
        limit: u64,
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
    /// The bytes on this side are not those of the blob.
    #[error("{path} should have digest {digest} and has {actual}; it was changed or damaged")]
    Damaged {
        /// Where they are.
        path: PathBuf,
        /// The blob.
        digest: String,
        /// The digest of what is there.
        actual: String,
        /// It was in the cache, from which it is removed now: the next build makes or fetches it anew.
        cached: bool,
    },
    /// A file on this side.
    #[error("{0}")]
    File(String, #[source] std::io::Error),
    /// Credentials over plain HTTP to another machine.
    #[error("{host} asks for credentials over plain HTTP, where everybody on the way can read them")]
    Plain {
        /// Who asks.
        host: String,
    },
    /// Plain HTTP to another machine.
    #[error("the registry {host} sends us to {other} over plain HTTP, which nobody has allowed")]
    Open {
        /// The registry.
        host: String,
        /// Where it sends us.
        other: String,
    },
    /// Credentials cannot be looked up.
    #[error("look up the credentials for {host}")]
    Keychain {
        /// The registry.
        host: String,
        /// Why not.
        source: Box<KeychainError>,
    },
    /// Certificates cannot be used.
    #[error("read the certificates for a registry")]
    Certificates(#[source] CertificateError),
    /// A part lies in a registry and none may be asked.
    #[error("there is no connection to a registry")]
    NoClient,
    /// The client could not be set up.
    #[error("set up the HTTP client")]
    Setup(#[source] reqwest::Error),
}

impl RegistryError {
    /// Whether the same request may succeed a little later.
    fn passing(&self) -> bool {
        match self {
            RegistryError::Unreachable { .. } | RegistryError::Silent { .. } => true,
            RegistryError::Status { status, .. } => retry::passing(*status),
            _ => false,
        }
    }

    /// How long the registry asks to wait before that.
    fn retry_after(&self) -> Option<Duration> {
        match self {
            RegistryError::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}
