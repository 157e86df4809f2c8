//! A release: an immutable record of what is to run, and the approval that lets it go on.

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
