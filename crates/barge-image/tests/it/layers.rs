//! The same files give the same bytes, everywhere and for ever.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use barge_image::layer::{self, LayerError, digest, digest_reader};
use barge_image::plan;
use barge_image::scan::{Found, FoundKind, scan};
use nix::sys::stat::Mode;
use proptest::prelude::*;

use crate::support::{DEADLINE, built, runtime, tree};

fn known() -> tempfile::TempDir {
    let text = (0..5000).map(|line| format!("line {line} of a file that compresses well\n")).collect::<String>();
    let long = format!("static/{}/{}.txt", "d".repeat(90), "f".repeat(90));
    // More than one block of the compressor.
    let large = text.repeat(12);
    let script = "#!/bin/sh\necho hello\n";
    let directory =
        tree(&[("greeter*", script), ("static/text.txt", &text), (&long, ""), ("ä ö", "ü"), ("large", &large)]);
    std::os::unix::fs::symlink("static/text.txt", directory.path().join("link")).unwrap();
    directory
}

/// These digests pin the compressor and the tar's headers. When one changes, every image of every user changes: that must be meant.
#[tokio::test]
async fn a_known_directory_gives_known_digests() {
    let files = known();
    let layer = layer::write(&plan::files(&scan(files.path(), &[]).unwrap())).unwrap();
    assert_eq!(layer.diff_id, "sha256:52aa5bf4e4d71f9956d8d8bb4499b06a3847e1766ce259fd8c2834399a276780");
    assert_eq!(layer.digest, "sha256:cb280a86b40058b9d00a7b3fe3ecde34d30a9dc22cae2659b2408babeabed723");
    assert_eq!(digest_reader(layer.file.reopen().unwrap()).unwrap(), (layer.digest, layer.size));
    let image = built(files.path(), "scratch", None).await;
    assert_eq!(image.digest, digest(&image.manifest));
    // The architecture is part of an image.
    if barge_image::image::architecture() == "amd64" {
        assert_eq!(image.digest, "sha256:e41dca105268902e77657e50c8b4515a95fe546c45dd75865cb6550940b6622a");
    }
}

#[test]
fn the_layer_is_what_other_tools_can_read() {
    let files = known();
    let layer = layer::write(&plan::files(&scan(files.path(), &[]).unwrap())).unwrap();
    let tar = flate2::read::MultiGzDecoder::new(layer.file.reopen().unwrap());
    let mut archive = tar::Archive::new(tar);
    let mut entries = Vec::new();
    for entry in archive.entries().unwrap() {
        let entry = entry.unwrap();
        let header = entry.header();
        assert_eq!((header.uid().unwrap(), header.gid().unwrap(), header.mtime().unwrap()), (0, 0, 1));
        assert_eq!((header.username().unwrap(), header.groupname().unwrap()), (Some(""), Some("")));
        entries.push((entry.path().unwrap().display().to_string(), header.mode().unwrap()));
    }
    let long = format!("app/static/{}", "d".repeat(90));
    let expected = [
        ("app/".to_owned(), 0o755),
        ("app/greeter".to_owned(), 0o755),
        ("app/large".to_owned(), 0o644),
        ("app/link".to_owned(), 0o777),
        ("app/static/".to_owned(), 0o755),
        (format!("{long}/"), 0o755),
        (format!("{long}/{}.txt", "f".repeat(90)), 0o644),
        ("app/static/text.txt".to_owned(), 0o644),
        ("app/ä ö".to_owned(), 0o644),
    ];
    assert_eq!(entries, expected);
}

/// What looks like an archive, the same everywhere.
fn incompressible(size: usize) -> Vec<u8> {
    let mut state = 1u64;
    let mut byte = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(&mut byte).take(size).collect()
}

#[test]
fn what_hardly_shrinks_is_stored_and_the_rest_of_the_layer_is_compressed() {
    let content = incompressible(3 << 20);
    let directory = tree(&[("text", &"text ".repeat(400_000))]);
    std::fs::write(directory.path().join("library.jar"), &content).unwrap();
    let layer = layer::write(&plan::files(&scan(directory.path(), &[]).unwrap())).unwrap();
    assert!(layer.size > 3 << 20 && layer.size < (3 << 20) + 1_000_000, "{}", layer.size);
    let mut archive = tar::Archive::new(flate2::read::MultiGzDecoder::new(layer.file.reopen().unwrap()));
    let mut found = Vec::new();
    let mut entries = archive.entries().unwrap();
    let mut jar =
        entries.find(|entry| entry.as_ref().unwrap().path().unwrap().ends_with("library.jar")).unwrap().unwrap();
    jar.read_to_end(&mut found).unwrap();
    assert!(found == content);
    assert_eq!(layer.digest, "sha256:c757a350a8909673bda296ceb106c82971fdb6566eefd7cb3dca0f44fc601af5");
}

#[test]
fn a_file_that_changes_while_it_is_read_is_named() {
    let directory = tree(&[("data", "0123456789")]);
    let path = directory.path().join("data");
    let plan = plan::files(&scan(directory.path(), &[]).unwrap());
    for content in ["012345678", "0123456789a", ""] {
        std::fs::write(&path, content).unwrap();
        let error = layer::write(&plan).unwrap_err();
        assert!(matches!(&error, LayerError::Changed { planned: 10, path: named } if *named == path), "{error:?}");
    }
    std::fs::remove_file(&path).unwrap();
    let error = layer::write(&plan).unwrap_err();
    assert!(matches!(&error, LayerError::Read { path: named, .. } if *named == path), "{error:?}");
}

