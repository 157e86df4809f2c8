//! Programs that some tests and one bench need besides a Rust toolchain. As root on Debian they are installed; elsewhere the tests that
//! need them say that they are skipped, and the bench what it leaves out. What Debian has no more is fetched by `earlier`,
//! and what it never had by `validators`.

mod conformance;
mod earlier;
mod validators;

use std::process::{Command, Stdio};

use anyhow::Result;

use crate::run;

/// A program, or another file by its whole path, and the Debian package that brings it.
const TOOLS: [(&str, &str); 22] = [
    ("/usr/share/doc/python3-venv/copyright", "python3-venv"),
    ("/usr/share/java/zookeeper.jar", "libzookeeper-java"),
    ("/usr/share/tomcat10/bin/bootstrap.jar", "tomcat10-common"),
    ("/usr/share/tomcat10/skel/conf/web.xml", "tomcat10-user"),
    ("buildah", "buildah"),
    ("containerd", "containerd"),
    ("curl", "curl"),
    ("docker-registry", "docker-registry"),
    ("faketime", "faketime"),
    ("java", "default-jre-headless"),
    ("javac", "default-jdk-headless"),
    ("jq", "jq"),
    ("mount", "mount"),
    ("mvn", "maven"),
    ("nginx", "nginx-light"),
    ("prlimit", "util-linux"),
    ("python3", "python3"),
    ("runc", "runc"),
    ("script", "bsdutils"),
    ("skopeo", "skopeo"),
    ("umoci", "umoci"),
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

/// What the bench of images needs besides what tests need.
const BESIDE_IMAGES: [(&str, &str); 1] = [("time", "time")];

/// What a Kubernetes of this machine's own needs; `xtask/cluster` has the rest.
const CLUSTER: [(&str, &str); 8] = [
    ("/usr/lib/cni/bridge", "containernetworking-plugins"),
    ("containerd", "containerd"),
    ("ip", "iproute2"),
    ("iptables", "iptables"),
    ("openssl", "openssl"),
    ("ps", "procps"),
    ("runc", "runc"),
    ("unshare", "util-linux"),
];

/// Installs what tests need and what is missing, where that is possible.
pub(crate) fn tools() -> Result<()> {
    install(&TOOLS, "some tests need")?;
    earlier::consul();
    conformance::of_registries();
    validators::of_bills();
    Ok(())
}

/// Installs the programs beside which barge-init is measured.
pub(crate) fn peers_of_barge_init() -> Result<()> {
    install(&PEERS, "the bench compares with")
}

/// Installs what the bench of images needs.
pub(crate) fn peers_of_images() -> Result<()> {
    tools()?;
    install(&BESIDE_IMAGES, "the bench of images needs")
}

/// Installs what a Kubernetes of this machine's own needs.
pub(crate) fn packages_of_the_cluster() -> Result<()> {
    install(&CLUSTER, "a cluster needs")
}

/// Installs some Go.
pub(crate) fn go() -> Result<()> {
    install(&[("go", "golang-go")], "a cluster needs")
}

/// What of it could not be installed.
pub(crate) fn missing_of_the_cluster() -> impl Iterator<Item = &'static str> {
    missing(&CLUSTER)
}

fn missing(tools: &[(&str, &'static str)]) -> impl Iterator<Item = &'static str> {
    tools.iter().filter(|(program, _)| !installed(program)).map(|(_, package)| *package)
}

fn install(tools: &[(&str, &'static str)], whose: &str) -> Result<()> {
    let packages: Vec<&str> = missing(tools).collect();
    if packages.is_empty() {
        return Ok(());
    }
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

/// Whether this machine lets us do everything.
pub(crate) fn is_root() -> bool {
    let id = Command::new("id").arg("-u").stderr(Stdio::null()).output();
    id.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}
