//! The list of members at the end of an archive, read once and checked as a whole.
//!
//! Of several members with one name, the last in the list counts: that is the one that `java.util.zip.ZipFile` finds, and with it the
//! class loaders and servlet containers. The others are told by [`Directory::hidden`].

use std::collections::HashSet;

use rawzip::{
    CompressionMethod, ErrorKind, ReaderAt, ZipArchive, ZipArchiveEntryWayfinder, ZipFileHeaderRecord, ZipLocator,
};

use super::Member;
use super::error::{ArchiveFault, MemberFault};
use super::name;
use super::source::Source;

/// The most members of an archive; the largest programs have some ten thousand.
const MOST_MEMBERS: usize = 200_000;

/// The most bytes that a list of members may have. With [`MOST_MEMBERS`] it bounds the memory that a list takes.
const LONGEST_DIRECTORY: u64 = 48 << 20;

/// The most bytes of all members, unpacked.
const MOST_BYTES: u64 = 8 << 30;

/// Archives that unpack to no more than this are never bombs.
const HARMLESS: u64 = 1 << 30;

/// By how many times an archive of a real program grows at most; classes and text grow by 2 to 10.
const MOST_GROWTH: u64 = 100;

/// The most bytes that a deflated byte can stand for.
const MOST_INFLATION: u64 = 1032;

/// The length of a local header without name and extra fields.
const LOCAL_HEADER: u64 = 30;

/// What becomes of members that cannot be unpacked into a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Odd {
    /// They are errors: the archive is to be unpacked.
    Refused,
    /// They are left out: the archive stays whole, and only some of its members are looked at.
    LeftOut,
}

/// Where a member's bytes are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) way: ZipArchiveEntryWayfinder,
    /// Where the bytes of whatever comes next begin.
    pub(super) end: u64,
    header: u64,
    least: u64,
}

/// The list of members.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) members: Vec<Member>,
    /// For each member in [`Self::members`].
    pub(super) places: Vec<Place>,
    /// Indices, by name.
    by_name: Vec<u32>,
    /// Names that several members have.
    pub(super) hidden: Vec<String>,
}

/// What is wrong with a list of members.
pub(super) enum Fault {
    Archive(ArchiveFault),
    Member(String, MemberFault),
}

impl From<ArchiveFault> for Fault {
    fn from(fault: ArchiveFault) -> Self {
        Self::Archive(fault)
    }
}

/// Finds the list of members.
pub(super) fn locate(source: Source) -> Result<ZipArchive<Source>, ArchiveFault> {
    let length = source.length();
    if length == 0 {
        return Err(ArchiveFault::Empty);
    }
    let mut buffer = vec![0; rawzip::RECOMMENDED_BUFFER_SIZE];
    let located = ZipLocator::new().locate_in_reader(source, &mut buffer, length);
    let archive = located.map_err(|(source, error)| match error.kind() {
        ErrorKind::MissingEndOfCentralDirectory if begins_as_zip(&source) => ArchiveFault::CutOff,
        ErrorKind::MissingEndOfCentralDirectory => ArchiveFault::NotZip,
        _ => ArchiveFault::Directory(error),
    })?;
    if several_parts(&archive) {
        return Err(ArchiveFault::SeveralParts);
    }
    if archive.eocd_offset() - archive.directory_offset() > LONGEST_DIRECTORY {
        return Err(ArchiveFault::LongDirectory { limit: LONGEST_DIRECTORY });
    }
    Ok(archive)
}

fn begins_as_zip(source: &Source) -> bool {
    let mut first = [0; 4];
    source.read_exact_at(&mut first, 0).is_ok() && first == *b"PK\x03\x04"
}

/// The numbers of this part and of the one with the list's start: both are 0 in an archive of one part. (APPNOTE 4.3.16; all bits are
/// set where the zip64 record says it instead, and that is only looked at for its offsets.)
fn several_parts(archive: &ZipArchive<Source>) -> bool {
    let mut parts = [0; 4];
    archive.get_ref().read_exact_at(&mut parts, archive.eocd_offset() + 4).is_ok()
        && parts.as_chunks().0.iter().any(|part| !matches!(u16::from_le_bytes(*part), 0 | u16::MAX))
}

