//! Any bytes in the place of an archive: nothing panics, nothing is waited for, and nothing is read that was not declared.

use std::io::Read;

use barge_java::Archive;
use barge_testkit::fuzz::{damaged, fuzz};
use proptest::prelude::*;

use super::hand::{self, Entry};
use super::{deflated, on_disk, packed, stored};

/// So many cases are looked at in every run.
const CASES: u32 = 256;
/// What an archive is made of.
const WORDS: [&str; 8] =
    ["PK\x01\x02", "PK\x03\x04", "PK\x05\x06", "PK\x06\x06", "PK\x06\x07", "PK\x07\x08", "../", "\x01\x00\x18\x00"];

/// Reads all there is. What a member yields before it ends or fails is never more than it declares.
fn look(archive: &Archive, depth: u32) -> Result<(), TestCaseError> {
    let mut buffer = vec![0; 4096];
    for member in archive.members() {
        prop_assert!(!member.name.starts_with('/') && !member.name.split('/').any(|part| part == ".."));
        let Ok(mut reader) = archive.inside(&member.name).unwrap().open() else { continue };
        let mut read = 0;
        let whole = loop {
            match reader.read(&mut buffer) {
                Ok(0) => break true,
                Ok(count) => read += count as u64,
                Err(error) => {
                    prop_assert!(error.get_ref().is_some(), "{error} names nothing");
                    break false;
                }
            }
        };
        prop_assert!(read <= member.size && (!whole || read == member.size), "{read} of {}", member.size);
        let bytes = archive.bytes(&member.name, 1 << 20);
        prop_assert_eq!(bytes.is_ok(), whole && member.size <= 1 << 20);
        if depth > 0 {
            archive.open_inside(&member.name).map_or(Ok(()), |inner| look(&inner, depth - 1))?;
        }
    }
    Ok(())
}

fn open(bytes: &[u8]) -> Result<(), TestCaseError> {
    let file = on_disk(bytes);
    for opened in [Archive::open(&file.path), Archive::open_library(&file.path)] {
        opened.map_or(Ok(()), |archive| look(&archive, 2))?;
    }
    Ok(())
}

fn good() -> Vec<Vec<u8>> {
    let text = b"a line of text\n".repeat(20);
    let inner =
        packed(&[("META-INF/", b""), ("META-INF/MANIFEST.MF", b"Main-Class: a.B"), ("text", &text)], deflated());
    let members: [(&str, &[u8]); 3] = [("a/text", &text), ("lib/in.jar", &inner), ("empty", b"")];
    let mut streamed = zip::ZipWriter::new_stream(Vec::new());
    for (name, bytes) in &members[..2] {
        streamed.start_file(*name, deflated()).unwrap();
        std::io::Write::write_all(&mut streamed, bytes).unwrap();
    }
    let mut before = b"#!/bin/sh\n".repeat(20);
    before.extend(packed(&members, stored()));
    vec![
        packed(&members, stored()),
        packed(&members, deflated()),
        packed(&members, deflated().large_file(true)),
        streamed.finish().unwrap().into_inner(),
        before,
        hand::archive(&[Entry::stored("twice", b"1"), Entry::deflated("twice", b"2")]),
    ]
}

#[test]
fn no_bytes_in_the_place_of_an_archive_do_any_harm() {
    let good: Vec<_> = good().into_iter().map(|bytes| damaged(bytes, &WORDS).boxed()).collect();
    fuzz(CASES, &proptest::strategy::Union::new(good), |bytes| open(&bytes));
}

#[test]
fn no_field_of_an_archive_does_any_harm() {
    let field = prop_oneof![any::<u32>(), 0u32..300, Just(u32::MAX), Just(0xffff), Just(0x7fff_ffff)];
    let places = prop::collection::vec((0usize..60, field, 1usize..5), 1..4);
    fuzz(CASES, &(prop::sample::select(good()), places, any::<prop::sample::Index>()), |(mut bytes, fields, which)| {
        // Close behind one of the signatures, where each bit has a meaning.
        let headers: Vec<usize> = (0..bytes.len() - 4).filter(|at| bytes[*at..].starts_with(b"PK")).collect();
        let start = *which.get(&headers);
        for (offset, value, length) in fields {
            let at = (start + 4 + offset).min(bytes.len() - length);
            bytes[at..at + length.min(4)].copy_from_slice(&value.to_le_bytes()[..length.min(4)]);
        }
        open(&bytes)
    });
}
