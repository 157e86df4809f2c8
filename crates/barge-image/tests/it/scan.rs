//! What cannot be part of an image, and says so.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use barge_image::scan::{FoundKind, ScanError, scan};
use nix::sys::stat::Mode;

use crate::support::tree;

/// Prepares a directory with one good file in it, and compares the error's text, the directory's path being DIR.
fn check(prepare: impl FnOnce(&Path), expected: &str) {
    let directory = tree(&[("good", "1"), ("sub/good", "1")]);
    prepare(directory.path());
    let error = scan(directory.path(), &[]).unwrap_err();
    assert_eq!(error.to_string().replace(&directory.path().display().to_string(), "DIR"), expected);
}

#[test]
fn what_cannot_be_packed_is_named() {
    check(|dir| std::fs::remove_dir_all(dir).unwrap(), "DIR does not exist");
    check(
        |dir| {
            std::fs::remove_dir_all(dir).unwrap();
            std::fs::create_dir_all(dir.join("empty/deeper")).unwrap();
        },
        "DIR holds no files",
    );
    check(
        |dir| drop(UnixListener::bind(dir.join("sub/socket")).unwrap()),
        "DIR/sub/socket is a socket, a pipe or a device; only files, directories and links can be part of an image",
    );
    check(
        |dir| nix::unistd::mkfifo(&dir.join("sub/pipe"), Mode::S_IRWXU).unwrap(),
        "DIR/sub/pipe is a socket, a pipe or a device; only files, directories and links can be part of an image",
    );
    check(
        |dir| std::fs::write(dir.join("sub/.wh.good"), "").unwrap(),
        "DIR/sub/.wh.good: in an image, a file whose name begins with .wh. removes another one",
    );
    check(
        |dir| std::fs::write(dir.join(OsStr::from_bytes(b"caf\xe9")), "").unwrap(),
        "\"DIR/caf\\xE9\": the name is not UTF-8",
    );
    let outside = |to: &'static str, at: &'static str| {
        check(
            |dir| symlink(to, dir.join(at)).unwrap(),
            &format!("DIR/{at} is a link to {to}, which lies outside of the built files"),
        );
    };
    outside("/etc/passwd", "link");
    outside("..", "link");
    outside("../x", "link");
    outside("../../x", "sub/link");
    outside("../sub/../../x", "sub/link");
    check(|dir| symlink(OsStr::from_bytes(b"\xe9"), dir.join("link")).unwrap(), "\"\\xE9\": the name is not UTF-8");
}

#[test]
fn a_path_that_is_no_file_and_no_directory_is_refused() {
    let directory = tree(&[("file", "1")]);
    let below = directory.path().join("file/below");
    assert!(matches!(scan(&below, &[]), Err(ScanError::Read { path, .. }) if path == below));
    let socket = directory.path().join("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    assert!(matches!(scan(&socket, &[]), Err(ScanError::Special(path)) if path == socket));
    assert!(
        matches!(scan(Path::new("/dev/null"), &[]), Err(ScanError::Special(path)) if path == Path::new("/dev/null"))
    );
    let missing = directory.path().join("missing");
    assert!(matches!(scan(&missing, &[]), Err(ScanError::Missing(path)) if path == missing));
    let gone = directory.path().join("gone");
    symlink("missing", &gone).unwrap();
    assert!(matches!(scan(&gone, &[]), Err(ScanError::Missing(path)) if path == gone));
    let circle = directory.path().join("circle");
    symlink("circle", &circle).unwrap();
    assert!(matches!(scan(&circle, &[]), Err(ScanError::Read { path, .. }) if path == circle));
}

#[test]
fn a_directory_that_may_not_be_read_is_named() {
    let directory = tree(&[("good", "1"), ("sub/good", "1")]);
    let closed = directory.path().join("sub");
    std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o0)).unwrap();
    // Root may read everything.
    let privileged = std::fs::read_dir(&closed).is_ok();
    let result = scan(directory.path(), &[]);
    std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o755)).unwrap();
    match result {
        Err(ScanError::Read { path, .. }) => assert_eq!(path, closed),
        other => assert!(privileged && other.is_ok(), "{other:?}"),
    }
}

#[test]
fn links_that_stay_inside_are_kept_as_they_are_in_circles_too() {
    let directory = tree(&[("sub/file", "1")]);
    let links =
        [("a", "b"), ("b", "a"), ("sub/up", "../sub/file"), ("self", "self"), ("dir", "sub/"), ("gone", "nowhere")];
    for (at, to) in links {
        symlink(to, directory.path().join(at)).unwrap();
    }
    let found = scan(directory.path(), &[]).unwrap();
    for (at, to) in links {
        let kind = &found.iter().find(|found| found.path == at).unwrap().kind;
        assert_eq!(*kind, FoundKind::Link { target: to.to_owned() });
    }
    assert_eq!(found.len(), links.len() + 2, "nothing is found through a link");
}

#[test]
fn what_is_left_out_is_left_out_by_its_path() {
    let directory = tree(&[("barge.yaml", "1"), ("sub/barge.yaml", "1"), ("target/x", "1"), ("app", "1")]);
    let found = scan(directory.path(), &["barge.yaml", "target"]).unwrap();
    let paths: Vec<_> = found.iter().map(|found| found.path.as_str()).collect();
    assert_eq!(paths, ["app", "sub", "sub/barge.yaml"]);
}

#[test]
fn a_single_file_is_found_under_its_name() {
    let directory = tree(&[("app.jar", "12345")]);
    let found = scan(&directory.path().join("app.jar"), &[]).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].path, "app.jar");
    assert!(matches!(found[0].kind, FoundKind::File { size: 5, executable: false, .. }));
}
