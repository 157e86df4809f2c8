//! Reads zip archives (jar, war) that nobody vouches for: every size, name and offset in them may be a lie.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use barge_image::plan::Inside;

/// Why an archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The file cannot be read.
    #[error("read {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

/// One member of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its path, with `/` between directories and at the end of a directory's own; never absolute, never with `..`.
    pub name: String,
    /// Its size in bytes when it is unpacked.
    pub size: u64,
}

/// An archive whose list of members has been read and checked.
#[derive(Debug, Clone)]
pub struct Archive(Arc<Opened>);

#[derive(Debug)]
struct Opened {
    path: PathBuf,
    members: Vec<Member>,
}

impl Archive {
    /// Reads and checks the list of members.
    ///
    /// # Errors
    /// The file cannot be read, is no archive, or is one that is refused.
    pub fn open(path: &Path) -> Result<Self, ArchiveError> {
        Ok(Self(Arc::new(Opened { path: path.to_owned(), members: Vec::new() })))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Its members, in their order in the list.
    pub fn members(&self) -> &[Member] {
        &self.0.members
    }

    /// A member's bytes, unless they are more than `limit`.
    ///
    /// # Errors
    /// There is no such member, it is larger, or damaged.
    pub fn bytes(&self, _name: &str, _limit: u64) -> Result<Vec<u8>, ArchiveError> {
        Ok(Vec::new())
    }

    /// A member as the content of a file in an image.
    pub fn inside(&self, name: &str) -> Option<Arc<dyn Inside>> {
        let member = self.members().iter().find(|member| member.name == name)?;
        Some(Arc::new(InArchive { archive: self.clone(), member: member.clone() }))
    }
}

#[derive(Debug)]
struct InArchive {
    archive: Archive,
    member: Member,
}

impl Inside for InArchive {
    fn archive(&self) -> &Path {
        self.archive.path()
    }

    fn member(&self) -> &str {
        &self.member.name
    }

    fn open(&self) -> std::io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(std::io::empty()))
    }
}
