//! Strict reading of `barge.yaml`: every mistake is named with its line, its column and what was probably meant.

use serde::de::DeserializeSeed;

use super::spelling::Part;
use super::{Manifest, words};

/// The largest `barge.yaml` that is read, in bytes.
pub const MAX_MANIFEST_BYTES: usize = 256 * 1024;

/// Why a `barge.yaml` cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// More bytes than any hand-written file has.
    #[error("barge.yaml has {size} bytes; at most {MAX_MANIFEST_BYTES} are read")]
    TooLarge {
        /// The file's size in bytes.
        size: usize,
    },
    /// Bytes that are not text.
    #[error("barge.yaml is not UTF-8 text: byte {offset} does not fit")]
    NotUtf8 {
        /// Where the text breaks, in bytes.
        offset: usize,
    },
    /// Nothing in it.
    #[error("barge.yaml is empty; the least it needs is `name: my-service` and `kind: web`")]
    Empty,
    /// A mistake at a place.
    #[error("barge.yaml:{line}:{column}: {message}")]
    Invalid {
        /// Line, from 1.
        line: u64,
        /// Column, from 1.
        column: u64,
        /// What is wrong there.
        message: String,
        /// What was probably meant.
        meant: Option<String>,
    },
}

impl ManifestError {
    /// What the writer probably meant, for a `hint:` line.
    pub fn meant(&self) -> Option<&str> {
        match self {
            ManifestError::Invalid { meant, .. } => meant.as_deref(),
            _ => None,
        }
    }
}

/// Reads a `barge.yaml`.
///
/// # Errors
/// What is wrong, where, and what was probably meant.
pub fn parse(bytes: &[u8]) -> Result<Manifest, ManifestError> {
    if bytes.len() > MAX_MANIFEST_BYTES {
        return Err(ManifestError::TooLarge { size: bytes.len() });
    }
    let text = std::str::from_utf8(bytes).map_err(|error| ManifestError::NotUtf8 { offset: error.valid_up_to() })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Err(ManifestError::Empty);
    }
    let fail = |error: serde_saphyr::Error| located(text, &error);
    let mut manifest: Manifest = serde_saphyr::from_str_with_options(text, options()).map_err(fail)?;
    let texts = Part::Manifest(&mut manifest);
    serde_saphyr::with_deserializer_from_str_with_options(text, options(), |file| texts.deserialize(file))
        .map_err(fail)?;
    Ok(manifest)
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error,
        // `no`, `off` and `y` are words, and so is `123e4567`, which would be more than any number.
        strict_booleans: true,
        non_finite_float_policy: serde_saphyr::NonFiniteFloatPolicy::AsString,
        // Far beyond what a file of the size above needs, and far below what would hurt: aliases can multiply a file.
        budget: serde_saphyr::budget! {
            max_aliases: 1_000,
            max_anchors: 1_000,
            max_merge_keys: 100,
            max_total_scalar_bytes: 4 * MAX_MANIFEST_BYTES,
            max_recorded_anchor_bytes: 4 * MAX_MANIFEST_BYTES,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 50_000,
        },
    }
}

fn located(text: &str, error: &serde_saphyr::Error) -> ManifestError {
    let (line, column) = error.location().map_or((1, 1), |place| (place.line(), place.column()));
    let said = strip_location(&error.without_snippet().to_string());
    let meant = words::meant(&said, text, line);
    let message = printable(&words::plain(&said, &at(text, line, column)));
    ManifestError::Invalid { line, column, message, meant }
}

/// What stands in the file may stand in the message; it must not move the cursor of whoever reads that.
fn printable(message: &str) -> String {
    let mut text = String::with_capacity(message.len());
    for letter in message.chars() {
        if letter.is_control() { text.extend(letter.escape_default()) } else { text.push(letter) }
    }
    text
}

/// The parser ends its messages with the place; it stands at their front here.
fn strip_location(message: &str) -> String {
    let first = message.lines().next().unwrap_or(message);
    let cut = first.rfind(" at line ").unwrap_or(first.len());
    first[..cut].trim_end_matches([',', ' ', ':']).to_owned()
}

/// The word at a place of the text, cut to a length that can be printed.
fn at(text: &str, line: u64, column: u64) -> String {
    let index = |number: u64| usize::try_from(number.saturating_sub(1)).unwrap_or(usize::MAX);
    let line = text.lines().nth(index(line)).unwrap_or_default();
    let word = line.chars().skip(index(column)).take_while(|c| !" \t,]}#".contains(*c)).take(40);
    word.collect()
}
