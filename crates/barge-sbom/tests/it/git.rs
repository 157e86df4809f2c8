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

/// Names the project of which [`asked_in_a_hook`] says the commit.
const PROJECT: &str = "BARGE_TEST_GIT_PROJECT";

/// Begins the line with what was found.
const FOUND: &str = "the commit is ";

/// What a hook starts. In the tests' own process it does nothing.
#[test]
fn asked_in_a_hook() {
    let Some(project) = std::env::var_os(PROJECT) else { return };
    println!("{FOUND}{:?}", commit(Path::new(&project)).map(|found| (found.revision, found.dirty)));
}

/// Has a hook ask for the commit of a project. `hooks` is the directory of a repository's hooks.
fn hook(hooks: &Path, name: &str, project: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let test = std::env::current_exe().unwrap();
    let [project, test, told] = [project, &test, &hooks.join("told")].map(|path| path.display().to_string());
    let script = format!(
        "#!/bin/sh\n{PROJECT}='{project}' exec '{test}' --exact git::asked_in_a_hook --nocapture >'{told}' 2>&1\n"
    );
    std::fs::create_dir_all(hooks).unwrap();
    std::fs::write(hooks.join(name), script).unwrap();
    std::fs::set_permissions(hooks.join(name), PermissionsExt::from_mode(0o755)).unwrap();
}

/// What the hook was told.
fn told(hooks: &Path) -> String {
    let told = std::fs::read_to_string(hooks.join("told")).unwrap();
    let line = told.lines().find_map(|line| line.split_once(FOUND));
    line.unwrap_or_else(|| panic!("{told}")).1.to_owned()
}

/// Commits a file; the result is what is said of that commit, where nothing differs from it.
fn committed(directory: &Path, name: &str) -> String {
    std::fs::write(directory.join(name), name).unwrap();
    git(directory, &["add", "."]);
    git(directory, &["commit", "--quiet", "-m", name, "--", name]);
    format!("Some(({:?}, Some(false)))", git(directory, &["rev-parse", "HEAD"]))
}

#[test]
fn a_hook_is_told_of_the_project_and_not_of_its_own_repository() {
    let (Some(project), Some(own)) = (repository(), repository()) else { return };
    let expected = committed(project.path(), "project");
    committed(own.path(), "first");
    // A working directory beside the first one: git names both the repository and the index to its hooks.
    let beside = own.path().join("beside");
    git(own.path(), &["worktree", "add", "--quiet", beside.to_str().unwrap()]);
    let hooks = own.path().join(".git/hooks");
    hook(&hooks, "post-commit", project.path());
    committed(&beside, "second");
    assert_eq!(told(&hooks), expected);
}

#[test]
fn a_hook_of_a_repository_that_is_pushed_to_is_told_of_the_project() {
    let Some(project) = repository() else { return };
    let expected = committed(project.path(), "project");
    let central = TempDir::new().unwrap();
    git(central.path(), &["init", "--quiet", "--bare"]);
    hook(&central.path().join("hooks"), "post-receive", project.path());
    git(project.path(), &["push", "--quiet", central.path().to_str().unwrap(), "HEAD:refs/heads/main"]);
    assert_eq!(told(&central.path().join("hooks")), expected);
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
