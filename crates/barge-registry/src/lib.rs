//! The embedded OCI registry: enough of the distribution specification (1.1) for pushes and pulls by Barge, skopeo and containerd.
//!
//! `routes` speaks HTTP, [`Storage`] keeps blobs and manifests on disk, verified by digest, `collect` removes what no tag and no
//! caller needs. No crate on crates.io offers this as a library in good keeping, so it is written here; it leaves out
//! permissions (it asks its embedder, see [`Access`]) and replication.

mod access;
mod body;
mod collect;
mod disk;
mod error;
mod name;
mod referrers;
mod routes;
mod space;
mod storage;
mod upload;

pub use access::{Access, Kind, Operation, Verdict};
pub use collect::Collected;
pub use error::StorageError;
pub use routes::router;
pub use space::Reserve;
pub use storage::Storage;
