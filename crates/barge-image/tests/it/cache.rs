//! The cache: what was made once is not made again, and nothing that happens to it gets into an image.

use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use barge_image::cache::{CacheError, LIMIT};
use barge_image::layer::{Layer, digest_reader};
use barge_image::plan::{Content, Entry, Inside, LayerPlan, PlannedLayer, place};
use barge_image::{Cache, layers};
use tempfile::TempDir;

use crate::child;
use crate::support::{DEADLINE, tree};

fn cache() -> (TempDir, Cache) {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::open(&directory.path().join("barge"), LIMIT).unwrap();
    (directory, cache)
}

fn planned(files: &Path) -> PlannedLayer {
    barge_image::build::files(files, &[]).unwrap()
}

fn made(files: &Path, cache: Option<&Cache>) -> Layer {
    layers::make(&[planned(files)], cache).unwrap().remove(0)
}

/// Which file it is: one that was made again is another one.
fn inode(layer: &Layer) -> u64 {
    std::fs::metadata(layer.file.path()).unwrap().ino()
}

fn check(layer: &Layer) {
    assert_eq!(digest_reader(layer.file.reopen().unwrap()).unwrap(), (layer.digest.clone(), layer.size));
}

fn large(seed: u64, size: usize) -> String {
    let mut state = seed;
    let mut word = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        format!("{:016x}\n", state)
    };
    std::iter::repeat_with(&mut word).take(size / 17).collect()
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(entries(&path)) } else { found.push(path) }
    }
    found
}

fn temporary(cache: &Cache) -> PathBuf {
    cache.directory().join("tmp")
}

/// Until files are older than a tick of the file system's clock; only then they count as unchanged.
fn settle(files: &Path) {
    let newest = entries(files).iter().map(|path| std::fs::metadata(path).unwrap().modified().unwrap()).max().unwrap();
    let begun = Instant::now();
    while newest.elapsed().unwrap_or_default() < Duration::from_millis(80) {
        assert!(begun.elapsed() < DEADLINE);
        std::thread::yield_now();
    }
}

#[test]
fn a_layer_is_made_once_for_its_content() {
    let (_kept, cache) = cache();
    let files = tree(&[("greeter*", "one"), ("static/a.txt", "two")]);
    let first = made(files.path(), Some(&cache));
    check(&first);
    assert_eq!(first.digest, made(files.path(), None).digest, "the cache is not to be seen in what is made");
    assert_eq!(inode(&made(files.path(), Some(&cache))), inode(&first));
    // A fresh checkout: another directory, other times, other permissions but for the executable bit.
    let other = tree(&[("static/a.txt", "two"), ("greeter*", "one")]);
    let at = std::time::UNIX_EPOCH + Duration::from_secs(1_000_000);
    std::fs::File::options().append(true).open(other.path().join("greeter")).unwrap().set_modified(at).unwrap();
    std::fs::set_permissions(other.path().join("static/a.txt"), PermissionsExt::from_mode(0o600)).unwrap();
    assert_eq!(inode(&made(other.path(), Some(&cache))), inode(&first));
    // Anything that matters makes another layer.
    std::fs::set_permissions(other.path().join("static/a.txt"), PermissionsExt::from_mode(0o700)).unwrap();
    assert_ne!(made(other.path(), Some(&cache)).digest, first.digest);
    std::fs::set_permissions(other.path().join("static/a.txt"), PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::write(other.path().join("static/a.txt"), "TWO").unwrap();
    let changed = made(other.path(), Some(&cache));
    assert_eq!(changed.digest, made(other.path(), None).digest);
    assert_ne!(changed.digest, first.digest);
    assert_eq!(entries(&temporary(&cache)), [] as [PathBuf; 0]);
}

/// A member of an archive that counts how often it is read.
#[derive(Debug)]
struct Counted {
    archive: PathBuf,
    reads: Arc<AtomicUsize>,
}

impl Inside for Counted {
    fn archive(&self) -> &Path {
        &self.archive
    }

    fn member(&self) -> &str {
        "a.class"
    }

    fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(std::fs::File::open(&self.archive)?))
    }
}

