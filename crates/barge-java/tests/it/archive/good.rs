//! What is read, and from where.

use std::io::{Read, Write};

use barge_java::Archive;

use super::hand::{self, Entry};
use super::{deflated, on_disk, packed, read, stored};

#[test]
fn members_are_read_whether_stored_or_deflated() {
    let text = b"a line of text\n".repeat(10_000);
    for options in [stored(), deflated()] {
        let file = on_disk(&packed(&[("a/", b""), ("a/text", &text), ("a/nothing", b""), ("b", b"short")], options));
        let archive = Archive::open(&file.path).unwrap();
        let names: Vec<&str> = archive.members().iter().map(|member| member.name.as_str()).collect();
        assert_eq!(names, ["a/", "a/text", "a/nothing", "b"]);
        assert!(archive.members()[0].is_directory() && !archive.members()[1].is_directory());
        assert_eq!(read(&archive, "a/text").unwrap(), text);
        assert_eq!(archive.bytes("a/text", text.len() as u64).unwrap(), text);
        assert_eq!(archive.bytes("a/nothing", 0).unwrap(), b"");
        assert_eq!(archive.bytes("b", 5).unwrap(), b"short");
        let member = archive.member("a/text").unwrap();
        assert_eq!((member.size, member.checksum), (text.len() as u64, hand::checksum(&text)));
        assert_eq!(member.stored, member.packed == member.size);
        assert!(archive.inside("c").is_none() && archive.member("").is_none());
    }
}

#[test]
fn what_may_be_executed_is_known() {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, mode) in [("run", 0o755), ("run.by.owner", 0o744), ("page", 0o644)] {
        writer.start_file(name, deflated().unix_permissions(mode)).unwrap();
    }
    writer.add_directory("directory", deflated()).unwrap();
    let mut bytes = writer.finish().unwrap().into_inner();
    let executable = |bytes: &[u8]| {
        let archive = Archive::open(&on_disk(bytes).path).unwrap();
        archive.members().iter().map(|member| member.executable).collect::<Vec<_>>()
    };
    assert_eq!(executable(&bytes), [true, true, false, false]);
    // From a system without modes, as `jar` says for everything: nothing is.
    for at in 0..bytes.len() - 4 {
        if bytes[at..].starts_with(b"PK\x01\x02") {
            bytes[at + 5] = 0;
        }
    }
    assert_eq!(executable(&bytes), [false; 4]);
}

#[test]
fn sizes_may_stand_behind_the_bytes() {
    let mut writer = zip::ZipWriter::new_stream(Vec::new());
    for name in ["one", "two"] {
        writer.start_file(name, deflated()).unwrap();
        writer.write_all(name.repeat(1000).as_bytes()).unwrap();
    }
    let file = on_disk(writer.finish().unwrap().get_ref());
    let archive = Archive::open(&file.path).unwrap();
    assert_eq!(read(&archive, "two").unwrap(), "two".repeat(1000).as_bytes());
}

#[test]
fn a_script_may_come_before_the_archive() {
    let script = b"#!/bin/sh\nexec java -jar \"$0\"\n".repeat(500);
    let text = b"text".repeat(1000);
    let bytes = packed(&[("one", &text), ("two", b"2")], deflated());
    // Put before it: offsets do not know of it.
    let mut before = script.clone();
    before.extend(&bytes);
    // Written first: offsets count it.
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    writer.set_comment("with a comment at the end").unwrap();
    writer.start_file("one", deflated()).unwrap();
    writer.write_all(&text).unwrap();
    writer.start_file("two", deflated()).unwrap();
    writer.write_all(b"2").unwrap();
    let mut counted = script;
    let start = u32::try_from(counted.len()).unwrap();
    counted.extend(shifted(writer.finish().unwrap().into_inner(), start));
    for bytes in [before, counted] {
        let archive = Archive::open(&on_disk(&bytes).path).unwrap();
        assert_eq!(archive.members().len(), 2);
        assert_eq!(read(&archive, "one").unwrap(), text);
        assert_eq!(read(&archive, "two").unwrap(), b"2");
    }
}

/// Adds `by` to all offsets of an archive.
fn shifted(mut bytes: Vec<u8>, by: u32) -> Vec<u8> {
    for at in 0..bytes.len() - 4 {
        let offset = match &bytes[at..at + 4] {
            b"PK\x01\x02" => at + 42,
            b"PK\x05\x06" => at + 16,
            _ => continue,
        };
        let field: &mut [u8; 4] = (&mut bytes[offset..offset + 4]).try_into().unwrap();
        *field = (u32::from_le_bytes(*field) + by).to_le_bytes();
    }
    bytes
}

#[test]
fn more_members_than_sixteen_bits_count() {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for number in 0..70_000 {
        writer.start_file(format!("members/{number}"), stored()).unwrap();
        if number % 10_000 == 0 {
            writer.write_all(number.to_string().as_bytes()).unwrap();
        }
    }
    let archive = Archive::open(&on_disk(&writer.finish().unwrap().into_inner()).path).unwrap();
    assert_eq!(archive.members().len(), 70_000);
    assert_eq!(read(&archive, "members/60000").unwrap(), b"60000");
    assert_eq!(read(&archive, "members/69999").unwrap(), b"");
}

#[test]
fn sizes_may_have_sixty_four_bits() {
    let text = b"text".repeat(1000);
    let bytes = packed(&[("one", &text), ("two", b"2")], deflated().large_file(true));
    let archive = Archive::open(&on_disk(&bytes).path).unwrap();
    assert_eq!(read(&archive, "one").unwrap(), text);
}

