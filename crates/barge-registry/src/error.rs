//! Errors of the storage, and how they read as errors of the distribution specification.

use std::io::ErrorKind;
use std::path::PathBuf;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

/// Why something could not be stored or found.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// A file could not be read or written.
    #[error("{verb} {path}")]
    Io {
        /// What was being done.
        verb: &'static str,
        /// To which file.
        path: PathBuf,
        /// What went wrong.
        source: std::io::Error,
    },
    /// There is no such blob.
    #[error("blob {0} is not here")]
    BlobUnknown(String),
    /// There is no such manifest.
    #[error("manifest {0} is not here")]
    ManifestUnknown(String),
    /// There is no such upload.
    #[error("upload {0} is not under way")]
    UploadUnknown(String),
    /// Another request is working on the upload.
    #[error("another request is working on upload {0}")]
    UploadBusy(String),
    /// There is no such repository.
    #[error("repository {0} is not here")]
    NameUnknown(String),
    /// What came does not have the digest that was named.
    #[error("the content has digest {actual}, not {named}")]
    DigestMismatch {
        /// The digest that was named.
        named: String,
        /// The digest of what came.
        actual: String,
    },
    /// A name or tag that the specification does not allow.
    #[error("{0:?} is not a valid repository name or tag")]
    InvalidName(String),
    /// A digest that is none, or of another kind than SHA-256.
    #[error("{0:?} is not a SHA-256 digest")]
    InvalidDigest(String),
    /// A manifest that cannot be used.
    #[error("the manifest is not valid: {0}")]
    ManifestInvalid(String),
    /// A manifest that is larger than any should be.
    #[error("the manifest is too large: at most {limit} bytes are taken")]
    ManifestTooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The pieces of an upload do not follow each other.
    #[error("the upload has {have} bytes; a piece that starts at {start} does not follow")]
    Range {
        /// Bytes that are there.
        have: u64,
        /// Where the piece claims to start.
        start: u64,
    },
    /// The connection ended in the middle of a piece, or the piece does not say what it is.
    #[error("the upload's piece cannot be taken: {0}")]
    Broken(String),
    /// The registry's limit of space is reached.
    #[error("the registry is full: its limit is {limit} bytes")]
    Full {
        /// The limit in bytes.
        limit: u64,
    },
    /// The registry's disk has no room but what is left to others.
    #[error("the registry is full: the last {kept} bytes of its disk are kept free for everything else")]
    Reserved {
        /// What is kept free, in bytes.
        kept: u64,
    },
    /// The registry's disk can hold no more files but those that are left to others.
    #[error("the registry is full: the last {kept} files that its disk can hold are left to everything else")]
    NoMoreFiles {
        /// How many are left.
        kept: u64,
    },
    /// The work ended before it was done: the program stops.
    #[error("the work was interrupted")]
    Interrupted,
}

/// What is said of a disk without room, to clients and in the log.
const DISK_FULL: &str = "the registry's disk is full";

impl StorageError {
    /// Whether the disk had no room. Asking again changes nothing then.
    fn is_disk_full(&self) -> bool {
        let StorageError::Io { source, .. } = self else { return false };
        matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
    }

    /// Status and code (distribution specification, "Error codes").
    fn code(&self) -> (StatusCode, &'static str) {
        match self {
            StorageError::Io { .. } if self.is_disk_full() => (StatusCode::INSUFFICIENT_STORAGE, "DENIED"),
            StorageError::Io { .. } | StorageError::Interrupted => (StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN"),
            StorageError::BlobUnknown(_) => (StatusCode::NOT_FOUND, "BLOB_UNKNOWN"),
            StorageError::ManifestUnknown(_) => (StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN"),
            StorageError::UploadUnknown(_) => (StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN"),
            StorageError::UploadBusy(_) => (StatusCode::CONFLICT, "BLOB_UPLOAD_INVALID"),
            StorageError::NameUnknown(_) => (StatusCode::NOT_FOUND, "NAME_UNKNOWN"),
            StorageError::DigestMismatch { .. } => (StatusCode::BAD_REQUEST, "DIGEST_INVALID"),
            StorageError::InvalidName(_) => (StatusCode::BAD_REQUEST, "NAME_INVALID"),
            StorageError::InvalidDigest(_) => (StatusCode::BAD_REQUEST, "DIGEST_INVALID"),
            StorageError::ManifestInvalid(_) => (StatusCode::BAD_REQUEST, "MANIFEST_INVALID"),
            StorageError::ManifestTooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "MANIFEST_INVALID"),
            StorageError::Range { .. } => (StatusCode::RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID"),
            StorageError::Broken(_) => (StatusCode::BAD_REQUEST, "BLOB_UPLOAD_INVALID"),
            StorageError::Full { .. } | StorageError::Reserved { .. } | StorageError::NoMoreFiles { .. } => {
                (StatusCode::INSUFFICIENT_STORAGE, "DENIED")
            }
        }
    }
}

impl IntoResponse for StorageError {
    fn into_response(self) -> Response {
        let (status, code) = self.code();
        let message = match &self {
            StorageError::Io { .. } if self.is_disk_full() => {
                tracing::error!(error = %self, "{DISK_FULL}");
                DISK_FULL.to_owned()
            }
            StorageError::Io { source, .. } => {
                tracing::error!(error = %self, cause = %source, "the registry's storage failed");
                "the registry could not store or read this".to_owned()
            }
            other => other.to_string(),
        };
        answer(status, code, &message)
    }
}

/// An error as clients know them.
pub(crate) fn answer(status: StatusCode, code: &str, message: &str) -> Response {
    let body = serde_json::json!({ "errors": [{ "code": code, "message": message }] });
    (status, Json(body)).into_response()
}
