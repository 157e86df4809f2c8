//! The files of a program, whether they are in an archive or somebody has unpacked it already.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use barge_image::plan::{Content, Entry};
use barge_image::scan::{FoundKind, scan};

use crate::archive::{Archive, Member};
use crate::manifest::{self, Attributes};
use crate::plan::PlanError;

/// The most that a manifest or an index may have, in bytes. A manifest with a thousand signed classes has less than a tenth.
const TEXT_LIMIT: u64 = 4 << 20;

/// What is in a directory that keeps its shape, by paths below it: its files, and links that stay inside as links. One that leads out of it is
/// an error that names it.
pub(crate) fn tree(directory: &Path) -> Result<Vec<(String, Entry)>, PlanError> {
    let found = scan(directory, &[]).map_err(PlanError::Scan)?;
    let found = found.into_iter().filter(|item| item.kind != FoundKind::Directory);
    Ok(found.map(|item| (item.path, Entry::from(item.kind))).collect())
}

/// A relative path without '.' in it, which is empty for the directory itself; none for one that leads out of that.
pub(crate) fn plain(path: &str) -> Option<String> {
    let parts = Path::new(path).components().filter(|part| *part != Component::CurDir);
    let names = parts.map(|part| if let Component::Normal(name) = part { name.to_str() } else { None });
    names.collect::<Option<Vec<&str>>>().map(|names| names.join("/"))
}

/// The files of a program.
#[derive(Debug)]
pub(crate) struct Files {
    root: PathBuf,
    archive: Option<Archive>,
    /// Without directories; in an archive's own order, else sorted.
    list: Vec<File>,
    places: HashMap<String, usize>,
    whole: bool,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    /// Its path, with `/`.
    pub(crate) name: String,
    /// In bytes.
    pub(crate) size: u64,
    executable: bool,
}

impl Files {
    /// Lists what is in an archive or in a directory.
    pub(crate) fn open(root: &Path) -> Result<Self, PlanError> {
        if root.is_dir() { Self::in_directory(root) } else { Ok(Self::in_archive(root, Archive::open(root)?)) }
    }

    /// Lists what is in an archive that stays whole: what of it could not be unpacked is not refused.
    pub(crate) fn open_whole(root: &Path) -> Result<Self, PlanError> {
        let whole = Self::in_archive(root, Archive::open_library(root)?);
        Ok(Self { whole: true, ..whole })
    }

    fn in_archive(root: &Path, archive: Archive) -> Self {
        let members = archive.members().iter().filter(|member| !member.is_directory());
        let file =
            |member: &Member| File { name: member.name.clone(), size: member.size, executable: member.executable };
        let list = members.map(file).collect();
        Self::new(root, Some(archive), list)
    }

    fn in_directory(root: &Path) -> Result<Self, PlanError> {
        let found = scan(root, &[]).map_err(PlanError::Scan)?;
        let list = found.into_iter().filter_map(|item| match item.kind {
            FoundKind::File { size, executable, .. } => Some(Ok(File { name: item.path, size, executable })),
            FoundKind::Directory => None,
            FoundKind::Link { .. } => Some(Err(PlanError::Link(root.join(item.path)))),
        });
        Ok(Self::new(root, None, list.collect::<Result<_, _>>()?))
    }

    fn new(root: &Path, archive: Option<Archive>, list: Vec<File>) -> Self {
        let places = list.iter().enumerate().map(|(place, file)| (file.name.clone(), place)).collect();
        Self { root: root.to_owned(), archive, list, places, whole: false }
    }

    /// Whether they are in an archive that has to stay one.
    pub(crate) fn must_stay_whole(&self) -> bool {
        self.whole
    }

    /// Where they are.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &File> {
        self.list.iter()
    }

    /// Whether one of this name is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    /// Whether one is below `directory`, which ends with `/`.
    pub(crate) fn has_below(&self, directory: &str) -> bool {
        self.list.iter().any(|file| file.name.starts_with(directory))
    }

    /// A file as an entry of an image.
    pub(crate) fn entry(&self, file: &File, stamped: bool) -> Result<Entry, PlanError> {
        let content = match &self.archive {
            None => Content::Path(self.root.join(&file.name)),
            Some(archive) => {
                let inside = archive.inside(&file.name);
                Content::Inside(inside.ok_or_else(|| PlanError::Lost(self.root.join(&file.name)))?)
            }
        };
        Ok(Entry::File { content, size: file.size, executable: file.executable, stamped })
    }

    /// A file's bytes, where it is there.
    pub(crate) fn bytes(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, PlanError> {
        if !self.has(name) {
            return Ok(None);
        }
        match &self.archive {
            Some(archive) => Ok(Some(archive.bytes(name, limit)?)),
            None => {
                let path = self.root.join(name);
                let read = |source| PlanError::Read { path: path.clone(), source };
                let mut bytes = Vec::new();
                std::fs::File::open(&path)
                    .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
                    .map_err(read)?;
                if bytes.len() as u64 > limit {
                    return Err(PlanError::TooLarge { path, limit });
                }
                Ok(Some(bytes))
            }
        }
    }

    /// A file's text, where it is there.
    pub(crate) fn text(&self, name: &str) -> Result<Option<String>, PlanError> {
        Ok(self.bytes(name, TEXT_LIMIT)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// The main attributes of the manifest; none where there is no manifest.
    pub(crate) fn attributes(&self) -> Result<Attributes, PlanError> {
        Ok(self.bytes(manifest::PATH, TEXT_LIMIT)?.map_or_else(Attributes::default, |bytes| Attributes::parse(&bytes)))
    }
}
