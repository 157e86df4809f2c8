//! What people give by mistake, or somebody by intent: each is refused with an exit code and a text that names it, and changes nothing.

use std::ffi::OsStr;
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use crate::fake::Fake;
use crate::support::{Place, names};

const MEGABYTE: u64 = 1024 * 1024;

/// Maps, each of which holds the one before it three times.
fn laughs() -> String {
    let mut text = "name: greeter\nkind: web\nenvironments:\n  e0: {env: &m0 {A: 1}}\n".to_owned();
    for number in 1..40 {
        let before = number - 1;
        writeln!(text, "  e{number}: {{env: &m{number} {{<<: [*m{before}, *m{before}, *m{before}], B{number}: 1}}}}")
            .unwrap();
    }
    text
}

#[test]
fn a_barge_yaml_that_nobody_can_have_meant_is_refused_and_nothing_is_released() {
    let fake = Fake::with_greeter();
    let rows: [(&str, Vec<u8>, &str, &str); 6] = [
        ("10 MB", vec![b'a'; 10 << 20], " has 10485760 bytes; at most 262144 are read", ""),
        ("tabs", b"name: greeter\n\tkind: web\n".to_vec(), ":1:7: a tab stands where", "indent with spaces"),
        ("laughs", laughs().into_bytes(), ":", ""),
        ("empty", Vec::new(), " is empty; the least it needs is `name: my-service` and `kind: web`", ""),
        ("comments alone", b"# nothing\n\n".to_vec(), " is empty; the least it needs", ""),
        ("not text", b"name: \xff\n".to_vec(), " is not UTF-8 text: byte 6 does not fit", ""),
    ];
    for (what, bytes, expected, hint) in rows {
        let place = Place::with(&fake);
        let path = place.project().join("barge.yaml");
        std::fs::write(&path, &bytes).unwrap();
        let run = place.run("deploy");
        assert_eq!(run.code, 2, "{what}: {}", run.told());
        assert!(run.err.starts_with(&format!("error: PROJECT/barge.yaml{expected}")), "{what}: {}", run.err);
        assert!(run.err.contains(hint), "{what}: {}", run.err);
        assert!(run.err.lines().count() <= 2, "{what}: an error and a hint: {}", run.err);
        let json = place.run("deploy --json").json();
        assert_eq!((&json["error"]["code"], &json["error"]["exit_code"]), (&"usage".into(), &2.into()), "{what}");
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "{what}: the file stays as it is");
        assert_eq!(names(&place.project()), ["barge.yaml", "dist"], "{what}");
    }
    assert!(fake.seen().is_empty(), "nothing was released");
    let place = Place::with(&fake);
    place.write("barge.yaml", &laughs());
    let run = place.run("deploy");
    assert!(run.err.contains("with its aliases written out the file is too large"), "{}", run.err);
}

#[test]
fn a_barge_yaml_without_end_is_not_read_to_its_end() {
    let fake = Fake::with_greeter();
    let place = Place::with(&fake);
    // It takes no room on the disk, and more than there is of memory.
    let file = std::fs::File::create(place.project().join("barge.yaml")).unwrap();
    file.set_len(1 << 42).unwrap();
    let run = place.run("deploy");
    assert_eq!(run.code, 2, "{}", run.told());
    assert!(run.err.contains("barge.yaml has 4398046511104 bytes; at most 262144 are read"), "{}", run.err);
    let run = place.run("status");
    assert_eq!(run.code, 2, "{}", run.told());
    assert!(fake.seen().is_empty());
}

#[test]
fn a_name_that_is_none_is_refused_wherever_it_is_given() {
    let fake = Fake::with_greeter();
    let long = "a".repeat(300);
    let letters = "only lower-case letters a-z, digits and '-' are allowed";
    for (name, why) in [
        ("..", letters),
        ("../../etc", letters),
        ("a/b", letters),
        ("Greeter", letters),
        ("李", letters),
        (long.as_str(), "it is longer than 40 characters"),
    ] {
        let place = Place::with(&fake);
        place.write("barge.yaml", &format!("name: \"{name}\"\nkind: web\n"));
        let run = place.run("deploy");
        assert_eq!(run.code, 2, "{name}: {}", run.told());
        assert!(run.err.starts_with("error: PROJECT/barge.yaml:1:7: service name "), "{name}: {}", run.err);
        assert!(run.err.contains(why), "{name}: {}", run.err);

        let place = Place::with(&fake);
        for words in [["status", "-m", name], ["rollback", "-m", name], ["status", "-e", name], ["init", "-m", name]] {
            let run = place.finish(&mut place.command(&words));
            assert_eq!(run.code, 2, "{words:?}: {}", run.told());
            assert!(run.err.contains(why), "{words:?}: {}", run.err);
        }
        // Ids and numbers are looked for among those that there are, and go nowhere else.
        for (words, missing) in [
            (["approve", name], "greeter in test has no release "),
            (["abort", name], "greeter in test has no release "),
            (["logs", &format!("--instance={name}")], "greeter in test has no instance "),
        ] {
            let run = place.finish(&mut place.command(&words));
            assert_eq!(run.code, 4, "{words:?}: {}", run.told());
            assert!(run.err.contains(missing), "{words:?}: {}", run.err);
        }
        assert_eq!(names(&place.project()), ["barge.yaml", "dist"], "{name}");
    }
    assert!(fake.seen().is_empty(), "nothing was changed");
}

