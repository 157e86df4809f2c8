//! What goes where in the image: a pure function from what was found to the entries of a layer.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::scan::{Found, FoundKind};

/// Where the files of an application are in the image, and its working directory.
pub const APP: &str = "app";

/// One entry of a layer. Entries have no owner, no time of their own and one of three modes, so that nothing of the machine that
/// builds gets into the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A directory, mode 0755.
    Directory,
    /// A file, mode 0644 or 0755.
    File {
        /// Where the bytes are.
        source: PathBuf,
        /// How many.
        size: u64,
        /// Mode 0755.
        executable: bool,
    },
    /// A symbolic link.
    Link {
        /// Where it points.
        target: String,
    },
}

/// A layer's entries by path, sorted; every parent is there.
pub type LayerPlan = BTreeMap<String, Entry>;

/// Places what was found below `/app`.
pub fn files(found: &[Found]) -> LayerPlan {
    let mut plan = LayerPlan::new();
    plan.insert(APP.to_owned(), Entry::Directory);
    for item in found {
        let path = format!("{APP}/{}", item.path);
        for (at, _) in path.match_indices('/') {
            plan.entry(path[..at].to_owned()).or_insert(Entry::Directory);
        }
        let entry = match &item.kind {
            FoundKind::Directory => Entry::Directory,
            FoundKind::File { source, size, executable } => {
                Entry::File { source: source.clone(), size: *size, executable: *executable }
            }
            FoundKind::Link { target } => Entry::Link { target: target.clone() },
        };
        plan.insert(path, entry);
    }
    plan
}
