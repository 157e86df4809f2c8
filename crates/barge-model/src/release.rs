//! A release: an immutable record of what is to run, and the approval that lets it go on.

use std::net::Ipv6Addr;

use serde::{Deserialize, Serialize};

use crate::ids::{Digest, ReleaseId};
use crate::manifest::ServiceConfig;
use crate::time::Timestamp;

/// How a release came about. All kinds pass through the same machine.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Origin {
    /// A new image or configuration.
    Deploy,
    /// The definition of an earlier release, taken again.
    Rollback {
        /// The earlier release.
        to: ReleaseId,
    },
    /// The stable release's own definition, to start every instance anew.
    Restart {
        /// The release that is restarted.
        of: ReleaseId,
    },
}

/// What is to run: stored once, never changed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Release {
    /// The release's id.
    pub id: ReleaseId,
    /// The image's repository, without a tag, such as `127.0.0.1:7401/greeter`.
    pub image: String,
    /// The digest of the image's manifest: what runs, whatever happens to tags.
    pub digest: Digest,
    /// The configuration as resolved for the environment.
    pub config: ServiceConfig,
    /// How it came about.
    pub origin: Origin,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: String,
    /// Why, in the words of whoever made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A stored, positive record that one release may go beyond its first batch. A missing approval means "not approved".
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Approval {
    /// The release that was approved.
    pub release: ReleaseId,
    /// The digest that was approved; must equal the release's.
    pub digest: Digest,
    /// Who approved, or which policy.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

impl Approval {
    /// Whether this approval is for exactly that release.
    pub fn covers(&self, release: &Release) -> bool {
        self.release == release.id && self.digest == release.digest
    }
}

/// The longest name of an image, in bytes.
const MAX_IMAGE: usize = 512;
/// The longest path of a repository, in bytes.
const MAX_REPOSITORY: usize = 255;

/// Why a text does not name an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "image must be a registry and a repository in lower case, without a tag or digest, such as 127.0.0.1:7401/greeter"
)]
pub struct InvalidImage;

/// Checks that `image` names a registry and a repository there (distribution specification, "Pulling manifests"). Which version of it
/// runs, the release's digest says.
///
/// # Errors
/// It names none that any engine could pull from.
pub fn check_image(image: &str) -> Result<(), InvalidImage> {
    let (registry, repository) = image.split_once('/').ok_or(InvalidImage)?;
    let fits = image.len() <= MAX_IMAGE
        && is_registry(registry)
        && repository.len() <= MAX_REPOSITORY
        && repository.split('/').all(is_component);
    if fits { Ok(()) } else { Err(InvalidImage) }
}

/// A host, maybe with a port. A single word without a dot would be a part of the path for everybody who pulls.
fn is_registry(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let is_port =
        |port: &str| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0);
    if !port.is_none_or(is_port) {
        return false;
    }
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<Ipv6Addr>().is_ok();
    }
    let is_label = |label: &str| {
        let inside = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        inside && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
    };
    (port.is_some() || host.contains('.') || host == "localhost") && host.split('.').all(is_label)
}

/// Letters and digits, between them `.`, `_`, `__` or any number of `-`.
fn is_component(text: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_separator = |part: &str| matches!(part, "." | "_" | "__") || part.bytes().all(|b| b == b'-');
    text.starts_with(is_letter) && text.ends_with(is_letter) && text.split(is_letter).all(is_separator)
}