#[test]
fn nothing_is_read_again_when_nothing_has_changed_and_everything_when_that_is_not_sure() {
    let (_kept, cache) = cache();
    let files = tree(&[("app.jar", "content")]);
    let archive = files.path().join("app.jar");
    let reads = Arc::new(AtomicUsize::new(0));
    let build = || {
        let inside = Counted { archive: archive.clone(), reads: Arc::clone(&reads) };
        let mut entries = LayerPlan::new();
        let content = Content::Inside(Arc::new(inside));
        place(
            &mut entries,
            "app/a.class".to_owned(),
            Entry::File { content, size: 7, executable: false, stamped: true },
        );
        let plan = PlannedLayer { name: "classes".into(), why: "".into(), entries };
        let layer = layers::make(&[plan], Some(&cache)).unwrap().remove(0);
        (layer.digest, reads.swap(0, Ordering::Relaxed))
    };
    settle(files.path());
    let (first, count) = build();
    assert_eq!(count, 1, "it is read, hashed and compressed at once");
    assert_eq!(build(), (first.clone(), 0));
    // The same size: only the times tell.
    std::fs::write(&archive, "CONTENT").unwrap();
    let (second, count) = build();
    assert_ne!(second, first);
    assert!(count > 0);
    // The archive had only just been written, so its time does not tell that it is the same still.
    assert_eq!((build().0, build().0), (second.clone(), second.clone()));
    settle(files.path());
    build();
    assert_eq!(build(), (second, 0));
    std::fs::write(&archive, "content").unwrap();
    let (third, count) = build();
    assert_eq!((third, count), (first, 1), "it is hashed, and its layer is there already");
}

#[test]
fn a_change_right_after_a_build_is_never_missed() {
    let (_kept, cache) = cache();
    let files = tree(&[("page.html", "0000")]);
    for round in 0..200 {
        std::fs::write(files.path().join("page.html"), format!("{round:04}")).unwrap();
        assert_eq!(made(files.path(), Some(&cache)).digest, made(files.path(), None).digest, "round {round}");
    }
}

#[test]
fn builds_at_the_same_time_do_not_disturb_each_other() {
    let (_kept, cache) = cache();
    let projects: Vec<_> = (0..4).map(|seed| tree(&[("a", &large(seed, 3 << 20)), ("b", "same")])).collect();
    let expected: Vec<_> = projects.iter().map(|project| made(project.path(), None).digest).collect();
    std::thread::scope(|scope| {
        for round in 0..12 {
            let (project, expected, cache) = (&projects[round % 4], &expected[round % 4], &cache);
            scope.spawn(move || {
                // Each opens the cache for itself, as processes do, and sweeps.
                let cache = Cache::open(cache.directory(), LIMIT).unwrap();
                let layer = made(project.path(), Some(&cache));
                assert_eq!(&layer.digest, expected);
                check(&layer);
            });
        }
    });
    assert_eq!(entries(&temporary(&cache)), [] as [PathBuf; 0]);
    assert_eq!(entries(&cache.directory().join("blobs")).len(), 4);
}

