//! Archives that are damaged or made to do harm: each is an error that names it, the member and the fault.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use barge_java::Archive;

use super::hand::{self, End, Entry, Local, archive, deflate, ended};
use super::{chain, deflated, on_disk, packed, read, stored};

/// What is said of it when it is opened.
fn refused(bytes: &[u8]) -> String {
    let file = on_disk(bytes);
    let said = chain(&Archive::open(&file.path).unwrap_err());
    said.replace(file.path.to_str().unwrap(), "shop.jar")
}

/// What is said of a member when it is read; the archive itself is good.
fn unreadable(bytes: &[u8], member: &str) -> String {
    let file = on_disk(bytes);
    let archive = Archive::open(&file.path).unwrap();
    let (in_image, whole) = (read(&archive, member).unwrap_err(), archive.bytes(member, u64::MAX).unwrap_err());
    assert_eq!(chain(in_image.get_ref().unwrap()), chain(&whole), "both ways say the same");
    assert_eq!(in_image.to_string(), whole.to_string());
    chain(&whole).replace(file.path.to_str().unwrap(), "shop.jar")
}

fn good() -> Vec<u8> {
    packed(&[("one", b"the first member"), ("two", &b"the second member".repeat(100))], deflated())
}

#[test]
fn what_is_no_archive() {
    assert_eq!(refused(b""), "shop.jar is no archive that can be used: the file is empty; build it again");
    let no_zip = "shop.jar is no archive that can be used: it is no zip archive, which jars and wars are";
    for bytes in [&b"PK"[..], b"<html>404</html>", &[0; 100_000], &b"\x1f\x8b\x08".repeat(1000)] {
        assert_eq!(refused(bytes), no_zip);
    }
    // A class in the place of a jar.
    assert_eq!(refused(b"\xca\xfe\xba\xbe\0\0\0\x3d"), no_zip);
}

#[test]
fn an_archive_that_ends_early() {
    let good = good();
    let cut = "shop.jar is no archive that can be used: its end is missing, as if it was still being written or the disk was full; \
               build it again";
    for length in [30, good.len() / 2, good.len() - 22] {
        assert_eq!(refused(&good[..length]), cut);
    }
    assert!(
        refused(&good[..good.len() - 1]).contains("its list of members is damaged"),
        "{}",
        refused(&good[..good.len() - 1])
    );
}

#[test]
fn a_list_of_members_that_lies() {
    let entries = [Entry::stored("one", b"1"), Entry::stored("two", b"2")];
    let count = |count| ended(&entries, &End { count: Some(count), ..End::default() });
    assert!(refused(&count(3)).ends_with("its list of members should have 3 and has 2; build it again"));
    assert!(refused(&count(1)).ends_with("its list of members should have 1 and has 2; build it again"));
    let directory = |directory| ended(&entries, &End { directory: Some(directory), ..End::default() });
    assert!(refused(&directory(u32::MAX - 1)).contains("damaged"), "{}", refused(&directory(u32::MAX - 1)));
    let part = ended(&entries, &End { part: 1, ..End::default() });
    assert!(refused(&part).ends_with("it is one of several parts of an archive, which Java cannot read either"));
    let mut middle = archive(&entries);
    let second = middle.windows(4).rposition(|bytes| bytes == b"PK\x01\x02").unwrap();
    middle[second] = b'X';
    assert!(refused(&middle).contains("its list of members"), "{}", refused(&middle));
}

#[test]
fn names_that_lead_elsewhere() {
    let cases: [(&[u8], &str); 16] = [
        (b"../up", "it holds the part .."),
        (b"a/../../up", "it holds the part .."),
        (b"a/..", "it holds the part .."),
        (b"../", "it holds the part .."),
        (b"./a", "it holds the part ."),
        (b"/etc/passwd", "it is absolute"),
        (b"a//b", "it holds //"),
        (b"a//", "it holds //"),
        (b"/", "it is empty"),
        (b"", "it is empty"),
        (b"..\\up", "it holds a backslash"),
        (b"C:/windows", "it begins with a drive"),
        (b"c:up", "it begins with a drive"),
        (b"a\0b", "it holds a zero byte"),
        (b"a\nb", "it holds a control character"),
        (b"caf\xe9", "it is not UTF-8"),
    ];
    for (name, why) in cases {
        let said = refused(&archive(&[Entry::stored("good", b"x"), Entry::stored(name, b"x")]));
        let shown = String::from_utf8_lossy(name);
        let expected = format!("{shown:?} in shop.jar cannot be used: its name cannot be the path of a file: {why}");
        assert_eq!(said, expected);
    }
    let long = |length: usize| refused(&archive(&[Entry::stored("a".repeat(length), b"x")]));
    assert!(long(256).ends_with("one of its parts is too long"));
    assert!(long(4000).ends_with("it is too long"));
}

