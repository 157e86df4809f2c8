//! Everything that is said of one image, before it is written in one of the formats.

use crate::coordinates::Coordinates;
use crate::libraries::{Found, Library};

/// What an image was built on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// Its name, as in `barge.yaml`.
    pub name: String,
    /// The digest of its manifest, with `sha256:`, where it is known.
    pub digest: Option<String>,
}

/// What an image is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bill {
    /// The service's name.
    pub service: String,
    /// The digest of the image's manifest, with `sha256:`.
    pub image: String,
    /// What the program is in Maven's words, where it says so.
    pub program: Option<Coordinates>,
    /// What the image was built on; none for scratch.
    pub base: Option<Base>,
    /// Its libraries, by path.
    pub libraries: Vec<Library>,
}

impl Bill {
    /// Joins what was found in the layers of an image.
    pub fn new(service: &str, image: &str, base: Option<Base>, layers: impl IntoIterator<Item = Found>) -> Self {
        let (mut libraries, mut program) = (Vec::new(), Vec::new());
        for found in layers {
            libraries.extend(found.libraries);
            program.extend(found.program);
        }
        libraries.sort_by(|one, other| one.path.cmp(&other.path));
        // Of several, as in a jar with everything in it, none can be told to be the program's.
        let program = if program.len() == 1 { program.pop() } else { None };
        Self { service: service.to_owned(), image: image.to_owned(), program, base, libraries }
    }

    /// The hexadecimal digits of a digest.
    pub(crate) fn hex(digest: &str) -> &str {
        digest.trim_start_matches("sha256:")
    }
}