/// Prepares built files that cannot be an image, and looks at the exit code and the text.
fn check_files(fake: &Fake, prepare: impl FnOnce(&Path), expected: &str) {
    let place = Place::with(fake);
    place.write("barge.yaml", "name: greeter\nkind: web\nbuild: {path: dist}\n");
    prepare(&place.project().join("dist"));
    let run = place.run("deploy");
    assert_eq!(run.code, 2, "{expected}: {}", run.told());
    assert!(run.err.contains(&format!("look at the built files of greeter: {expected}\n")), "{}", run.told());
    assert!(run.err.contains("\nhint: build the project first, or name its built files in barge.yaml"), "{}", run.err);
}

#[test]
fn built_files_that_cannot_be_an_image_are_named_and_nothing_is_released() {
    let fake = Fake::with_greeter();
    check_files(&fake, |dist| std::fs::remove_dir_all(dist).unwrap(), "PROJECT/dist does not exist");
    check_files(&fake, |dist| std::fs::remove_file(dist.join("greeter")).unwrap(), "PROJECT/dist holds no files");
    check_files(
        &fake,
        |dist| symlink("../../secret", dist.join("link")).unwrap(),
        "PROJECT/dist/link is a link to ../../secret, which lies outside of the built files",
    );
    check_files(
        &fake,
        |dist| symlink("/etc/passwd", dist.join("link")).unwrap(),
        "PROJECT/dist/link is a link to /etc/passwd, which lies outside of the built files",
    );
    check_files(
        &fake,
        |dist| drop(UnixListener::bind(dist.join("socket")).unwrap()),
        "PROJECT/dist/socket is a socket, a pipe or a device; only files, directories and links can be part of an image",
    );
    check_files(
        &fake,
        |dist| std::fs::write(dist.join(OsStr::from_bytes(b"caf\xe9")), "x").unwrap(),
        "\"PROJECT/dist/caf\\xE9\": the name is not UTF-8",
    );
    assert!(fake.seen().is_empty(), "nothing was released");
}

/// `barge build --digest` as somebody who is not root. Nothing, said aloud, where nobody else may be.
fn build_unprivileged(place: &Place) -> Option<Command> {
    if !nix::unistd::geteuid().is_root() {
        return Some(place.command(&["build", "--digest"]));
    }
    let setpriv = barge_testkit::tool("setpriv")?;
    // Where this binary lies, others may have no access.
    let around = place.project().join("..");
    std::fs::set_permissions(&around, PermissionsExt::from_mode(0o755)).unwrap();
    let barge = around.join("barge");
    std::fs::copy(env!("CARGO_BIN_EXE_barge"), &barge).unwrap();
    let nobody = |words: &[&str]| {
        let base = place.command(&[]);
        let mut command = Command::new(&setpriv);
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&barge).args(words);
        command.current_dir(place.project()).env_clear();
        command.envs(base.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command
    };
    let said = nobody(&["--version"]).output().unwrap();
    if !said.status.success() {
        let why = String::from_utf8_lossy(&said.stderr).into_owned();
        barge_testkit::skipped(&format!("nobody else can run barge here: {why}"));
        return None;
    }
    Some(nobody(&["build", "--digest"]))
}

#[test]
fn built_files_that_may_not_be_read_are_named() {
    let place = Place::new();
    place.greeter();
    place.write("dist/closed/data", "x");
    let Some(mut build) = build_unprivileged(&place) else { return };
    let closed = place.project().join("dist/closed");
    std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o0)).unwrap();
    let run = place.finish(&mut build);
    std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o755)).unwrap();
    assert_eq!(run.code, 2, "{}", run.told());
    let expected = "error: look at the built files of greeter: read PROJECT/dist/closed: Permission denied";
    assert!(run.err.starts_with(expected), "{}", run.err);
    std::fs::set_permissions(closed.join("data"), PermissionsExt::from_mode(0o0)).unwrap();
    let run = place.finish(&mut build);
    assert_eq!(run.code, 1, "{}", run.told());
    assert!(run.err.contains("read PROJECT/dist/closed/data: Permission denied"), "{}", run.err);
    std::fs::set_permissions(closed.join("data"), PermissionsExt::from_mode(0o644)).unwrap();
    assert!(place.finish(&mut build).ok().starts_with("sha256:"), "it was nothing else");
}

/// The most memory that a program of this test has had so far, in bytes. All of them together have to be modest.
fn most_memory() -> u64 {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_CHILDREN).unwrap();
    u64::try_from(usage.max_rss()).unwrap() * 1024
}

#[test]
fn a_file_of_any_size_is_built_without_holding_it_in_memory() {
    let place = Place::new();
    place.greeter();
    // It takes no room on the disk, and has more bytes than 32 bits count.
    let size = 5 * 1024 * MEGABYTE;
    std::fs::File::create(place.project().join("dist/large")).unwrap().set_len(size).unwrap();
    assert!(place.run("build --digest").ok().starts_with("sha256:"));
    let most = most_memory();
    assert!(most < 256 * MEGABYTE, "a build has taken {} MiB of memory", most / MEGABYTE);
}

#[test]
fn a_hundred_thousand_files_become_an_image() {
    let place = Place::new();
    place.greeter();
    for directory in 0..100 {
        let directory = place.project().join(format!("dist/{directory}"));
        std::fs::create_dir(&directory).unwrap();
        for file in 0..1000 {
            std::fs::write(directory.join(format!("{file}.txt")), "x").unwrap();
        }
    }
    let digest = place.run("build --digest").ok().to_owned();
    assert!(digest.starts_with("sha256:"), "{digest}");
    std::fs::write(place.project().join("dist/99/999.txt"), "y").unwrap();
    assert_ne!(place.run("build --digest").ok(), digest, "the last one is a part of it as well");
    let most = most_memory();
    assert!(most < 256 * MEGABYTE, "a build has taken {} MiB of memory", most / MEGABYTE);
}
