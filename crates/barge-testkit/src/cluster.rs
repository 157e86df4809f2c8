//! The Kubernetes that tests may use: the one of `cargo xtask cluster`, or one that somebody gives.

use std::path::PathBuf;

/// Names the kubeconfig of the cluster for tests. Without it, it is that of `cargo xtask cluster up`.
pub const KUBECONFIG: &str = "BARGE_TEST_KUBECONFIG";

/// Where the cluster's kubeconfig is; none, said aloud, where there is no cluster.
///
/// # Panics
/// There is none, and [`STRICT`](crate::STRICT) is set to `1`.
pub fn kubeconfig() -> Option<PathBuf> {
    let given = std::env::var_os(KUBECONFIG).map(PathBuf::from);
    let found = given.or_else(own).filter(|path| path.is_file());
    if found.is_none() {
        crate::skipped("there is no Kubernetes; hint: cargo xtask cluster up");
    }
    found
}

/// That of `cargo xtask cluster`, which is there while the cluster runs.
fn own() -> Option<PathBuf> {
    // target/PROFILE/deps/it-HASH
    let own = std::env::current_exe().ok()?;
    Some(own.ancestors().nth(3)?.join("cluster/run/admin.kubeconfig"))
}
