//! The same project gives the same image elsewhere: another directory on another file system, another user with another umask, another
//! clock, in a network and a mount namespace of its own.

use std::path::Path;
use std::process::{Command, Stdio};

use barge_testkit::{TestPlatform, barge_binary, skipped, tool};
use nix::unistd::geteuid;

use super::{boot, war};

/// Copies the project to a new file system, file by file in another order, gives all files another time and other rights, and builds there.
/// The program is copied too: not everybody may go where it is.
const ELSEWHERE: &str = r#"
set -e
umask 0077
mount -t tmpfs tmpfs "$2"
mkdir -p "$2/quite/another place"
cd "$1"
find . -type d | while read -r directory; do mkdir -p "$2/quite/another place/$directory"; done
find . -type f | sort -r | while read -r file; do cat "$file" > "$2/quite/another place/$file"; done
cp "$3" "$2/barge"
chown -R 65534:65534 "$2"
chmod 0711 "$2"
cd "$2/quite/another place/$4"
exec setpriv --reuid=65534 --regid=65534 --clear-groups env HOME="$2" LC_ALL=C TZ=Asia/Tokyo faketime -f '@2031-05-06 07:08:09' "$2/barge" build --digest
"#;

fn elsewhere(platform: &TestPlatform, project: &Path, inside: &str) -> String {
    let mount = tempfile::tempdir_in("/var/tmp").unwrap();
    let mut script = Command::new("unshare");
    script
        .args(["--mount", "--net", "sh", "-c", ELSEWHERE, "sh"])
        .arg(project)
        .arg(mount.path())
        .arg(barge_binary())
        .arg(inside);
    // Nothing of the first build's surroundings.
    script.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("BARGE_SERVER", &platform.address);
    let output = script.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn tools() -> Option<()> {
    for needed in ["faketime", "mount", "setpriv", "unshare"] {
        tool(needed)?;
    }
    geteuid().is_root().then_some(()).or_else(|| {
        skipped("only root may become somebody else");
        None
    })
}

#[test]
fn a_boot_jar_gives_the_same_digest_elsewhere() {
    let platform = TestPlatform::start();
    let (Some(()), Some(project)) = (tools(), boot(&platform)) else { return };
    let here = platform.barge(&project.path("web"), &["build", "--digest"]);
    assert_eq!(here.trim(), elsewhere(&platform, &project.path(""), "web"));
}

#[test]
fn a_war_gives_the_same_digest_elsewhere() {
    let platform = TestPlatform::start();
    let (Some(()), Some(project)) = (tools(), war(&platform)) else { return };
    let here = platform.barge(&project.path(""), &["build", "--digest"]);
    assert_eq!(here.trim(), elsewhere(&platform, &project.path(""), ""));
}
