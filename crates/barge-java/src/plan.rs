//! What goes where in the image of a Java program.

use std::path::PathBuf;

use barge_image::plan::PlannedLayer;

use crate::archive::ArchiveError;
use crate::artifact::Artifact;

/// Why a program cannot become an image.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The archive cannot be read.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
}

/// What a project may choose; defaults are what suits most.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Where Tomcat serves a war: empty for the root, else such as `shop`.
    pub context_path: String,
    /// Options of the JVM after ours, so that they win.
    pub jvm: Vec<String>,
}

/// A Java program, ready to become layers.
#[derive(Debug, Clone)]
pub struct JavaPlan {
    /// What it is, in words, such as `Spring Boot 3.4 jar`.
    pub kind: String,
    /// The file that it comes from.
    pub artifact: PathBuf,
    /// Its layers, those that change least first.
    pub layers: Vec<PlannedLayer>,
    /// What starts it, in /app.
    pub command: Vec<String>,
    /// Where classes are looked for, in this order; paths relative to /app.
    pub class_path: Vec<String>,
    /// Whether it needs Tomcat in its base, not only a Java runtime.
    pub needs_tomcat: bool,
}

/// Plans.
///
/// # Errors
/// The artifact cannot be read or understood.
pub fn plan(artifact: &Artifact, _options: &Options) -> Result<JavaPlan, PlanError> {
    Ok(JavaPlan {
        kind: String::new(),
        artifact: artifact.path.clone(),
        layers: Vec::new(),
        command: Vec::new(),
        class_path: Vec::new(),
        needs_tomcat: false,
    })
}
