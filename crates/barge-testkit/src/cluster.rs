//! The Kubernetes that tests may use: the one of `cargo xtask cluster`, or one that somebody gives.

use std::path::PathBuf;

/// Names the kubeconfig of the cluster for tests. Without it, it is that of `cargo xtask cluster up`.
pub const KUBECONFIG: &str = "BARGE_TEST_KUBECONFIG";

/// Where the cluster's kubeconfig is; none, said aloud, where there is no cluster.
///
/// # Panics
/// There is none, and [`STRICT`](crate::STRICT) is set to `1`.
pub fn kubeconfig() -> Option<PathBuf> {
    let found = path();
    if found.is_none() {
        crate::skipped("there is no Kubernetes; hint: cargo xtask cluster up");
    }
    found
}

/// The directory of the cluster of `cargo xtask cluster`, whose nodes are processes of this machine; none, said aloud, where somebody has given
/// another one, of which no test kills anything.
///
/// # Panics
/// There is none, and [`STRICT`](crate::STRICT) is set to `1`.
pub fn own_nodes() -> Option<PathBuf> {
    let directory = path().and_then(|path| Some(path.parent()?.to_owned()));
    let own = directory.filter(|directory| directory.join("certs.d").is_dir());
    if own.is_none() {
        crate::skipped("nothing of somebody's own cluster is killed; hint: cargo xtask cluster up");
    }
    own
}

fn path() -> Option<PathBuf> {
    let given = std::env::var_os(KUBECONFIG).map(PathBuf::from);
    given.or_else(own).filter(|path| path.is_file())
}

/// That of `cargo xtask cluster`, which is there while the cluster runs.
fn own() -> Option<PathBuf> {
    // target/PROFILE/deps/it-HASH
    let own = std::env::current_exe().ok()?;
    Some(own.ancestors().nth(3)?.join("cluster/run/admin.kubeconfig"))
}

/// Where nodes of `cargo xtask cluster` reach this machine.
const HOST: &str = "10.99.0.1";

/// The name by which the nodes reach a registry that listens everywhere on this machine, over HTTP.
///
/// # Panics
/// It cannot be written down for them.
#[allow(clippy::expect_used)] // For tests alone, where a panic is how to fail.
pub fn trusted_registry(port: u16) -> String {
    let name = format!("{HOST}:{port}");
    // A cluster that somebody has given has to trust it by itself.
    let certificates = path().and_then(|path| Some(path.parent()?.join("certs.d")));
    if let Some(certificates) = certificates.filter(|certificates| certificates.is_dir()) {
        let directory = certificates.join(&name);
        std::fs::create_dir_all(&directory).expect("a directory for containerd");
        // Without a host of its own, containerd 1.6 reads nothing of the file.
        let text =
            format!("server = \"http://{name}\"\n[host.\"http://{name}\"]\ncapabilities = [\"pull\", \"resolve\"]\n");
        std::fs::write(directory.join("hosts.toml"), text).expect("a file for containerd");
    }
    name
}
