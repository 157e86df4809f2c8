//! What can be wrong with an archive, said so that people find the file and what to do.

use std::io;
use std::path::PathBuf;

/// Why an archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The file cannot be read.
    #[error("read {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The archive as a whole is refused.
    #[error("{archive} is no archive that can be used")]
    Archive {
        /// Which, as `target/shop.jar` or, inside of another, `target/shop.jar!/BOOT-INF/lib/orders.jar`.
        archive: String,
        /// What is wrong with it.
        source: ArchiveFault,
    },
    /// One of its members is refused.
    #[error("{member:?} in {archive} cannot be used")]
    Member {
        /// Which archive.
        archive: String,
        /// Which member of it.
        member: String,
        /// What is wrong with it.
        source: MemberFault,
    },
}

/// What is wrong with an archive as a whole.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveFault {
    /// A directory, a pipe, a device.
    #[error("it is no regular file")]
    NotAFile,
    /// Not a single byte.
    #[error("the file is empty; build it again")]
    Empty,
    /// Nothing in it looks like a zip archive.
    #[error("it is no zip archive, which jars and wars are")]
    NotZip,
    /// It begins as one, but the list of members at its end is missing.
    #[error("its end is missing, as if it was still being written or the disk was full; build it again")]
    CutOff,
    /// The list of members contradicts itself.
    #[error("its list of members is damaged; build it again")]
    Directory(#[source] rawzip::Error),
    /// The list of members is not as long as it says.
    #[error("its list of members should have {said} and has {found}; build it again")]
    Count {
        /// How many it should have.
        said: u64,
        /// How many it has.
        found: u64,
    },
    /// It is spread over several files.
    #[error("it is one of several parts of an archive, which Java cannot read either")]
    SeveralParts,
    /// More members than any program has.
    #[error("it has more than {limit} members")]
    TooMany {
        /// The most there may be.
        limit: usize,
    },
    /// Its list of members is larger than that of any program.
    #[error("its list of members has more than {limit} bytes")]
    LongDirectory {
        /// The most there may be.
        limit: u64,
    },
    /// Unpacked, it would fill the disk.
    #[error("it unpacks to more than {limit} bytes; no program is that large")]
    TooLarge {
        /// The most it may have, in bytes.
        limit: u64,
    },
    /// Unpacked, it has many times its size, as only archives have that are made to fill disks.
    #[error("its {size} bytes unpack to {unpacked}, which only archives do that are made to fill disks")]
    Bomb {
        /// Its size in bytes.
        size: u64,
        /// The same, unpacked.
        unpacked: u64,
    },
    /// Somebody wrote into it while it was read.
    #[error("it has changed while it was read; wait for whatever builds it, then try again")]
    Changed,
}

/// What is wrong with a member of an archive.
#[derive(Debug, thiserror::Error)]
pub enum MemberFault {
    /// No member has this name.
    #[error("there is no such member")]
    Missing,
    /// Its name leads elsewhere, or is none.
    #[error("its name cannot be the path of a file: {0}")]
    Name(&'static str),
    /// A file where another member needs a directory.
    #[error("it is a file, and other members are in a directory of that name")]
    FileAndDirectory,
    /// It shares bytes with another one.
    #[error("its bytes are those of another member too, which only archives do that are made to fill disks")]
    Overlap,
    /// It needs a password.
    #[error("it is encrypted; Java cannot read it either")]
    Encrypted,
    /// It is packed in a way that Java does not know.
    #[error("it is packed with method {0}; Java knows only stored (0) and deflated (8)")]
    Method(u16),
    /// It declares what its bytes cannot hold.
    #[error("{packed} bytes cannot unpack to the {size} that are declared")]
    Impossible {
        /// How many bytes it has in the archive.
        packed: u64,
        /// How many it should have, unpacked.
        size: u64,
    },
    /// It is larger than what is expected in its place.
    #[error("it has {size} bytes; at most {limit} are expected there")]
    OverLimit {
        /// How many it has.
        size: u64,
        /// How many it may have.
        limit: u64,
    },
    /// What stands before its bytes is not what the list of members says.
    #[error("what stands before its bytes contradicts the list of members: {0}")]
    Contradiction(&'static str),
    /// Its header or bytes are not where they should be.
    #[error("its bytes are not where the list of members says; build the archive again")]
    Misplaced(#[source] rawzip::Error),
    /// Its bytes end early, or run into those of another member.
    #[error("its bytes do not fit between those of others; build the archive again")]
    Extent,
    /// Its bytes cannot be unpacked.
    #[error("its bytes are damaged; build the archive again")]
    Damaged(#[source] io::Error),
    /// There is more than it declares.
    #[error("it unpacks to more than the {0} bytes that it declares")]
    TooLong(u64),
    /// There is less than it declares.
    #[error("it declares {declared} bytes and has {found}; build the archive again")]
    TooShort {
        /// How many it should have.
        declared: u64,
        /// How many it has.
        found: u64,
    },
    /// Its bytes are others than those that were packed.
    #[error("its checksum is wrong; build the archive again")]
    Checksum,
    /// There was no room to unpack it for a look inside.
    #[error("it could not be unpacked for a look inside")]
    Unpack(#[source] io::Error),
}