#[test]
fn threads_read_at_the_same_time() {
    let members: Vec<(String, Vec<u8>)> =
        (0..64u32).map(|number| (format!("member{number}"), number.to_le_bytes().repeat(20_000))).collect();
    let borrowed: Vec<(&str, &[u8])> = members.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    let file = on_disk(&packed(&borrowed, deflated()));
    let archive = Archive::open(&file.path).unwrap();
    // What was opened needs the archive no more, nor the name of its file.
    let open: Vec<_> = members.iter().map(|(name, _)| archive.inside(name).unwrap().open().unwrap()).collect();
    drop((archive, file));
    std::thread::scope(|scope| {
        for (mut reader, (name, expected)) in open.into_iter().zip(&members) {
            scope.spawn(move || {
                let mut bytes = Vec::new();
                reader.read_to_end(&mut bytes).unwrap();
                assert!(bytes == *expected, "{name}");
            });
        }
    });
}

#[test]
fn an_archive_inside_of_another_is_read_like_one() {
    // Larger than what is held in memory, and it cannot be packed much.
    let noise: Vec<u8> = (0u32..100_000).flat_map(|number| number.wrapping_mul(0x9e37_79b9).to_le_bytes()).collect();
    let innermost = packed(&[("deep", b"deep")], deflated());
    let members: [(&str, &[u8]); 3] =
        [("META-INF/MANIFEST.MF", b"Main-Class: a.B"), ("noise", &noise), ("in.jar", &innermost)];
    let (small, large) = (packed(&members[..1], deflated()), packed(&members, stored()));
    for options in [stored(), deflated()] {
        let file = on_disk(&packed(&[("lib/small.jar", &small), ("lib/large.jar", &large)], options));
        let outer = Archive::open(&file.path).unwrap();
        for name in ["lib/small.jar", "lib/large.jar"] {
            let inner = outer.open_inside(name).unwrap();
            assert_eq!(inner.bytes("META-INF/MANIFEST.MF", 100).unwrap(), b"Main-Class: a.B");
            assert_eq!(inner.label(), format!("{}!/{name}", file.path.display()));
            let mut raw = Vec::new();
            inner.raw().read_to_end(&mut raw).unwrap();
            assert!(raw == if name.contains("small") { &small[..] } else { &large[..] });
            assert_eq!(inner.length(), raw.len() as u64);
        }
        let inner = outer.open_inside("lib/large.jar").unwrap();
        let content = inner.inside("noise").unwrap();
        assert_eq!((content.archive(), content.member()), (file.path.as_path(), "lib/large.jar!/noise"));
        assert!(read(&inner, "noise").unwrap() == noise);
        let innermost = inner.open_inside("in.jar").unwrap();
        assert_eq!(innermost.bytes("deep", 4).unwrap(), b"deep");
        assert_eq!(innermost.label(), format!("{}!/lib/large.jar!/in.jar", file.path.display()));
    }
}

#[test]
fn of_members_with_one_name_the_last_counts_as_for_java() {
    // Seen with java.util.zip.ZipFile of JDK 17: getEntry() finds the last of the list.
    let bytes = hand::archive(&[
        Entry::stored("a/", b""),
        Entry::stored("a/twice", b"first"),
        Entry::stored("once", b"1"),
        Entry::stored("a/", b""),
        Entry::stored("a/twice", b"second"),
        Entry::stored("a/twice", b"third"),
    ]);
    let archive = Archive::open(&on_disk(&bytes).path).unwrap();
    let names: Vec<&str> = archive.members().iter().map(|member| member.name.as_str()).collect();
    assert_eq!(names, ["once", "a/", "a/twice"]);
    assert_eq!(read(&archive, "a/twice").unwrap(), b"third");
    assert_eq!(archive.hidden(), ["a/twice"], "directories may be there as often as they like");
}

#[test]
fn names_differ_by_case_and_may_have_any_letters() {
    let names = ["Readme", "README", "a b", "grün/日本.txt", "ab:c", "...", "x/.hidden", "C", "~"];
    let members: Vec<Entry> = names.iter().map(|name| Entry::stored(name, name.as_bytes())).collect();
    let archive = Archive::open(&on_disk(&hand::archive(&members)).path).unwrap();
    for name in names {
        assert_eq!(read(&archive, name).unwrap(), name.as_bytes());
    }
}

#[test]
fn a_library_may_have_members_that_could_not_be_unpacked() {
    let mut encrypted = Entry::stored("encrypted", b"x");
    encrypted.flags = 1;
    let members = [Entry::stored("../up", b"x"), Entry::stored("META-INF/MANIFEST.MF", b"Main-Class: a.B"), encrypted];
    let bytes = hand::archive(&[&members[..], &[Entry::stored("a", b"x"), Entry::stored("a/b", b"y")]].concat());
    let outer = on_disk(&packed(&[("lib/odd.jar", &bytes)], stored()));
    let odd = on_disk(&bytes);
    assert!(Archive::open(&odd.path).is_err());
    for library in [
        Archive::open_library(&odd.path).unwrap(),
        Archive::open(&outer.path).unwrap().open_inside("lib/odd.jar").unwrap(),
    ] {
        let names: Vec<&str> = library.members().iter().map(|member| member.name.as_str()).collect();
        assert_eq!(names, ["META-INF/MANIFEST.MF", "a", "a/b"]);
        assert_eq!(library.bytes("META-INF/MANIFEST.MF", 100).unwrap(), b"Main-Class: a.B");
    }
}

#[test]
fn an_archive_may_be_without_members() {
    assert!(Archive::open(&on_disk(&hand::archive(&[])).path).unwrap().members().is_empty());
}
