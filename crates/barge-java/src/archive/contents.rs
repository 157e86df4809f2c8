//! The bytes of one member, unpacked and checked while they are read: against the header before them, the size and the checksum that
//! were declared, and a file that changes meanwhile. Whoever has read to the end has had all of it.

use std::io::{self, BufReader, Read};

use flate2::Crc;
use flate2::bufread::DeflateDecoder;

use super::error::{ArchiveError, MemberFault};
use super::source::Range;
use super::{Archive, Member};

/// How much is read from the archive at a time.
const BUFFER: u64 = 64 << 10;

/// Reads a member.
pub(super) struct Contents {
    archive: Archive,
    index: usize,
    packed: Packed,
    checksum: Crc,
    /// How many bytes are still to come.
    left: u64,
    finished: bool,
}

enum Packed {
    Stored(Range),
    Deflated(Box<DeflateDecoder<BufReader<Range>>>),
}

impl Contents {
    /// Looks at the header before the bytes. Nothing is unpacked yet.
    pub(super) fn new(archive: &Archive, index: usize) -> Result<Self, ArchiveError> {
        let member = &archive.members()[index];
        let range = archive.range(index)?;
        let packed = if member.stored {
            Packed::Stored(range)
        } else {
            // No larger than needed: most members are classes of a few kilobytes.
            let buffer = usize::try_from(member.packed.clamp(1, BUFFER)).unwrap_or(1);
            Packed::Deflated(Box::new(DeflateDecoder::new(BufReader::with_capacity(buffer, range))))
        };
        let left = member.size;
        Ok(Self { archive: archive.clone(), index, packed, checksum: Crc::new(), left, finished: false })
    }

    fn member(&self) -> &Member {
        &self.archive.members()[self.index]
    }

    /// A fault, unless its cause is that the file has changed.
    fn fault(&self, fault: MemberFault) -> io::Error {
        let error = match self.archive.unchanged() {
            Ok(()) => self.archive.member_error(&self.member().name, fault),
            Err(changed) => changed,
        };
        io::Error::new(io::ErrorKind::InvalidData, error)
    }

    fn unpack(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match &mut self.packed {
            Packed::Stored(range) => range.read(buffer),
            Packed::Deflated(decoder) => decoder.read(buffer),
        };
        read.map_err(|error| match error.kind() {
            io::ErrorKind::Interrupted => error,
            _ => self.fault(MemberFault::Damaged(error)),
        })
    }

    /// All declared bytes are there: they have to be the right ones, and the last.
    fn finish(&mut self) -> io::Result<()> {
        if self.unpack(&mut [0])? > 0 {
            return Err(self.fault(MemberFault::TooLong(self.member().size)));
        }
        if self.checksum.sum() != self.member().checksum {
            return Err(self.fault(MemberFault::Checksum));
        }
        self.archive.unchanged().map_err(|changed| io::Error::new(io::ErrorKind::InvalidData, changed))?;
        self.finished = true;
        Ok(())
    }
}

impl Read for Contents {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.finished || buffer.is_empty() {
            return Ok(0);
        }
        let want = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let mut read = 0;
        if want > 0 {
            read = self.unpack(&mut buffer[..want])?;
            if read == 0 {
                let declared = self.member().size;
                return Err(self.fault(MemberFault::TooShort { declared, found: declared - self.left }));
            }
            self.checksum.update(&buffer[..read]);
            self.left -= read as u64;
        }
        if self.left == 0 {
            self.finish()?;
        }
        Ok(read)
    }
}