/// Reads and checks the list.
pub(super) fn read(archive: &ZipArchive<Source>, odd: Odd) -> Result<Directory, Fault> {
    let mut buffer = vec![0; rawzip::MAX_CENTRAL_DIRECTORY_RECORD_SIZE];
    let mut entries = archive.entries(&mut buffer);
    let (mut members, mut places) = (Vec::new(), Vec::new());
    let (mut found, mut unpacked) = (0u64, 0u64);
    while let Some(record) = entries.next_entry().map_err(ArchiveFault::Directory)? {
        found += 1;
        if found > MOST_MEMBERS as u64 {
            return Err(ArchiveFault::TooMany { limit: MOST_MEMBERS }.into());
        }
        unpacked = unpacked.saturating_add(record.uncompressed_size_hint());
        match member(&record) {
            Ok(member) => {
                members.push(member);
                places.push(place(&record));
            }
            Err(_) if odd == Odd::LeftOut => {}
            Err(fault) => {
                let name = String::from_utf8_lossy(record.file_path().as_ref()).into_owned();
                return Err(Fault::Member(name, fault));
            }
        }
    }
    let said = archive.entries_hint();
    // Before zip64, some tools counted modulo 65,536 and went on. Java reads what they wrote.
    if found != said && !(found > u64::from(u16::MAX) && found & u64::from(u16::MAX) == said) {
        return Err(ArchiveFault::Count { said, found }.into());
    }
    let size = archive.get_ref().length();
    if unpacked > MOST_BYTES {
        return Err(ArchiveFault::TooLarge { limit: MOST_BYTES }.into());
    }
    if unpacked > HARMLESS && unpacked / MOST_GROWTH > size {
        return Err(ArchiveFault::Bomb { size, unpacked }.into());
    }
    fit(&members, &mut places, archive.directory_offset())?;
    let directory = Directory::new(members, places);
    match directory.file_and_directory() {
        Some(name) if odd == Odd::Refused => Err(Fault::Member(name.to_owned(), MemberFault::FileAndDirectory)),
        _ => Ok(directory),
    }
}

fn member(record: &ZipFileHeaderRecord<'_>) -> Result<Member, MemberFault> {
    let path = record.file_path();
    let name = name::check(path.as_ref()).map_err(MemberFault::Name)?;
    let (packed, size) = (record.compressed_size_hint(), record.uncompressed_size_hint());
    if record.flags().is_encrypted() || record.flags().has_strong_encryption() || record.flags().is_masked() {
        return Err(MemberFault::Encrypted);
    }
    let stored = match record.compression_method() {
        CompressionMethod::STORE => true,
        CompressionMethod::DEFLATE => false,
        other => return Err(MemberFault::Method(other.as_u16())),
    };
    let possible = if stored { packed == size } else { size <= packed.saturating_mul(MOST_INFLATION) };
    if !possible {
        return Err(MemberFault::Impossible { packed, size });
    }
    Ok(Member {
        name: name.to_owned(),
        size,
        packed,
        checksum: record.crc32(),
        stored,
        executable: record.mode().permissions() & 0o111 != 0 && !name.ends_with('/'),
    })
}

fn place(record: &ZipFileHeaderRecord<'_>) -> Place {
    let header = record.local_header_offset();
    let named = record.file_path().as_ref().len() as u64;
    let least = (LOCAL_HEADER + named).saturating_add(record.compressed_size_hint());
    Place { way: record.wayfinder(), end: 0, header, least }
}

/// Finds out where the bytes of each member have to end, and that none has any of another.
fn fit(members: &[Member], places: &mut [Place], directory: u64) -> Result<(), Fault> {
    let mut order: Vec<u32> = (0u32..).take(places.len()).collect();
    order.sort_unstable_by_key(|index| std::cmp::Reverse(places[*index as usize].header));
    let mut end = directory;
    for index in order {
        let place = &mut places[index as usize];
        if place.header.checked_add(place.least).is_none_or(|least| least > end) {
            return Err(Fault::Member(members[index as usize].name.clone(), MemberFault::Overlap));
        }
        place.end = end;
        end = place.header;
    }
    Ok(())
}

impl Directory {
    fn new(all: Vec<Member>, all_places: Vec<Place>) -> Self {
        let mut by_name: Vec<u32> = (0u32..).take(all.len()).collect();
        by_name.sort_by(|one, other| all[*one as usize].name.cmp(&all[*other as usize].name));
        let mut hidden = Vec::new();
        let mut counts = vec![true; all.len()];
        for pair in by_name.windows(2) {
            let (one, next) = (pair[0] as usize, pair[1] as usize);
            if all[one].name == all[next].name {
                counts[one] = false;
                if !all[one].is_directory() && hidden.last() != Some(&all[one].name) {
                    hidden.push(all[one].name.clone());
                }
            }
        }
        if counts.iter().all(|counts| *counts) {
            return Self { members: all, places: all_places, by_name, hidden };
        }
        let kept = all.into_iter().zip(all_places).zip(counts).filter_map(|(member, counts)| counts.then_some(member));
        let (members, places): (Vec<_>, Vec<_>) = kept.unzip();
        Self { hidden, ..Self::new(members, places) }
    }

    /// Where in the list a member is.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        let by_name = |index: &u32| self.members[*index as usize].name.as_str().cmp(name);
        self.by_name.binary_search_by(by_name).ok().map(|at| self.by_name[at] as usize)
    }

    /// A file where there also has to be a directory.
    fn file_and_directory(&self) -> Option<&str> {
        let names = || self.members.iter().map(|member| member.name.as_str());
        let files: HashSet<&str> = names().filter(|name| !name.ends_with('/')).collect();
        names().find_map(|name| {
            name.match_indices('/').map(|(at, _)| &name[..at]).find(|directory| files.contains(directory))
        })
    }
}
