//! The way back to files, and layers that try to leave their place.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use barge_image::layer;
use barge_image::plan;
use barge_image::scan::scan;
use barge_image::unpack::{UnpackError, unpack_app};
use tar::{EntryType, Header};
use tempfile::{NamedTempFile, TempDir};

use crate::support::tree;

/// An entry as an attacker writes it: type, path, link name, content.
type Raw<'a> = (EntryType, &'a str, &'a str, &'a str);

const FILE: EntryType = EntryType::Regular;
const DIRECTORY: EntryType = EntryType::Directory;
const LINK: EntryType = EntryType::Symlink;
const HARD: EntryType = EntryType::Link;

fn file(path: &str) -> Raw<'_> {
    (FILE, path, "", "content")
}

/// A layer of raw entries, not compressed.
fn raw(entries: &[Raw<'_>]) -> NamedTempFile {
    let layer = NamedTempFile::new().unwrap();
    let mut tar = tar::Builder::new(layer.reopen().unwrap());
    for (kind, path, link, content) in entries {
        let mut header = Header::new_ustar();
        // Written by hand, because the crate refuses to write such paths.
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(if *kind == DIRECTORY { 0o755 } else { 0o644 });
        header.set_size(content.len() as u64);
        header.set_cksum();
        tar.append(&header, content.as_bytes()).unwrap();
    }
    tar.finish().unwrap();
    layer
}

/// Unpacks layers one after the other into a directory beside a file that must stay as it is.
fn unpacked(layers: &[&[Raw<'_>]]) -> (TempDir, Result<(), UnpackError>) {
    let outer = tree(&[("outside/secret", "secret")]);
    let target = outer.path().join("instance");
    std::fs::create_dir(&target).unwrap();
    let result = layers.iter().try_for_each(|entries| unpack_app(raw(entries).path(), &target));
    assert_eq!(std::fs::read_to_string(outer.path().join("outside/secret")).unwrap(), "secret");
    let names: Vec<_> = std::fs::read_dir(outer.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "nothing appears beside the directory, and nothing is gone: {names:?}");
    (outer, result)
}

/// Every path below the instance's directory, sorted; directories end with a slash.
fn listed(directory: &Path) -> Vec<String> {
    let mut paths = Vec::new();
    let mut open = vec![directory.join("instance")];
    while let Some(place) = open.pop() {
        for entry in std::fs::read_dir(&place).unwrap() {
            let entry = entry.unwrap();
            let path = entry.path().strip_prefix(directory.join("instance")).unwrap().display().to_string();
            if entry.file_type().unwrap().is_dir() {
                open.push(entry.path());
                paths.push(format!("{path}/"));
            } else {
                paths.push(path);
            }
        }
    }
    paths.sort();
    paths
}

#[test]
fn a_layer_that_leads_out_is_refused() {
    let cases: &[&[Raw<'_>]] = &[
        &[file("app/../../outside/secret")],
        &[file("app/../outside/secret")],
        &[file("/app/../outside/secret")],
        &[(LINK, "app/link", "../outside", ""), file("app/link/secret")],
        &[(LINK, "app/link", "/etc", "")],
        &[(LINK, "app/link", "..", "")],
        &[(LINK, "app/sub/link", "../../x", "")],
        &[(DIRECTORY, "app/sub", "", ""), (LINK, "app/link", "sub", ""), file("app/link/x")],
        &[(HARD, "app/hard", "/etc/hostname", "")],
        &[(HARD, "app/hard", "../outside/secret", "")],
        &[(HARD, "app/hard", "app/../../outside/secret", "")],
        &[(HARD, "app/hard", "outside/secret", "")],
        &[file("app/.wh...")],
        &[file("app/.wh..")],
        &[file("app/.wh.")],
        &[file("app/sub/.wh...")],
        &[(LINK, "app/link", ".", ""), file("app/link/.wh.x")],
        &[(EntryType::Char, "app/device", "", "")],
        &[(EntryType::Fifo, "app/pipe", "", "")],
    ];
    for entries in cases {
        let (_directory, result) = unpacked(&[entries]);
        let refused =
            matches!(result, Err(UnpackError::Outside(_) | UnpackError::LinkOutside { .. } | UnpackError::Special(_)));
        assert!(refused, "{entries:?} gives {result:?}");
    }
}

#[test]
fn what_lies_outside_of_app_is_passed_over() {
    let (directory, result) = unpacked(&[&[
        file("etc/passwd"),
        file("application/x"),
        file("./app/a"),
        file("/app/b"),
        file("app2"),
        file("app/c/d"),
    ]]);
    result.unwrap();
    assert_eq!(listed(directory.path()), ["a", "b", "c/", "c/d"]);
}

fn check_layers(layers: &[&[Raw<'_>]], expected: &[&str]) {
    let (directory, result) = unpacked(layers);
    result.unwrap_or_else(|error| panic!("{layers:?}: {error:?}"));
    assert_eq!(listed(directory.path()), expected, "{layers:?}");
}

#[test]
fn upper_layers_replace_and_remove_what_lower_ones_brought() {
    let lower: &[Raw<'_>] = &[file("app/a"), file("app/d/x"), file("app/d/y"), file("app/d/e/z")];
    check_layers(&[lower, &[file("app/.wh.a"), file("app/d/.wh.x")]], &["d/", "d/e/", "d/e/z", "d/y"]);
    check_layers(&[lower, &[file("app/.wh.d"), file("app/.wh.unknown")]], &["a"]);
    // An opaque directory hides all of the lower layers, and nothing of its own, in whatever order.
    check_layers(&[lower, &[file("app/d/.wh..wh..opq"), file("app/d/new")]], &["a", "d/", "d/new"]);
    check_layers(&[lower, &[file("app/d/e/new"), file("app/d/.wh..wh..opq")]], &["a", "d/", "d/e/", "d/e/new"]);
    check_layers(&[lower, &[file("app/d/x"), file("app/d/.wh.x")]], &["a", "d/", "d/e/", "d/e/z", "d/x", "d/y"]);
    // Kinds may change.
    check_layers(&[lower, &[file("app/d")]], &["a", "d"]);
    check_layers(
        &[lower, &[(DIRECTORY, "app/a", "", ""), file("app/a/b")]],
        &["a/", "a/b", "d/", "d/e/", "d/e/z", "d/x", "d/y"],
    );
    check_layers(&[lower, &[(LINK, "app/d", "a", "")]], &["a", "d"]);
    check_layers(&[&[(LINK, "app/l", "a", "")], &[(DIRECTORY, "app/l", "", ""), file("app/l/x")]], &["l/", "l/x"]);
    check_layers(&[&[(LINK, "app/l", "a", ""), file("app/a")], &[file("app/.wh.l")]], &["a"]);
}

#[test]
fn links_inside_are_links_again() {
    let (directory, result) =
        unpacked(&[&[file("app/sub/a"), (LINK, "app/sub/l", "../sub/a", ""), (HARD, "app/h", "app/sub/a", "")]]);
    result.unwrap();
    let instance = directory.path().join("instance");
    assert_eq!(std::fs::read_link(instance.join("sub/l")).unwrap(), Path::new("../sub/a"));
    assert_eq!(std::fs::read_to_string(instance.join("h")).unwrap(), "content");
}

#[test]
fn what_nobody_may_read_or_write_is_unpacked_all_the_same_and_can_be_removed() {
    // Regular with a slash at its end is a directory in the oldest tars.
    let entries = [
        (DIRECTORY, "app/closed/", 0o555, 0o755),
        (FILE, "app/closed/file", 0o444, 0o444),
        (DIRECTORY, "app/closed/none/", 0o000, 0o700),
        (FILE, "app/closed/none/secret", 0o000, 0o400),
        (FILE, "app/closed/tool", 0o111, 0o511),
        (DIRECTORY, "app/open/", 0o2775, 0o775),
        (FILE, "app/old/", 0o555, 0o755),
        (FILE, "app/old/file", 0o600, 0o600),
    ];
    let layer = NamedTempFile::new().unwrap();
    let mut tar = tar::Builder::new(layer.reopen().unwrap());
    for (kind, path, mode, _) in entries {
        let mut header = Header::new_old();
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(0);
        header.set_cksum();
        tar.append(&header, std::io::empty()).unwrap();
    }
    tar.finish().unwrap();
    let target = tempfile::tempdir().unwrap();
    // The second time, everything is there already.
    for _ in 0..2 {
        unpack_app(layer.path(), target.path()).unwrap();
    }
    for (_, path, _, expected) in entries {
        let path = path.strip_prefix("app/").unwrap();
        let meta = std::fs::metadata(target.path().join(path)).unwrap();
        assert_eq!(meta.permissions().mode() & 0o7777, expected, "{path}");
        assert_eq!(meta.is_dir(), path.ends_with('/'), "{path}");
    }
    target.close().unwrap();
}

#[test]
fn a_built_layer_comes_back_as_it_was() {
    let files = tree(&[("greeter*", "#!/bin/sh\n"), ("sub/data", "1")]);
    symlink("sub/data", files.path().join("link")).unwrap();
    let layer = layer::write(&plan::files(&scan(files.path(), &[]).unwrap())).unwrap();
    let target = tempfile::tempdir().unwrap();
    unpack_app(layer.file.path(), target.path()).unwrap();
    let kinds = |root: &Path| {
        let found = scan(root, &[]).unwrap();
        found.into_iter().map(|found| format!("{found:?}").replace(&root.display().to_string(), "")).collect::<Vec<_>>()
    };
    assert_eq!(kinds(files.path()), kinds(target.path()));
}

#[test]
fn a_damaged_layer_is_refused() {
    let files = tree(&[("greeter*", &"x".repeat(100_000))]);
    let layer = layer::write(&plan::files(&scan(files.path(), &[]).unwrap())).unwrap();
    let bytes = std::fs::read(layer.file.path()).unwrap();
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 0xff;
    for damaged in [
        &bytes[..bytes.len() / 2],
        &flipped,
        b"neither tar nor gzip, but long enough to be read as a header".as_slice(),
    ] {
        let file = NamedTempFile::new().unwrap();
        std::fs::write(file.path(), damaged).unwrap();
        let target = tempfile::tempdir().unwrap();
        let result = unpack_app(file.path(), target.path());
        assert!(matches!(result, Err(UnpackError::Read(..) | UnpackError::Write { .. })), "{result:?}");
    }
}
