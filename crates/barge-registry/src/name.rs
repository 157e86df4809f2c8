//! Names that may become parts of a path on disk, checked before they do.

use crate::error::StorageError;

/// A repository's name (distribution specification, "Pulling manifests").
pub(crate) fn repository(name: &str) -> Result<&str, StorageError> {
    let part_ok = |part: &str| {
        let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        edge(part.bytes().next())
            && edge(part.bytes().last())
            && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
            && !part.contains("..")
    };
    check(name, name.len() <= 255 && name.split('/').all(part_ok))
}

/// A tag.
pub(crate) fn tag(name: &str) -> Result<&str, StorageError> {
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
    let rest = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    check(name, first && rest && name.len() <= 128)
}

/// The hexadecimal part of a SHA-256 digest.
pub(crate) fn digest(name: &str) -> Result<&str, StorageError> {
    let hex = name.strip_prefix("sha256:").unwrap_or_default();
    let good = hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if good { Ok(hex) } else { Err(StorageError::InvalidDigest(name.chars().take(100).collect())) }
}

fn check(name: &str, good: bool) -> Result<&str, StorageError> {
    if good { Ok(name) } else { Err(StorageError::InvalidName(name.chars().take(100).collect())) }
}
