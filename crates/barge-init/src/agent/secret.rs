//! The token that a registry asks for: in the plan, or in a file that may be replaced while the instance runs. It is never shown.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A token. Its `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl Secret {
    /// The token itself, for whoever asks for it.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }

    /// What a registry said, without the token that it may have repeated.
    pub(super) fn hide_in(&self, text: &str) -> String {
        if self.0.is_empty() { text.to_owned() } else { text.replace(&self.0, "…") }
    }
}

/// Where the token is.
#[derive(Debug, Clone, Default)]
pub(super) struct Credentials {
    pub(super) token: Option<Secret>,
    pub(super) file: Option<PathBuf>,
}

impl Credentials {
    /// The token as it is now; a file is read each time.
    pub(super) fn read(&self) -> Result<Option<Secret>, String> {
        let token = match (&self.token, &self.file) {
            (Some(token), _) => token.clone(),
            (None, Some(path)) => read_file(path)?,
            (None, None) => return Ok(None),
        };
        // It becomes a line of a request.
        if token.0.is_empty() || token.0.chars().any(|letter| letter.is_control() || !letter.is_ascii()) {
            return Err("the token is empty, or has letters that no token has".to_owned());
        }
        Ok(Some(token))
    }
}

fn read_file(path: &Path) -> Result<Secret, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("the token cannot be read from {}: {error}", path.display()))?;
    Ok(Secret(text.trim().to_owned()))
}