#[test]
fn a_file_where_a_directory_has_to_be() {
    for (file, other) in [("a", "a/b"), ("a", "a/"), ("x/a", "x/a/b/c")] {
        // Names that sort between the two do not hide it.
        let members = [file, "a-b", "x/a-b", other].map(|name| Entry::stored(name, b""));
        assert_eq!(
            refused(&archive(&members)),
            format!(
                "{file:?} in shop.jar cannot be used: it is a file, and other members are in a directory of that name"
            )
        );
    }
}

#[test]
fn what_java_cannot_read_either() {
    let mut encrypted = Entry::deflated("secret", b"x");
    encrypted.flags = 1;
    assert_eq!(
        refused(&archive(&[encrypted])),
        "\"secret\" in shop.jar cannot be used: it is encrypted; Java cannot read it either"
    );
    for method in [9, 12, 14, 93, 95, 99, 65535] {
        let mut odd = Entry::stored("odd", b"x");
        odd.method = method;
        let expected = format!("it is packed with method {method}; Java knows only stored (0) and deflated (8)");
        assert!(refused(&archive(&[odd])).ends_with(&expected));
    }
}

#[test]
fn a_member_that_declares_what_it_cannot_hold() {
    let mut bomb = Entry::deflated("bomb", b"x");
    bomb.size = 1 << 30;
    assert!(refused(&archive(&[bomb])).ends_with("3 bytes cannot unpack to the 1073741824 that are declared"));
    let mut short = Entry::stored("short", b"x");
    short.size = 2;
    assert!(refused(&archive(&[short])).ends_with("1 bytes cannot unpack to the 2 that are declared"));
}

#[test]
fn a_bomb_that_declares_itself() {
    // Members of 64 MiB of zeroes, each packed to a thousandth.
    let zeroes = deflate(&vec![0; 64 << 20]);
    let member = |number: usize| {
        let mut entry = Entry::stored(format!("{number}"), &zeroes);
        (entry.method, entry.size) = (8, 64 << 20);
        entry
    };
    let members: Vec<Entry> = (0..17).map(member).collect();
    assert!(
        Archive::open(&on_disk(&archive(&members[..16])).path).is_ok(),
        "a gibibyte is nothing out of the ordinary"
    );
    let said = refused(&archive(&members));
    assert!(said.ends_with("bytes unpack to 1140850688, which only archives do that are made to fill disks"), "{said}");
    // Larger than any program, at however low a ratio: each declares nearly four gibibytes.
    let mut large = Entry::stored("0", &zeroes[..5000]);
    (large.method, large.size) = (8, 5000 * 1000);
    let many: Vec<Entry> = (0..1800).map(|number| Entry { name: number.to_string().into(), ..large.clone() }).collect();
    let said = refused(&archive(&many));
    assert!(said.ends_with("it unpacks to more than 8589934592 bytes; no program is that large"), "{said}");
}

#[test]
fn a_bomb_of_members_that_share_their_bytes() {
    let zeroes = vec![0; 1 << 20];
    let mut shared = Entry::deflated("two", &zeroes);
    shared.offset = Some(0);
    shared.packed = Vec::new();
    let said = refused(&archive(&[Entry::deflated("one", &zeroes), shared]));
    assert!(
        said.ends_with("its bytes are those of another member too, which only archives do that are made to fill disks"),
        "{said}"
    );
    // One whose bytes run into the next one's.
    let mut long = Entry::stored("one", b"12345");
    (long.size, long.packed_size) = (60, 60);
    assert!(refused(&archive(&[long, Entry::stored("two", &[0; 100])])).contains("its bytes are those of another"));
    // One that begins in the middle of another, or in the list of members.
    for offset in [30, 90, u32::MAX - 1] {
        let mut lost = Entry::stored("two", &[0; 40]);
        lost.offset = Some(offset);
        assert!(refused(&archive(&[Entry::stored("one", &[0; 40]), lost])).contains("its bytes are those of another"));
    }
    // The same, hidden in the length of a field that the list does not know of.
    let mut hidden = Entry::stored("one", b"12345");
    hidden.longer = 40;
    let said = unreadable(&archive(&[hidden, Entry::stored("two", &[0; 100])]), "one");
    assert!(said.ends_with("its bytes do not fit between those of others; build the archive again"), "{said}");
}

