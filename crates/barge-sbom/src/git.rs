//! From which commit a project is built, asked of the `git` program.
//!
//! Where there is no git, no repository, no commit yet, or no answer in time, nothing is said: it is no reason not to build. Reading
//! repositories ourselves would have to know all of what git knows of them (worktrees, submodules, reftables, filters of what is
//! changed); the crate that does brings two hundred others.

use std::ffi::OsStr;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long git may take for everything. A repository in which looking for changes takes longer is not called clean, nor dirty.
const TIME: Duration = Duration::from_secs(1);

/// Answers are not longer, in bytes, but for the list of changes, of which the beginning is enough.
const LIMIT: u64 = 4096;

/// How often a running git is looked at.
const POLL: Duration = Duration::from_millis(2);

/// Variables that say which repository is meant and what of it, which git sets for its hooks (`git rev-parse --local-env-vars`, without
/// those of settings). A hook that deploys another project, or one in a directory below, would get the answer of its own repository.
const OF_A_REPOSITORY: [&str; 15] = [
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_DIR",
    "GIT_GRAFT_FILE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_INTERNAL_SUPER_PREFIX",
    "GIT_NAMESPACE",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_QUARANTINE_PATH",
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
];

/// Where the code of a project comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The commit's whole name, in hexadecimal digits.
    pub revision: String,
    /// Where its repository is, without any credentials; none where no remote is called `origin`.
    pub source: Option<String>,
    /// Whether anything differs from the commit; none where that could not be found out in time.
    pub dirty: Option<bool>,
}

/// The commit of the project in `directory`, whatever repository the caller's variables name. Only what is below it counts for dirty.
pub fn commit(directory: &Path) -> Option<Commit> {
    commit_asked(OsStr::new("git"), directory, TIME)
}

/// The same, asked of another program, which has so much time for everything.
pub fn commit_asked(program: &OsStr, directory: &Path, time: Duration) -> Option<Commit> {
    let git = Git { program, directory, end: Instant::now() + time };
    let (revision, source, changes) = std::thread::scope(|scope| {
        let source = scope.spawn(|| git.ask(&["remote", "get-url", "origin"]));
        let changes = scope.spawn(|| git.ask(&["status", "--porcelain", "--untracked-files=normal", "--", "."]));
        let revision = git.ask(&["rev-parse", "--verify", "--end-of-options", "HEAD^{commit}"]);
        (revision, source.join().unwrap_or_default(), changes.join().unwrap_or_default())
    });
    let revision = revision.as_deref().map(str::trim)?;
    // SHA-1 or SHA-256.
    if !matches!(revision.len(), 40 | 64) || !revision.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let source = source.and_then(|url| without_credentials(url.trim()));
    Some(Commit { revision: revision.to_owned(), source, dirty: changes.map(|changes| !changes.is_empty()) })
}

/// Who is asked, of what, and until when.
struct Git<'a> {
    program: &'a OsStr,
    directory: &'a Path,
    end: Instant,
}

impl Git<'_> {
    /// The beginning of what it says, if it succeeds in time.
    fn ask(&self, words: &[&str]) -> Option<String> {
        let mut git = Command::new(self.program);
        for variable in OF_A_REPOSITORY {
            git.env_remove(variable);
        }
        let mut git = git
            .arg("-C")
            .arg(self.directory)
            // Nothing is to be written into the repository, and no monitor is to be started that stays.
            .args(["--no-optional-locks", "-c", "core.fsmonitor=false"])
            .args(words)
            .envs([("GIT_TERMINAL_PROMPT", "0"), ("LC_ALL", "C")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let stdout = git.stdout.take()?;
        // A pipe that is full would stop git; one that nobody reads any more ends it, and the beginning is enough.
        let reader = std::thread::spawn(move || {
            let mut text = Vec::new();
            stdout.take(LIMIT).read_to_end(&mut text).map(|_| text)
        });
        // One that had to be ended is not read: something that it has started may hold the pipe.
        let succeeded = wait(&mut git, self.end)?;
        let text = reader.join().ok()?.ok()?;
        let enough = text.len() as u64 == LIMIT;
        (succeeded || enough).then(|| String::from_utf8_lossy(&text).into_owned())
    }
}

/// Whether it succeeded; none where it had to be ended.
fn wait(git: &mut Child, end: Instant) -> Option<bool> {
    loop {
        match git.try_wait() {
            Ok(Some(status)) => return Some(status.success()),
            Ok(None) if Instant::now() < end => std::thread::sleep(POLL),
            _ => {
                // It may have ended just now.
                let _ = git.kill();
                let _ = git.wait();
                return None;
            }
        }
    }
}

/// An address as others may see it: without user and password, and none that leads into this machine.
fn without_credentials(url: &str) -> Option<String> {
    let clean = |text: &str| !text.is_empty() && text.len() < 500 && text.bytes().all(|byte| byte.is_ascii_graphic());
    if let Some((scheme, rest)) = url.split_once("://") {
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let host = host.rsplit('@').next().unwrap_or(host);
        // Tokens also stand behind a question mark.
        let path = path.split(['?', '#']).next().unwrap_or(path);
        let known = ["https", "http", "ssh", "git", "git+ssh"].contains(&scheme);
        return (known && clean(host) && (path.is_empty() || clean(path))).then(|| format!("{scheme}://{host}/{path}"));
    }
    // As scp writes it: USER@HOST:PATH. Everything else is a path of this machine.
    let (host, path) = url.split_once(':')?;
    let host = host.rsplit('@').next()?;
    (!host.contains('/') && clean(host) && clean(path))
        .then(|| format!("ssh://{host}/{}", path.trim_start_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_say_nothing_secret() {
        for (url, expected) in [
            ("https://git.example/group/shop.git", Some("https://git.example/group/shop.git")),
            ("https://user:p@ss@git.example/shop", Some("https://git.example/shop")),
            ("https://x-token@git.example/shop?private_token=abc#x", Some("https://git.example/shop")),
            ("ssh://git@git.example:2222/shop.git", Some("ssh://git.example:2222/shop.git")),
            ("git@git.example:group/shop.git", Some("ssh://git.example/group/shop.git")),
            ("git.example:shop.git", Some("ssh://git.example/shop.git")),
            ("/srv/git/shop.git", None),
            ("../shop.git", None),
            ("file:///srv/git/shop.git", None),
            ("https://", None),
            ("", None),
        ] {
            assert_eq!(without_credentials(url).as_deref(), expected, "{url}");
        }
    }
}