#[test]
fn something_else_in_the_place_of_a_file_is_named_and_not_waited_for() {
    let directory = tree(&[("data", "0123456789")]);
    let path = directory.path().join("data");
    let plan = plan::files(&scan(directory.path(), &[]).unwrap());
    std::fs::remove_file(&path).unwrap();
    let make: [fn(&Path); 2] = [
        |path| nix::unistd::mkfifo(path, Mode::S_IRWXU).unwrap(),
        |path| {
            std::fs::remove_file(path).unwrap();
            std::fs::create_dir(path).unwrap();
        },
    ];
    for make in make {
        make(&path);
        let (told, done) = std::sync::mpsc::channel();
        let plan = plan.clone();
        std::thread::spawn(move || told.send(layer::write(&plan)));
        let error = done.recv_timeout(DEADLINE).unwrap().unwrap_err();
        assert!(matches!(&error, LayerError::Changed { path: named, .. } if *named == path), "{error:?}");
    }
}

#[test]
fn a_file_that_may_not_be_read_is_named() {
    let directory = tree(&[("data", "0123456789")]);
    let path = directory.path().join("data");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o0)).unwrap();
    // Root may read everything.
    let privileged = std::fs::File::open(&path).is_ok();
    match layer::write(&plan::files(&scan(directory.path(), &[]).unwrap())) {
        Err(LayerError::Read { path: named, .. }) => assert_eq!(named, path),
        other => assert!(privileged && other.is_ok(), "{other:?}"),
    }
}

#[test]
fn parents_are_planned_even_if_nobody_listed_them() {
    let file = FoundKind::File { source: "/x".into(), size: 1, executable: false };
    let plan = plan::files(&[Found { path: "a/b/c".to_owned(), kind: file }]);
    assert_eq!(plan.keys().collect::<Vec<_>>(), ["app", "app/a", "app/a/b", "app/a/b/c"]);
}

/// Files of a tree: path, content, executable.
type Files = BTreeMap<String, (Vec<u8>, bool)>;

fn write(root: &Path, files: &Files, backwards: bool, umask: u32, time: u64) {
    let mut order: Vec<_> = files.iter().collect();
    if backwards {
        order.reverse();
    }
    for (path, (content, executable)) in order {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        let mode = if *executable { 0o777 } else { 0o666 } & !umask;
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(time);
        std::fs::File::options().append(true).open(&path).unwrap().set_modified(at).unwrap();
    }
}

fn files() -> impl Strategy<Value = Files> {
    // Directories have upper-case names and files lower-case ones, so that none is both.
    let path = proptest::string::string_regex("([A-C]/){0,3}[a-e .ä-]{1,4}x").unwrap();
    // Some that compress and some that do not; byte by byte, proptest would take longer than the layers do.
    let content = (0u32..20_000, any::<u32>(), any::<bool>()).prop_map(|(length, seed, executable)| {
        let byte = |at: u32| ((at ^ seed).wrapping_mul(2_654_435_761) >> (seed % 32)).to_le_bytes()[0];
        ((0..length).map(byte).collect(), executable)
    });
    proptest::collection::btree_map(path, content, 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn neither_place_nor_time_nor_umask_nor_order_changes_a_layer(files in files()) {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let deep = other.path().join("a/quite/different/place");
        write(one.path(), &files, false, 0o022, 1_000_000_000);
        write(&deep, &files, true, 0o077, 1_700_000_000);
        let layers = [one.path(), &deep].map(|root| layer::write(&plan::files(&scan(root, &[]).unwrap())).unwrap());
        prop_assert_eq!(&layers[0].digest, &layers[1].digest);
        // And the way back gives the same files.
        let back = tempfile::tempdir().unwrap();
        barge_image::unpack::unpack_app(layers[0].file.path(), back.path()).unwrap();
        for (path, (content, executable)) in &files {
            prop_assert_eq!(&std::fs::read(back.path().join(path)).unwrap(), content);
            let mode = std::fs::metadata(back.path().join(path)).unwrap().permissions().mode();
            prop_assert_eq!(mode & 0o777, if *executable { 0o755 } else { 0o644 });
        }
    }
}

#[tokio::test]
async fn any_change_that_matters_changes_the_digest() {
    let base = tree(&[("a*", "one"), ("b", "two")]);
    let first = built(base.path(), "scratch", None).await.digest;
    let changed: &[&[(&str, &str)]] = &[
        &[("a*", "one"), ("b", "tw0")],
        &[("a", "one"), ("b", "two")],
        &[("a*", "one"), ("c", "two")],
        &[("a*", "one"), ("b", "two"), ("c", "")],
    ];
    for files in changed {
        let other = tree(files);
        assert_ne!(built(other.path(), "scratch", None).await.digest, first, "{files:?}");
    }
    let same = tree(&[("b", "two"), ("a*", "one")]);
    assert_eq!(built(same.path(), "scratch", None).await.digest, first);
    let mut runtime = runtime();
    runtime.command.push("more".to_owned());
    let layers = vec![barge_image::build::files(base.path(), &[]).unwrap()];
    let request = barge_image::build::BuildRequest::new(layers, "scratch", runtime);
    assert_ne!(barge_image::build(request, None).await.unwrap().digest, first);
}
