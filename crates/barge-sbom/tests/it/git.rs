//! The commit, asked of a real git.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use barge_sbom::git::{commit, commit_asked};
use tempfile::TempDir;

/// A repository without a commit.
fn repository() -> Option<TempDir> {
    barge_testkit::tool("git")?;
    let directory = TempDir::new().unwrap();
    git(directory.path(), &["init", "--quiet"]);
    Some(directory)
}

fn git(directory: &Path, words: &[&str]) -> String {
    let settings = ["-c", "user.name=Test", "-c", "user.email=test@example", "-c", "commit.gpgsign=false"];
    let output = Command::new("git").arg("-C").arg(directory).args(settings).args(words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn a_commit_is_known_with_its_source_and_whether_anything_differs() {
    let Some(repository) = repository() else { return };
    let path = repository.path();
    std::fs::create_dir_all(path.join("shop/src")).unwrap();
    std::fs::write(path.join("shop/src/Main.java"), "class Main {}").unwrap();
    std::fs::write(path.join(".gitignore"), "target\n").unwrap();
    assert_eq!(commit(path), None, "there is no commit yet");
    git(path, &["add", "."]);
    git(path, &["commit", "--quiet", "-m", "first"]);
    let shop = path.join("shop");
    let revision = git(path, &["rev-parse", "HEAD"]);
    let found = commit(&shop).unwrap();
    assert_eq!((found.revision.as_str(), found.source, found.dirty), (revision.as_str(), None, Some(false)));

    git(path, &["remote", "add", "origin", "https://user:secret@git.example/group/shop.git"]);
    std::fs::create_dir(shop.join("target")).unwrap();
    std::fs::write(shop.join("target/shop.jar"), "built").unwrap();
    std::fs::write(path.join("elsewhere"), "another project").unwrap();
    let found = commit(&shop).unwrap();
    assert_eq!(found.source.as_deref(), Some("https://git.example/group/shop.git"));
    assert_eq!(found.dirty, Some(false), "what is built, and what is beside the project, says nothing of it");
    assert_eq!(commit(path).unwrap().dirty, Some(true));

    std::fs::write(shop.join("src/Main.java"), "class Main { }").unwrap();
    assert_eq!(commit(&shop).unwrap().dirty, Some(true));
    git(path, &["checkout", "--quiet", "--", "shop"]);
    std::fs::write(shop.join("new"), "not yet added").unwrap();
    assert_eq!(commit(&shop).unwrap().dirty, Some(true));
}

#[test]
fn more_changes_than_anybody_reads_are_changes() {
    let Some(repository) = repository() else { return };
    std::fs::write(repository.path().join("file"), "x").unwrap();
    git(repository.path(), &["add", "."]);
    git(repository.path(), &["commit", "--quiet", "-m", "first"]);
    for number in 0..500 {
        std::fs::write(repository.path().join(format!("a-name-that-takes-some-room-{number}")), "x").unwrap();
    }
    assert_eq!(commit(repository.path()).unwrap().dirty, Some(true));
}

#[test]
fn without_a_repository_nothing_is_said() {
    let directory = TempDir::new().unwrap();
    assert_eq!(commit(directory.path()), None);
    assert_eq!(commit(&directory.path().join("missing")), None);
    std::fs::write(directory.path().join(".git"), "gitdir: /nowhere").unwrap();
    assert_eq!(commit(directory.path()), None);
    assert_eq!(commit_asked("no-such-git".as_ref(), directory.path(), Duration::from_secs(1)), None);
}

/// A git that answers the first question and never another.
fn slow(directory: &Path, but: &str) -> std::path::PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = directory.join("git");
    let revision = "0".repeat(40);
    let script =
        format!("#!/bin/sh\ncase \"$*\" in *{but}*) exec sleep 60;; *rev-parse*) echo {revision};; *) exit 1;; esac\n");
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    path
}

#[test]
fn a_slow_git_is_not_waited_for() {
    let directory = TempDir::new().unwrap();
    let began = Instant::now();
    let found =
        commit_asked(slow(directory.path(), "status").as_os_str(), directory.path(), Duration::from_millis(300));
    assert_eq!(found.unwrap().dirty, None, "whether anything differs is not known");
    let found =
        commit_asked(slow(directory.path(), "rev-parse").as_os_str(), directory.path(), Duration::from_millis(300));
    assert_eq!(found, None);
    assert!(began.elapsed() < Duration::from_secs(10));
}