#[test]
fn a_killed_build_leaves_nothing_that_is_used_and_nothing_for_long() {
    let (_kept, cache) = cache();
    let elsewhere = tempfile::tempdir().unwrap();
    let files = tree(&[("a", &large(1, 24 << 20))]);
    let expected = made(files.path(), None).digest;
    let mut caught = 0;
    for _ in 0..20 {
        let mut child =
            child::command(files.path(), Some(cache.directory())).env("TMPDIR", elsewhere.path()).spawn().unwrap();
        let begun = Instant::now();
        while entries(&temporary(&cache)).is_empty() && child.try_wait().unwrap().is_none() {
            assert!(begun.elapsed() < DEADLINE);
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        caught += entries(&temporary(&cache)).len();
        if caught > 0 {
            break;
        }
    }
    assert!(caught > 0, "no build was killed while it wrote");
    let again = Cache::open(cache.directory(), LIMIT).unwrap();
    assert_eq!(entries(&temporary(&cache)), [] as [PathBuf; 0]);
    assert_eq!(made(files.path(), Some(&again)).digest, expected);
    // Without a cache, what is written has no name at all.
    let mut child = child::command(files.path(), None).env("TMPDIR", elsewhere.path()).spawn().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(entries(elsewhere.path()), [] as [PathBuf; 0]);
}

#[test]
fn what_another_process_writes_just_now_is_not_swept() {
    let (_kept, cache) = cache();
    let files = tree(&[("a", &large(2, 24 << 20))]);
    let mut child =
        child::command(files.path(), Some(cache.directory())).stdout(std::process::Stdio::piped()).spawn().unwrap();
    while child.try_wait().unwrap().is_none() {
        Cache::open(cache.directory(), LIMIT).unwrap();
    }
    let output = child.wait_with_output().unwrap();
    child::digest(&output);
    assert_eq!(entries(&cache.directory().join("blobs")).len(), 1);
}

#[test]
fn whatever_happens_to_the_cache_the_image_is_the_same() {
    let files = tree(&[("a", &large(3, 2 << 20)), ("b", "small")]);
    let expected = made(files.path(), None).digest;
    settle(files.path());
    let flip = |path: &Path| {
        let mut bytes = std::fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(path, bytes).unwrap();
    };
    let cut = |path: &Path| std::fs::File::options().write(true).open(path).unwrap().set_len(40).unwrap();
    let empty = |path: &Path| std::fs::write(path, "").unwrap();
    let remove = |path: &Path| std::fs::remove_file(path).unwrap();
    let directory = |path: &Path| {
        std::fs::remove_file(path).unwrap();
        std::fs::create_dir(path).unwrap();
    };
    let damages: [&dyn Fn(&Path); 5] = [&flip, &cut, &empty, &remove, &directory];
    for part in ["blobs", "layers", "index"] {
        for (number, damage) in damages.iter().enumerate() {
            let (_kept, cache) = cache();
            made(files.path(), Some(&cache));
            let found = entries(&cache.directory().join(part));
            assert_eq!(found.len(), 1, "{part}");
            damage(&found[0]);
            for round in 0..2 {
                let layer = made(files.path(), Some(&cache));
                assert_eq!(layer.digest, expected, "{part}, damage {number}, round {round}");
                check(&layer);
            }
        }
    }
}

#[test]
fn a_cache_that_is_full_or_cannot_be_written_to_fails_no_build() {
    let Some(unshare) = barge_testkit::tool("unshare") else { return };
    let files = tree(&[("a", &large(4, 6 << 20))]);
    let expected = child::digest(&child::command(files.path(), None).output().unwrap());
    let mount = tempfile::tempdir().unwrap();
    let spare = tempfile::tempdir().unwrap();
    for (options, more) in
        [("size=1m", ""), ("size=1m", "mkdir -p $0/barge; mount -o remount,ro $0;"), ("size=64m,nr_inodes=4", "")]
    {
        let script = format!("mount -t tmpfs -o {options} none $0 && {more} exec \"$@\"");
        let unshare = unshare.to_str().unwrap();
        let program = [unshare, "--map-root-user", "--mount", "sh", "-c", &script, mount.path().to_str().unwrap()];
        let trial = std::process::Command::new(unshare).args(&program[1..]).arg("true").output().unwrap();
        if !trial.status.success() {
            return barge_testkit::skipped(&format!("no file system can be mounted: {trial:?}"));
        }
        let cache = mount.path().join("barge");
        let output =
            child::command_by(&program, files.path(), Some(&cache)).env("TMPDIR", spare.path()).output().unwrap();
        assert_eq!(child::digest(&output), expected, "{options} {more}");
    }
    assert_eq!(entries(spare.path()), [] as [PathBuf; 0]);
}

#[test]
fn what_was_not_used_for_longest_makes_room() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::open(directory.path(), 3 << 20).unwrap();
    let blobs = || entries(&directory.path().join("blobs"));
    let projects: Vec<_> = (0..4).map(|seed| tree(&[("a", &large(10 + seed, 2 << 20))])).collect();
    let mut kept = Vec::new();
    for (number, project) in projects.iter().enumerate() {
        let layer = made(project.path(), Some(&cache));
        // As if a day lay between two builds.
        let used = std::time::SystemTime::now() - Duration::from_secs(86_400 * (4 - number as u64));
        let times = std::fs::FileTimes::new().set_accessed(used);
        layer.file.reopen().unwrap().set_times(times).unwrap();
        if number == 0 {
            // Used again: now the second one is the oldest.
            kept.push(layer);
        } else {
            let first = made(projects[0].path(), Some(&cache));
            assert_eq!(inode(&first), inode(&kept[0]), "what is used stays");
        }
        assert!(blobs().iter().map(|path| path.metadata().unwrap().len()).sum::<u64>() <= 3 << 20);
    }
    assert!(blobs().len() < 4, "something had to go");
    // What was removed while somebody has it can still be read to its end.
    let held = made(projects[1].path(), Some(&cache));
    for path in blobs() {
        std::fs::remove_file(path).unwrap();
    }
    check(&held);
}

