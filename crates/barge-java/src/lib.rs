//! From what Maven or Gradle built to the layers of an image: what kind of program it is, what of it changes rarely and what often,
//! in which order its classes are looked for, and the command that starts it.
//!
//! A project's way: [`artifact`] finds the file, [`archive`] reads it, [`plan`] says purely what goes where, with a file in `kinds/` for each
//! kind of program. What it leaves out: the bytes of layers and the base (`barge-image`), and what is wrong with a class path.

pub mod archive;
pub mod artifact;
mod files;
mod index;
mod kinds;
mod layers;
pub mod manifest;
pub mod options;
pub mod plan;
mod script;
mod start;

pub use archive::{Archive, ArchiveError};
pub use artifact::{Artifact, ArtifactError};
pub use options::JvmOption;
pub use plan::{JavaPlan, Options, PlanError, plan};