#[test]
fn a_bomb_that_does_not_declare_itself() {
    let packed = deflate(&vec![0; 256 << 20]);
    let mut bomb = Entry::stored("bomb", &packed);
    (bomb.method, bomb.size) = (8, 10);
    let began = Instant::now();
    let said = unreadable(&archive(&[bomb]), "bomb");
    assert_eq!(said, "\"bomb\" in shop.jar cannot be used: it unpacks to more than the 10 bytes that it declares");
    assert!(began.elapsed() < Duration::from_secs(5), "no more is unpacked than is declared");
}

#[test]
fn members_with_less_or_other_bytes_than_declared() {
    let text = b"some text that is packed".repeat(10);
    let mut short = Entry::deflated("text", &text);
    short.size += 1;
    let said = unreadable(&archive(&[short]), "text");
    assert!(said.ends_with("it declares 241 bytes and has 240; build the archive again"), "{said}");

    let mut wrong = Entry::deflated("text", &text);
    wrong.checksum ^= 1;
    assert!(unreadable(&archive(&[wrong]), "text").ends_with("its checksum is wrong; build the archive again"));

    let mut other = Entry::stored("text", &text);
    other.packed[7] ^= 1;
    assert!(unreadable(&archive(&[other]), "text").ends_with("its checksum is wrong; build the archive again"));

    let mut damaged = Entry::deflated("text", &text);
    damaged.packed[0] = 0xff;
    assert!(unreadable(&archive(&[damaged]), "text").contains("its bytes are damaged; build the archive again: "));

    let mut nothing = Entry::stored("nothing", b"");
    nothing.checksum = 1;
    assert!(unreadable(&archive(&[nothing]), "nothing").contains("its checksum is wrong"));
}

#[test]
fn a_header_that_contradicts_the_list() {
    let said = |change: fn(&mut Entry)| {
        let mut entry = Entry::deflated("text", b"some text");
        change(&mut entry);
        unreadable(&archive(&[Entry::stored("first", b"1"), entry]), "text")
    };
    let contradicts = |why| {
        format!(
            "\"text\" in shop.jar cannot be used: what stands before its bytes contradicts the list of members: {why}"
        )
    };
    assert_eq!(said(|entry| entry.local_name = Some(b"../up".to_vec())), contradicts("another name"));
    assert_eq!(said(|entry| entry.local.method = Some(0)), contradicts("packed in another way"));
    assert_eq!(said(|entry| entry.local.flags = Some(1)), contradicts("encrypted"));
    assert_eq!(said(|entry| entry.local.size = Some(10)), contradicts("another size"));
    assert_eq!(said(|entry| entry.local.checksum = Some(10)), contradicts("another checksum"));
    let nowhere = "its bytes are not where the list of members says; build the archive again";
    assert!(said(|entry| entry.local.signature = Some(0)).contains(nowhere));
    // A field too long for a first look is no fault in itself.
    let mut long = Entry::stored("text", &[0; 1000]);
    long.local = Local::default();
    long.longer = 600;
    (long.size, long.packed_size, long.checksum) = (400, 400, hand::checksum(&[0; 400]));
    let file = on_disk(&archive(&[long]));
    assert_eq!(read(&Archive::open(&file.path).unwrap(), "text").unwrap(), [0; 400]);
}

#[test]
fn a_member_that_is_not_there_or_too_large() {
    let file = on_disk(&good());
    let archive = Archive::open(&file.path).unwrap();
    let said = |error: &dyn std::error::Error| chain(error).replace(file.path.to_str().unwrap(), "shop.jar");
    let missing = "\"three\" in shop.jar cannot be used: there is no such member";
    assert_eq!(said(&archive.bytes("three", 10).unwrap_err()), missing);
    assert_eq!(said(&archive.open_inside("three").unwrap_err()), missing);
    let large = "\"two\" in shop.jar cannot be used: it has 1700 bytes; at most 1699 are expected there";
    assert_eq!(said(&archive.bytes("two", 1699).unwrap_err()), large);
}

