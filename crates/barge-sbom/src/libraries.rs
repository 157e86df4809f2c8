//! The libraries in the layers of an image: each jar with its digest, and what it says of itself.
//!
//! A jar that cannot be read as one, or not as a whole, is a library all the same, known by its name and digest, with a word of why. What is
//! in a layer stays true as long as the layer has its digest, so callers may keep it: what may be otherwise the next time, such as a disk
//! that is full, is an error instead.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use barge_image::layer;
use barge_image::plan::{Content, Entry, PlannedLayer};
use barge_java::archive::{ArchiveFault, MemberFault};
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
    /// Why it could not be looked into, so that it is known by its name alone.
    #[serde(default)]
    pub unread: Option<String>,
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
    let name = path.rsplit('/').next().unwrap_or(path);
    let jar = match content {
        Content::Path(file) => Archive::open_library(file),
        Content::Inside(inside) => outer(inside.archive(), opened).map_err(refused)?.open_inside(inside.member()),
        Content::Bytes(_) => return unread(path, content, "it was made with the image".to_owned()),
    };
    let jar = match jar {
        Ok(jar) => jar,
        Err(error) => {
            let why = odd(&error).ok_or_else(|| refused(error))?;
            return unread(path, content, why);
        }
    };
    let sha256 = hash(jar.raw()).map_err(read)?;
    let (coordinates, source, bundled) = identify(name, &jar);
    Ok(Library { path: path.to_owned(), sha256, coordinates, source, bundled, unread: None })
}

/// A library of which only its name and its bytes are known.
fn unread(path: &str, content: &Content, why: String) -> Result<Library, LibraryError> {
    let read = |source| LibraryError::Read { path: path.to_owned(), source };
    let sha256 = hash(open(content).map_err(read)?).map_err(read)?;
    let coordinates = Coordinates::of_jar(path.rsplit('/').next().unwrap_or(path), &Attributes::default());
    let (source, bundled) = (Source::NameAndManifest, Vec::new());
    Ok(Library { path: path.to_owned(), sha256, coordinates, source, bundled, unread: Some(why) })
}

/// The archive that holds others, opened once.
fn outer<'a>(path: &Path, opened: &'a mut BTreeMap<PathBuf, Archive>) -> Result<&'a Archive, ArchiveError> {
    if !opened.contains_key(path) {
        opened.insert(path.to_owned(), Archive::open_library(path)?);
    }
    Ok(&opened[path])
}

/// What is odd about a jar itself, said so that it is the same on every machine; none for what may be otherwise the next time. Such a jar is
/// in the image as it is, and so in the list.
fn odd(error: &ArchiveError) -> Option<String> {
    match error {
        ArchiveError::Read { .. }
        | ArchiveError::Archive { source: ArchiveFault::Changed, .. }
        | ArchiveError::Member { source: MemberFault::Unpack(_), .. } => None,
        ArchiveError::Archive { source, .. } => Some(source.to_string()),
        ArchiveError::Member { member, source, .. } => Some(format!("{member}: {source}")),
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
