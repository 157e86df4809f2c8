//! Reads zip archives (jar, war) that nobody vouches for: every size, name and offset in them may be a lie.
//!
//! An archive's list of members is read once, when it is opened; from then on any number of threads read members, each by itself. What
//! is read is checked ([`directory`], [`contents`]), and nothing is ever written. It leaves out what Java does not know either:
//! encryption, other ways to pack than deflate, archives in several parts.

mod contents;
mod directory;
mod error;
mod name;
mod source;

use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use barge_image::plan::Inside;
use rawzip::{CompressionMethod, ErrorKind, ZipArchive, ZipEntry, ZipLocalFileHeader};

use contents::Contents;
use directory::{Directory, Fault, Odd};
pub use error::{ArchiveError, ArchiveFault, MemberFault};
use source::{Range, Source};

/// Stands between an archive and a member of it, as in Java's URLs.
const IN: &str = "!/";

/// Up to this size in bytes, an archive inside of another is unpacked into memory, else into a file without a name.
const IN_MEMORY: u64 = 128 << 10;

/// One member of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its path, with `/` between directories and at the end of a directory's own; never absolute, never with `..`.
    pub name: String,
    /// Its size in bytes when it is unpacked.
    pub size: u64,
    /// Its size in bytes as it is in the archive.
    pub packed: u64,
    /// The CRC-32 of its unpacked bytes, as the archive says. Tells change from accident, not from intent.
    pub checksum: u32,
    /// Whether it is stored as it is; else it is deflated.
    pub stored: bool,
    /// Whether it is a file that somebody may execute.
    pub executable: bool,
}

impl Member {
    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.name.ends_with('/')
    }
}

/// An archive whose list of members has been read and checked. Clones share it.
#[derive(Debug, Clone)]
pub struct Archive(Arc<Opened>);

#[derive(Debug)]
struct Opened {
    path: PathBuf,
    /// In which member of the file it is, with [`IN`] at its end; empty for the file itself.
    within: String,
    zip: ZipArchive<Source>,
    directory: Directory,
}

impl Archive {
    /// Opens an archive that is to be unpacked: each of its members can become a file.
    ///
    /// # Errors
    /// The file cannot be read, is no archive, or is one that is refused.
    pub fn open(path: &Path) -> Result<Self, ArchiveError> {
        Self::new(path, String::new(), Source::open(path)?, Odd::Refused)
    }

    /// Opens an archive that stays whole, such as a library. Members that could not be unpacked are left out.
    ///
    /// # Errors
    /// The file cannot be read or is no archive.
    pub fn open_library(path: &Path) -> Result<Self, ArchiveError> {
        Self::new(path, String::new(), Source::open(path)?, Odd::LeftOut)
    }

    /// Opens an archive that is a member of this one, as a library. One that is stored is read where it is; else it is unpacked, a large
    /// one into a file without a name: let go of it soon.
    ///
    /// # Errors
    /// There is no such member, it is damaged, is no archive, or could not be unpacked.
    pub fn open_inside(&self, name: &str) -> Result<Self, ArchiveError> {
        let index = self.find(name)?;
        let member = &self.members()[index];
        let source = if member.stored {
            let range = self.range(index)?;
            self.0.zip.get_ref().part(range.at, range.end - range.at)
        } else {
            self.unpack(index)?
        };
        Self::new(self.path(), format!("{}{name}{IN}", self.0.within), source, Odd::LeftOut)
    }

    fn new(path: &Path, within: String, source: Source, odd: Odd) -> Result<Self, ArchiveError> {
        let watched = source.clone();
        let opened =
            directory::locate(source).map_err(Fault::Archive).and_then(|zip| Ok((directory::read(&zip, odd)?, zip)));
        let archive = || label(path, &within);
        let changed = !watched.unchanged().map_err(|source| ArchiveError::Read { path: path.to_owned(), source })?;
        match opened {
            _ if changed => Err(ArchiveError::Archive { archive: archive(), source: ArchiveFault::Changed }),
            Ok((directory, zip)) => Ok(Self(Arc::new(Opened { path: path.to_owned(), within, zip, directory }))),
            Err(Fault::Archive(source)) => Err(ArchiveError::Archive { archive: archive(), source }),
            Err(Fault::Member(member, source)) => Err(ArchiveError::Member { archive: archive(), member, source }),
        }
    }

    /// The file that holds it.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// How people call it: the file, and in which member of it this archive is.
    pub fn label(&self) -> String {
        label(&self.0.path, &self.0.within)
    }

    /// Its members, in their order in the list; of several with one name, the one that Java finds.
    pub fn members(&self) -> &[Member] {
        &self.0.directory.members
    }

    /// A member by its name.
    pub fn member(&self, name: &str) -> Option<&Member> {
        self.0.directory.find(name).map(|index| &self.members()[index])
    }

    /// The names of files that are in it more than once, of which all but the last are hidden from Java too.
    pub fn hidden(&self) -> &[String] {
        &self.0.directory.hidden
    }

