//! Archives written by hand, in which every field can lie.

use std::io::Write;

use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};

/// One member, as it is in the list and before its bytes.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) name: Vec<u8>,
    /// The name before its bytes, where that is another.
    pub(crate) local_name: Option<Vec<u8>>,
    pub(crate) flags: u16,
    pub(crate) method: u16,
    pub(crate) checksum: u32,
    pub(crate) size: u32,
    pub(crate) packed_size: u32,
    pub(crate) packed: Vec<u8>,
    /// Where the list says that it is, where that is wrong.
    pub(crate) offset: Option<u32>,
    /// How much longer the header before its bytes says that the extra field is.
    pub(crate) longer: u16,
    /// Which of the fields before its bytes are others: signature, method, checksum, size.
    pub(crate) local: Local,
}

/// What stands before a member's bytes, where that is not what the list says.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Local {
    pub(crate) signature: Option<u32>,
    pub(crate) flags: Option<u16>,
    pub(crate) method: Option<u16>,
    pub(crate) checksum: Option<u32>,
    pub(crate) size: Option<u32>,
}

pub(crate) fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

pub(crate) fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

impl Entry {
    pub(crate) fn stored(name: impl AsRef<[u8]>, bytes: &[u8]) -> Self {
        let size = u32::try_from(bytes.len()).unwrap();
        Self {
            name: name.as_ref().to_vec(),
            local_name: None,
            flags: 0,
            method: 0,
            checksum: checksum(bytes),
            size,
            packed_size: size,
            packed: bytes.to_vec(),
            offset: None,
            longer: 0,
            local: Local::default(),
        }
    }

    pub(crate) fn deflated(name: impl AsRef<[u8]>, bytes: &[u8]) -> Self {
        let packed = deflate(bytes);
        let packed_size = u32::try_from(packed.len()).unwrap();
        Self { method: 8, packed, packed_size, ..Self::stored(name, bytes) }
    }

    fn header(&self, out: &mut Vec<u8>, local: bool) {
        let Local { flags, method, checksum, size, .. } = if local { self.local } else { Local::default() };
        out.extend(20u16.to_le_bytes());
        out.extend(flags.unwrap_or(self.flags).to_le_bytes());
        out.extend(method.unwrap_or(self.method).to_le_bytes());
        out.extend([0; 4]);
        out.extend(checksum.unwrap_or(self.checksum).to_le_bytes());
        out.extend(self.packed_size.to_le_bytes());
        out.extend(size.unwrap_or(self.size).to_le_bytes());
    }
}

/// An archive's end, in which every field can lie.
#[derive(Debug, Clone, Default)]
pub(crate) struct End {
    pub(crate) part: u16,
    pub(crate) count: Option<u16>,
    pub(crate) directory: Option<u32>,
    pub(crate) comment: Vec<u8>,
}

pub(crate) fn archive(entries: &[Entry]) -> Vec<u8> {
    ended(entries, &End::default())
}

pub(crate) fn ended(entries: &[Entry], end: &End) -> Vec<u8> {
    let (mut out, mut list) = (Vec::new(), Vec::new());
    for entry in entries {
        let offset = entry.offset.unwrap_or_else(|| u32::try_from(out.len()).unwrap());
        let length = u16::try_from(entry.name.len()).unwrap();
        list.extend(b"PK\x01\x02\x14\x00");
        entry.header(&mut list, false);
        list.extend(length.to_le_bytes());
        list.extend([0; 12]); // no extra field, no comment, the first part, no attributes
        list.extend(offset.to_le_bytes());
        list.extend(&entry.name);

        let name = entry.local_name.as_ref().unwrap_or(&entry.name);
        out.extend(entry.local.signature.unwrap_or(0x0403_4b50).to_le_bytes());
        entry.header(&mut out, true);
        out.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
        out.extend(entry.longer.to_le_bytes());
        out.extend(name);
        out.extend(&entry.packed);
    }
    let directory = end.directory.unwrap_or_else(|| u32::try_from(out.len()).unwrap());
    let count = end.count.unwrap_or_else(|| u16::try_from(entries.len()).unwrap());
    out.extend(&list);
    out.extend(b"PK\x05\x06");
    out.extend(end.part.to_le_bytes());
    out.extend(end.part.to_le_bytes());
    out.extend(count.to_le_bytes());
    out.extend(count.to_le_bytes());
    out.extend(u32::try_from(list.len()).unwrap().to_le_bytes());
    out.extend(directory.to_le_bytes());
    out.extend(u16::try_from(end.comment.len()).unwrap().to_le_bytes());
    out.extend(&end.comment);
    out
}
