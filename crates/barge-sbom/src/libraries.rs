//! The libraries in the layers of an image: each jar with its digest, and what it says of itself.
//!
//! A jar that cannot be read as one is a library all the same, known by its name and digest. What is in a layer stays true as long as the
//! layer has its digest, so callers may keep it.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use barge_image::layer;
use barge_image::plan::{Content, Entry, PlannedLayer};
use barge_java::manifest::{self, Attributes};
use barge_java::{Archive, ArchiveError};
use serde::{Deserialize, Serialize};

use crate::coordinates::Coordinates;
use crate::well_known;

/// The largest `pom.properties` and manifest that are read, in bytes.
const LIMIT: u64 = 1 << 20;

/// Jars made of others have no more than this.
const MOST_BUNDLED: usize = 1000;

/// Why it cannot be said what is in a layer.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// A library cannot be read.
    #[error("read the library {path}")]
    Read {
        /// Its path in the image.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// A library that is in an archive cannot be read.
    #[error("read the library {path}")]
    Archive {
        /// Its path in the image.
        path: String,
        /// Why not.
        source: ArchiveError,
    },
}

/// Where the coordinates of a library come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// From what Maven has put into it.
    Maven,
    /// From its name, and its manifest where the name says too little.
    NameAndManifest,
}

/// One jar in an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Library {
    /// Its path in the image, without `/` at the beginning.
    pub path: String,
    /// Its SHA-256, in hexadecimal digits.
    pub sha256: String,
    /// What it is.
    pub coordinates: Coordinates,
    /// How that is known.
    pub source: Source,
    /// Others that were packed into it.
    pub bundled: Vec<Coordinates>,
}

/// What is in a layer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// By path.
    pub libraries: Vec<Library>,
    /// What the program says of itself, as Maven has put it beside the classes.
    pub program: Vec<Coordinates>,
}

/// Whether there is anything in a layer that [`of_layer`] would look at.
pub fn concern(layer: &PlannedLayer) -> bool {
    layer.entries.keys().any(|path| is_jar(path) || is_properties(path))
}

/// Looks at all jars of a layer, and at what else says something of the program.
///
/// # Errors
/// A file cannot be read.
pub fn of_layer(layer: &PlannedLayer) -> Result<Found, LibraryError> {
    let mut found = Found::default();
    let mut opened = BTreeMap::new();
    for (path, entry) in &layer.entries {
        let Entry::File { content, size, .. } = entry else { continue };
        if is_jar(path) {
            found.libraries.push(library(path, content, &mut opened)?);
        } else if is_properties(path) && *size <= LIMIT {
            let text = read(content).map_err(|source| LibraryError::Read { path: path.clone(), source })?;
            found.program.extend(Coordinates::of_properties(&text));
        }
    }
    Ok(found)
}

fn is_jar(path: &str) -> bool {
    path.len() > 4 && path.as_bytes()[path.len() - 4..].eq_ignore_ascii_case(b".jar")
}

/// `META-INF/maven/GROUP/ARTIFACT/pom.properties`, at the root of a jar or below `/app` in an image.
fn is_properties(path: &str) -> bool {
    let mut parts = path.rsplit('/');
    parts.next() == Some("pom.properties") && parts.nth(2) == Some("maven") && parts.next() == Some("META-INF")
}

fn library(path: &str, content: &Content, opened: &mut BTreeMap<PathBuf, Archive>) -> Result<Library, LibraryError> {
    let read = |source| LibraryError::Read { path: path.to_owned(), source };
    let refused = |source| LibraryError::Archive { path: path.to_owned(), source };
    let archive = match content {
        Content::Path(file) => readable(Archive::open_library(file)).map_err(refused)?,
        Content::Inside(inside) => {
            let outer = outer(inside.archive(), opened).map_err(refused)?;
            readable(outer.open_inside(inside.member())).map_err(refused)?
        }
        Content::Bytes(_) => None,
    };
    let name = path.rsplit('/').next().unwrap_or(path);
    let Some(archive) = archive else {
        let sha256 = hash(open(content).map_err(read)?).map_err(read)?;
        let coordinates = Coordinates::of_jar(name, &Attributes::default());
        let (path, bundled) = (path.to_owned(), Vec::new());
        return Ok(Library { path, sha256, coordinates, source: Source::NameAndManifest, bundled });
    };
    let sha256 = hash(archive.raw()).map_err(read)?;
    let (coordinates, source, bundled) = identify(name, &archive);
    Ok(Library { path: path.to_owned(), sha256, coordinates, source, bundled })
}

/// The archive that holds others, opened once.
fn outer<'a>(path: &Path, opened: &'a mut BTreeMap<PathBuf, Archive>) -> Result<&'a Archive, ArchiveError> {
    if !opened.contains_key(path) {
        opened.insert(path.to_owned(), Archive::open_library(path)?);
    }
    Ok(&opened[path])
}

/// None for what is no archive, whatever its name says. It is in the image as it is, and so in the list.
fn readable(opened: Result<Archive, ArchiveError>) -> Result<Option<Archive>, ArchiveError> {
    match opened {
        Ok(archive) => Ok(Some(archive)),
        Err(ArchiveError::Archive { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What a jar is, and what was packed into it: Maven leaves the properties of each.
fn identify(name: &str, archive: &Archive) -> (Coordinates, Source, Vec<Coordinates>) {
    let text =
        |member: &str| archive.bytes(member, LIMIT).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let properties = archive.members().iter().filter(|member| is_properties(&member.name)).take(MOST_BUNDLED);
    let mut all: Vec<Coordinates> =
        properties.filter_map(|member| Coordinates::of_properties(&text(&member.name)?)).collect();
    all.sort();
    all.dedup();
    let manifest = archive.bytes(manifest::PATH, LIMIT).map(|bytes| Attributes::parse(&bytes)).unwrap_or_default();
    let mut by_name = Coordinates::of_jar(name, &manifest);
    let holds = |package: &str| archive.members().iter().any(|member| member.name.starts_with(package));
    if let Some(group) = well_known::group(&by_name.name, by_name.version.as_deref(), holds) {
        by_name.group = Some(group.to_owned());
    }
    // Of several, the jar's own are those of its name.
    let own = match all.len() {
        0 => None,
        1 if all[0].name == by_name.name || by_name.version == all[0].version => Some(0),
        _ => all.iter().position(|one| one.name == by_name.name),
    };
    match own {
        Some(own) => {
            let own = all.remove(own);
            (own, Source::Maven, all)
        }
        None => (by_name, Source::NameAndManifest, all),
    }
}

fn open(content: &Content) -> io::Result<Box<dyn Read + Send>> {
    Ok(match content {
        Content::Path(path) => Box::new(std::fs::File::open(path)?),
        Content::Bytes(bytes) => Box::new(io::Cursor::new(bytes.clone())),
        Content::Inside(inside) => inside.open()?,
    })
}

fn read(content: &Content) -> io::Result<String> {
    let mut bytes = Vec::new();
    open(content)?.take(LIMIT).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn hash(reader: impl Read) -> io::Result<String> {
    let (digest, _) = layer::digest_reader(reader)?;
    Ok(digest.trim_start_matches("sha256:").to_owned())
}
