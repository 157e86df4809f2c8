//! The layer with the program that starts the command where nobody brings one: `docker run`, `podman run`, `ctr run`.
//!
//! It holds nothing of the project. What is to be run are words in the configuration, so that all images of one version of Barge share
//! the layer, and a registry has it once. Engines bring the program themselves, and say what is to be run.

use barge_model::manifest::Platform;

use crate::plan::{Content, Entry, LayerPlan, PlannedLayer, place};

/// Where the program is in the image.
pub const PROGRAM: &str = "barge/barge-init";

/// The program for an architecture, where there is one.
pub type Programs = fn(architecture: &str) -> Option<&'static [u8]>;

/// The layer for a kind of machine; none where there is no program for it.
pub fn layer(programs: Programs, platform: &Platform) -> Option<PlannedLayer> {
    // Variants are of no matter: it is built for the usual one.
    let program = programs(platform.architecture())?;
    let mut entries = LayerPlan::new();
    let size = program.len() as u64;
    let file = Entry::File { content: Content::Bytes(program.into()), size, executable: true, stamped: false };
    place(&mut entries, PROGRAM.to_owned(), file);
    let why = "starts the command and looks after its processes, where no engine brings it".into();
    Some(PlannedLayer { name: "barge-init".into(), why, entries })
}

/// What images with that layer begin with.
pub fn words() -> Vec<String> {
    vec![format!("/{PROGRAM}"), "--".to_owned()]
}
