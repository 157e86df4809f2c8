//! What goes where in the image: a pure function from what was found to the entries of a layer.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::scan::{Found, FoundKind};

/// Where the files of an application are in the image, and its working directory.
pub const APP: &str = "app";

/// Bytes that lie inside of another file, such as a member of an archive.
pub trait Inside: Debug + Send + Sync {
    /// The file that holds them.
    fn archive(&self) -> &Path;

    /// Which of what it holds. Both together name the bytes, for as long as the archive does not change.
    fn member(&self) -> &str;

    /// Reads them from their start.
    ///
    /// # Errors
    /// The archive is gone, has changed or is damaged.
    fn open(&self) -> io::Result<Box<dyn Read + Send>>;
}

/// Where the bytes of a file are.
#[derive(Debug, Clone)]
pub enum Content {
    /// In a file of their own.
    Path(PathBuf),
    /// In memory.
    Bytes(Arc<[u8]>),
    /// In an archive.
    Inside(Arc<dyn Inside>),
}

impl PartialEq for Content {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Path(one), Self::Path(other)) => one == other,
            (Self::Bytes(one), Self::Bytes(other)) => one == other,
            (Self::Inside(one), Self::Inside(other)) => {
                (one.archive(), one.member()) == (other.archive(), other.member())
            }
            _ => false,
        }
    }
}

impl Eq for Content {}

/// One entry of a layer. Entries have no owner, no time of their own and one of four modes, so that nothing of the machine that
/// builds gets into the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A directory, mode 0755.
    Directory,
    /// A directory that whoever the program runs as may write to, mode 1777, as /tmp has it.
    Shared,
    /// A file, mode 0644 or 0755.
    File {
        /// Where the bytes are.
        content: Content,
        /// How many.
        size: u64,
        /// Mode 0755.
        executable: bool,
        /// Whether its modification time follows its content. Servers tell browsers the time of a page or a picture, and browsers ask
        /// whether it is newer than theirs: a time that never changes would leave them with the old one. All others have the same time.
        stamped: bool,
    },
    /// A symbolic link.
    Link {
        /// Where it points.
        target: String,
    },
}

impl From<FoundKind> for Entry {
    fn from(found: FoundKind) -> Self {
        match found {
            FoundKind::Directory => Self::Directory,
            FoundKind::File { source, size, executable } => {
                Self::File { content: Content::Path(source), size, executable, stamped: false }
            }
            FoundKind::Link { target } => Self::Link { target },
        }
    }
}

/// A layer's entries by path, sorted; every parent is there.
pub type LayerPlan = BTreeMap<String, Entry>;

/// A layer before its bytes are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedLayer {
    /// What people call it, such as `dependencies`.
    pub name: Cow<'static, str>,
    /// Why it is a layer of its own, in a sentence.
    pub why: Cow<'static, str>,
    /// What is in it.
    pub entries: LayerPlan,
}

impl PlannedLayer {
    /// How many files it has, and their bytes.
    pub fn extent(&self) -> (usize, u64) {
        self.entries.values().fold((0, 0), |(files, bytes), entry| match entry {
            Entry::File { size, .. } => (files + 1, bytes + size),
            Entry::Directory | Entry::Shared | Entry::Link { .. } => (files, bytes),
        })
    }
}

/// Adds an entry and what directories it is in.
pub fn place(entries: &mut LayerPlan, path: String, entry: Entry) {
    for (at, _) in path.match_indices('/') {
        entries.entry(path[..at].to_owned()).or_insert(Entry::Directory);
    }
    entries.insert(path, entry);
}

/// Places what was found below `/app`.
pub fn files(found: &[Found]) -> LayerPlan {
    let mut plan = LayerPlan::new();
    plan.insert(APP.to_owned(), Entry::Directory);
    for item in found {
        place(&mut plan, format!("{APP}/{}", item.path), Entry::from(item.kind.clone()));
    }
    plan
}
