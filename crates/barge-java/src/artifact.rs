//! Which of a project's files is the one to run.

use std::path::{Path, PathBuf};

/// Why there is no doubt-free answer.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// More than one may be meant.
    #[error("{} may be the program: {}", .0.len(), names(.0))]
    Several(Vec<PathBuf>),
}

fn names(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// What Maven or Gradle built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// The jar or war, or the directory of a Quarkus application.
    pub path: PathBuf,
}

/// Looks in `target` and `build/libs` of `project`; none where neither holds a program.
///
/// # Errors
/// Several may be meant.
pub fn find(_project: &Path) -> Result<Option<Artifact>, ArtifactError> {
    Ok(None)
}