#[test]
fn a_cache_belongs_to_one_user() {
    let (_kept, cache) = cache();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(cache.directory()), 0o700);
    made(tree(&[("a", "secret")]).path(), Some(&cache));
    for path in entries(cache.directory()).iter().filter(|path| !path.ends_with("prune.lock")) {
        assert_eq!(mode(path), 0o600, "{}", path.display());
    }
    std::fs::set_permissions(cache.directory(), PermissionsExt::from_mode(0o777)).unwrap();
    let error = Cache::open(cache.directory(), LIMIT).unwrap_err();
    assert!(matches!(error, CacheError::NotOurs { .. }), "{error:?}");
    let file = tree(&[("file", "")]);
    let error = Cache::open(&file.path().join("file/cache"), LIMIT).unwrap_err();
    assert!(matches!(error, CacheError::Unusable { .. }), "{error:?}");
}

#[test]
fn where_the_cache_is_can_be_chosen() {
    for (variables, expected) in [
        (&[("BARGE_CACHE", "/c"), ("XDG_CACHE_HOME", "/x"), ("HOME", "/h")][..], Some("/c")),
        (&[("XDG_CACHE_HOME", "/x"), ("HOME", "/h")][..], Some("/x/barge")),
        (&[("XDG_CACHE_HOME", "relative"), ("HOME", "/h")][..], Some("/h/.cache/barge")),
        (&[("XDG_CACHE_HOME", ""), ("HOME", "/h")][..], Some("/h/.cache/barge")),
        (&[("BARGE_CACHE", ""), ("HOME", "/h")][..], None),
        (&[][..], None),
    ] {
        let look = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
        assert_eq!(Cache::place(look), expected.map(PathBuf::from), "{variables:?}");
    }
}

#[test]
fn the_image_is_the_same_for_everybody() {
    let files = [("greeter*", "one"), ("static/page.html", "two"), ("large", &large(5, 5 << 20))];
    let (one, other) = (tree(&files), tree(&files));
    let home = tempfile::tempdir().unwrap();
    let expected = child::digest(&child::command(one.path(), None).output().unwrap());
    let mut ways: Vec<Vec<&str>> = vec![vec![], vec!["sh", "-c", "umask 077; exec \"$0\" \"$@\""]];
    if barge_testkit::tool("taskset").is_some() {
        ways.push(vec!["taskset", "-c", "0"]);
    }
    if barge_testkit::tool("faketime").is_some() {
        ways.push(vec!["faketime", "2001-09-09 01:46:40"]);
    }
    if nix::unistd::geteuid().is_root() && barge_testkit::tool("setpriv").is_some() {
        ways.push(vec!["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]);
    }
    for directory in [one.path(), other.path()] {
        std::fs::set_permissions(directory, PermissionsExt::from_mode(0o755)).unwrap();
    }
    for (number, way) in ways.iter().enumerate() {
        for (directory, cache) in
            [(one.path(), None), (other.path(), None), (one.path(), Some(home.path().join(number.to_string())))]
        {
            for round in 0..2 {
                let output = child::command_by(way, directory, cache.as_deref()).output().unwrap();
                assert_eq!(child::digest(&output), expected, "{way:?}, round {round}");
            }
        }
    }
}

/// The compressor's version is part of what a layer is found by. Another one may give other bytes, and nobody must get the old ones then.
#[test]
fn the_compressor_is_the_one_that_the_lock_file_names() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let lock = std::fs::read_to_string(root.join("Cargo.lock")).unwrap();
    let version = lock.split("name = \"zlib-rs\"\nversion = \"").nth(1).unwrap().split('"').next().unwrap();
    let named = std::fs::read_to_string(root.join("crates/barge-image/src/compress.rs")).unwrap();
    assert!(named.contains(&format!("\"zlib-rs {version} level ")), "zlib-rs is {version} now");
}
