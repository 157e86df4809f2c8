//! Identifiers that follow from content: where others draw lots, the same document gets the same one.

use sha2::{Digest as _, Sha256};

/// A UUID made of a digest: version 8, whose bits are the maker's to choose (RFC 9562, 5.8).
pub(crate) fn uuid(content: &[u8]) -> String {
    let hash = Sha256::digest(content);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// A document's bytes with its keys sorted, whatever order serde_json keeps in this build.
pub(crate) fn canonical(mut document: serde_json::Value) -> Vec<u8> {
    document.sort_all_objects();
    document.to_string().into_bytes()
}