#[test]
fn an_archive_inside_that_is_none() {
    for options in [stored(), deflated()] {
        let cut = packed(&[("x", &b"text".repeat(100))], stored());
        let file = on_disk(&packed(&[("lib/no.jar", b"text"), ("lib/cut.jar", &cut[..cut.len() - 22])], options));
        let archive = Archive::open(&file.path).unwrap();
        let said = |name: &str| {
            chain(&archive.open_inside(name).unwrap_err()).replace(file.path.to_str().unwrap(), "shop.jar")
        };
        assert_eq!(
            said("lib/no.jar"),
            "shop.jar!/lib/no.jar is no archive that can be used: it is no zip archive, which jars and wars are"
        );
        assert!(
            said("lib/cut.jar").starts_with("shop.jar!/lib/cut.jar is no archive that can be used: its end is missing")
        );
    }
    // Damage in the packed bytes is found while it is unpacked, before anything in it is believed.
    let inner = packed(&[("x", &b"text".repeat(100_000))], stored());
    let mut member = Entry::deflated("lib/in.jar", &inner);
    member.checksum ^= 1;
    let file = on_disk(&archive(&[member]));
    let said = chain(&Archive::open(&file.path).unwrap().open_inside("lib/in.jar").unwrap_err());
    assert!(said.contains("\"lib/in.jar\"") && said.contains("its checksum is wrong"), "{said}");
}

#[test]
fn an_archive_that_is_written_while_it_is_read() {
    let text: Vec<u8> = (0u32..500_000).flat_map(|number| number.wrapping_mul(0x9e37_79b9).to_le_bytes()).collect();
    let bytes = packed(&[("one", b"1"), ("text", &text)], stored());
    let changed = "shop.jar is no archive that can be used: it has changed while it was read; wait for whatever builds it, then try again";

    let changes: [fn(&mut std::fs::File); 3] = [
        // The same bytes once more, of the same size.
        |file| file.write_all(b"PK\x03\x04").unwrap(),
        // Built again from the start, half of it so far.
        |file| file.set_len(1_000_000).unwrap(),
        |file| file.set_len(0).unwrap(),
    ];
    for change in changes {
        let file = on_disk(&bytes);
        let said = |error: &dyn std::error::Error| chain(error).replace(file.path.to_str().unwrap(), "shop.jar");
        let archive = Archive::open(&file.path).unwrap();
        let mut reader = archive.inside("text").unwrap().open().unwrap();
        reader.read_exact(&mut [0; 1000]).unwrap();
        // The clock of a file system stands still for some milliseconds.
        let opened = std::fs::metadata(&file.path).unwrap().modified().unwrap();
        let mut writer = std::fs::OpenOptions::new().write(true).open(&file.path).unwrap();
        let end = Instant::now() + Duration::from_secs(5);
        while Instant::now() < end {
            change(&mut writer);
            if writer.metadata().unwrap().modified().unwrap() != opened {
                break;
            }
        }
        let error = reader.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(said(error.get_ref().unwrap()), changed);
        assert_eq!(said(&archive.bytes("one", 10).unwrap_err()), changed);
    }
}

#[test]
fn another_file_of_the_same_name_is_not_read_instead() {
    let file = on_disk(&good());
    let archive = Archive::open(&file.path).unwrap();
    let new = file.directory.path().join("new");
    std::fs::write(&new, b"something else").unwrap();
    std::fs::rename(&new, &file.path).unwrap();
    assert_eq!(archive.bytes("one", 100).unwrap(), b"the first member");
}

#[test]
fn what_is_no_file_is_not_waited_for() {
    let file = on_disk(&good());
    let pipe = file.directory.path().join("pipe.jar");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    for path in [&pipe, file.directory.path()] as [&std::path::Path; 2] {
        let said = chain(&Archive::open(path).unwrap_err());
        assert_eq!(said, format!("{} is no archive that can be used: it is no regular file", path.display()));
    }
    let missing = file.directory.path().join("missing.jar");
    let said = chain(&Archive::open(&missing).unwrap_err());
    assert_eq!(said, format!("read {}: No such file or directory (os error 2)", missing.display()));
}
