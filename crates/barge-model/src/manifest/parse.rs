//! Strict reading of `barge.yaml`: every mistake is named with its line, its column and what was probably meant.

use super::Manifest;

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
    let options = serde_saphyr::options! {
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error,
    };
    let manifest: Manifest =
        serde_saphyr::from_str_with_options(text, options).map_err(|error| located(text, &error))?;
    Ok(manifest)
}

fn located(text: &str, error: &serde_saphyr::Error) -> ManifestError {
    let (line, column) = error.location().map_or((1, 1), |place| (place.line(), place.column()));
    let full = error.without_snippet().to_string();
    let message = strip_location(&full);
    let meant = suggestion(&message).or_else(|| tab_hint(text, line));
    ManifestError::Invalid { line, column, message, meant }
}

/// The parser ends its messages with the place; it stands at their front here.
fn strip_location(message: &str) -> String {
    let first = message.lines().next().unwrap_or(message);
    let cut = first.rfind(" at line ").unwrap_or(first.len());
    first[..cut].trim_end_matches([',', ' ', ':']).to_owned()
}

fn tab_hint(text: &str, line: u64) -> Option<String> {
    let index = usize::try_from(line).ok()?.saturating_sub(1);
    let has_tab = text.lines().skip(index.saturating_sub(1)).take(2).any(|line| line.starts_with('\t'));
    has_tab.then(|| "indent with spaces; YAML does not allow tabs there".to_owned())
}

/// The parser says "unknown field `x`, expected one of a, b": the nearest of those is probably meant.
fn suggestion(message: &str) -> Option<String> {
    if !message.contains("unknown field") && !message.contains("unknown variant") {
        return None;
    }
    let (wrong, known) = message.split_once(", expected ")?;
    let wrong = wrong.split('`').nth(1)?;
    let nearest = known
        .trim_start_matches("one of ")
        .split(", ")
        .map(|candidate| candidate.trim_matches('`'))
        .map(|candidate| (strsim::damerau_levenshtein(&wrong.to_lowercase(), candidate), candidate))
        .min_by_key(|(distance, _)| *distance)?;
    let close = nearest.0 <= 1 + wrong.len() / 3;
    close.then(|| format!("did you mean `{}`?", nearest.1))
}