    /// A member's bytes, unless they are more than `limit`.
    ///
    /// # Errors
    /// There is no such member, it is larger, or damaged.
    pub fn bytes(&self, name: &str, limit: u64) -> Result<Vec<u8>, ArchiveError> {
        let index = self.find(name)?;
        let size = self.members()[index].size;
        if size > limit {
            return Err(self.member_error(name, MemberFault::OverLimit { size, limit }));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
        Contents::new(self, index)?
            .read_to_end(&mut bytes)
            .map_err(|error| self.read_error(name, error, MemberFault::Damaged))?;
        Ok(bytes)
    }

    /// A member as the content of a file in an image.
    pub fn inside(&self, name: &str) -> Option<Arc<dyn Inside>> {
        let index = self.0.directory.find(name)?;
        let member = format!("{}{name}", self.0.within);
        Some(Arc::new(InArchive { archive: self.clone(), index, member }))
    }

    /// How many bytes the archive itself has.
    pub fn length(&self) -> u64 {
        self.0.zip.get_ref().length()
    }

    /// The bytes of the archive itself, from front to back. They are not checked.
    pub fn raw(&self) -> impl Read + Send + use<> {
        let source = self.0.zip.get_ref().clone();
        let end = source.length();
        Range { source, at: 0, end }
    }

    fn find(&self, name: &str) -> Result<usize, ArchiveError> {
        self.0.directory.find(name).ok_or_else(|| self.member_error(name, MemberFault::Missing))
    }

    /// Where a member's packed bytes are, once the header before them has been looked at.
    fn range(&self, index: usize) -> Result<Range, ArchiveError> {
        let member = &self.members()[index];
        self.packed(index, member).map_err(|fault| match self.unchanged() {
            Ok(()) => self.member_error(&member.name, fault),
            Err(changed) => changed,
        })
    }

    fn packed(&self, index: usize, member: &Member) -> Result<Range, MemberFault> {
        let place = &self.0.directory.places[index];
        let entry = self.0.zip.get_entry(place.way).map_err(MemberFault::Misplaced)?;
        let (mut short, mut long) = ([0; 512], Vec::new());
        let header = match entry.local_header(&mut short) {
            Err(error) if matches!(error.kind(), ErrorKind::BufferTooSmall { .. }) => long_header(&entry, &mut long),
            result => result,
        };
        agree(member, &header.map_err(MemberFault::Misplaced)?).map_err(MemberFault::Contradiction)?;
        let (at, end) = entry.compressed_data_range();
        if end > place.end {
            return Err(MemberFault::Extent);
        }
        Ok(Range { source: self.0.zip.get_ref().clone(), at, end })
    }

    fn unpack(&self, index: usize) -> Result<Source, ArchiveError> {
        let member = &self.members()[index];
        if member.size <= IN_MEMORY {
            return Ok(Source::memory(self.bytes(&member.name, IN_MEMORY)?));
        }
        let no_room = |error| self.read_error(&member.name, error, MemberFault::Unpack);
        let mut file = tempfile::tempfile().map_err(no_room)?;
        io::copy(&mut Contents::new(self, index)?, &mut file).map_err(no_room)?;
        file.flush().and_then(|()| file.rewind()).map_err(no_room)?;
        Ok(Source::unnamed(file, member.size))
    }

    fn unchanged(&self) -> Result<(), ArchiveError> {
        match self.0.zip.get_ref().unchanged() {
            Ok(true) => Ok(()),
            Ok(false) => Err(ArchiveError::Archive { archive: self.label(), source: ArchiveFault::Changed }),
            Err(source) => Err(ArchiveError::Read { path: self.path().to_owned(), source }),
        }
    }

    fn member_error(&self, member: &str, source: MemberFault) -> ArchiveError {
        ArchiveError::Member { archive: self.label(), member: member.to_owned(), source }
    }

    /// What [`Contents`] said, or what somebody else did.
    fn read_error(&self, member: &str, error: io::Error, other: fn(io::Error) -> MemberFault) -> ArchiveError {
        match error.downcast::<ArchiveError>() {
            Ok(error) => error,
            Err(error) => self.member_error(member, other(error)),
        }
    }
}

fn label(path: &Path, within: &str) -> String {
    match within.strip_suffix(IN) {
        Some(member) => format!("{}{IN}{member}", path.display()),
        None => path.display().to_string(),
    }
}

fn long_header<'a>(
    entry: &ZipEntry<'_, Source>,
    buffer: &'a mut Vec<u8>,
) -> Result<ZipLocalFileHeader<'a>, rawzip::Error> {
    buffer.resize(2 * usize::from(u16::MAX), 0);
    entry.local_header(buffer)
}

/// Whether the header before a member's bytes says what the list of members says: else, which of the two programs believe depends on the
/// program.
fn agree(member: &Member, header: &ZipLocalFileHeader<'_>) -> Result<(), &'static str> {
    let method = if member.stored { CompressionMethod::STORE } else { CompressionMethod::DEFLATE };
    let sizes = (header.compressed_size_hint(), header.uncompressed_size_hint());
    // A writer that does not know sizes beforehand says so, and writes them behind the bytes.
    let known = !header.flags().has_data_descriptor();
    match () {
        () if header.file_path().as_ref() != member.name.as_bytes() => Err("another name"),
        () if header.compression_method() != method => Err("packed in another way"),
        () if header.flags().is_encrypted() => Err("encrypted"),
        () if known && sizes != (member.packed, member.size) => Err("another size"),
        () if known && header.crc32() != member.checksum => Err("another checksum"),
        () => Ok(()),
    }
}

#[derive(Debug)]
struct InArchive {
    archive: Archive,
    index: usize,
    member: String,
}

impl Inside for InArchive {
    fn archive(&self) -> &Path {
        self.archive.path()
    }

    fn member(&self) -> &str {
        &self.member
    }

    fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        match Contents::new(&self.archive, self.index) {
            Ok(contents) => Ok(Box::new(contents)),
            Err(error) => Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        }
    }
}
