//! Programs that some tests and one bench need besides a Rust toolchain. As root on Debian they are installed; elsewhere the tests that
//! need them say that they are skipped, and the bench what it leaves out. What Debian has no more is fetched by `earlier`.

mod earlier;

use std::process::{Command, Stdio};

use anyhow::Result;

use crate::run;

/// A program, or another file by its whole path, and the Debian package that brings it.
const TOOLS: [(&str, &str); 14] = [
    ("/usr/share/java/zookeeper.jar", "libzookeeper-java"),
    ("containerd", "containerd"),
    ("curl", "curl"),
    ("faketime", "faketime"),
    ("java", "default-jre-headless"),
    ("jq", "jq"),
    ("mount", "mount"),
    ("mvn", "maven"),
    ("nginx", "nginx-light"),
    ("prlimit", "util-linux"),
    ("python3", "python3"),
    ("script", "bsdutils"),
    ("skopeo", "skopeo"),
    ("wrk", "wrk"),
];

/// What barge-init is measured beside; no test needs them.
const PEERS: [(&str, &str); 5] = [
    ("dumb-init", "dumb-init"),
    ("runsvdir", "runit"),
    ("s6-svscan", "s6"),
    ("supervisord", "supervisor"),
    ("tini", "tini"),
];

/// Installs what tests need and what is missing, where that is possible.
pub(crate) fn tools() -> Result<()> {
    install(&TOOLS, "some tests need")?;
    earlier::consul();
    Ok(())
}

/// Installs the programs beside which barge-init is measured.
pub(crate) fn peers_of_barge_init() -> Result<()> {
    install(&PEERS, "the bench compares with")
}

fn install(tools: &[(&str, &str)], whose: &str) -> Result<()> {
    let missing: Vec<_> = tools.iter().filter(|(program, _)| !installed(program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    if !installed("apt-get") || !is_root() {
        println!("not installed, though {whose} it: {}", packages.join(" "));
        return Ok(());
    }
    println!("installing what {whose}: {}", packages.join(" "));
    let apt = |arguments: &[&str]| {
        // Nothing of it is to be started: tests and benches start their own.
        run(Command::new("apt-get").args(arguments).env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1"))
    };
    apt(&["update", "-qq"])?;
    apt(&[&["install", "-y", "-qq", "--no-install-recommends"], packages.as_slice()].concat())
}

/// Whether a program is on the search path, or a file where its whole path says.
pub(crate) fn installed(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    // A whole path stays what it is, whatever it is joined to.
    std::env::split_paths(&paths).any(|directory| directory.join(program).is_file())
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").stderr(Stdio::null()).output();
    id.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}
