//! The distribution specification's own conformance suite against ours.

use std::path::Path;
use std::process::Command;

use crate::support::Registry;

/// What the suite is told not to try: the specification leaves it to the registry, and ours does not have it.
const LEFT_OUT: [(&str, &str); 1] = [
    // Digests are SHA-256 throughout, in names of files too.
    ("OCI_DATA_SHA512", "false"),
];

#[tokio::test]
async fn the_specifications_own_suite_has_nothing_to_object_to() {
    let Some(suite) = barge_testkit::tool("oci-conformance") else { return };
    let registry = Registry::new();
    let address = registry.listen().await;
    let results = tempfile::tempdir().unwrap();
    // What the next version asks for beyond it can be told by this one already.
    for version in ["1.1", "1.1+dev"] {
        let told = run(&suite, &address.to_string(), version, results.path()).await;
        let failed: Vec<&str> =
            told.lines().filter(|line| line.contains(": FAIL") || line.contains(": Error")).collect();
        assert!(failed.is_empty(), "{version}: {failed:#?}");
        // A suite that did not try anything would have nothing to object to either.
        let passed = told.lines().find_map(|line| line.trim().strip_prefix("Pass..")?.rsplit(' ').next()?.parse().ok());
        assert!(passed > Some(500), "{version}: {passed:?} passed\n{told}");
    }
}

/// Runs the suite; the result is what it says.
async fn run(suite: &Path, registry: &str, version: &str, results: &Path) -> String {
    let mut command = Command::new(suite);
    command.current_dir(results).env("OCI_RESULTS_DIR", results.join(version)).env("OCI_VERSION", version);
    command.env("OCI_REGISTRY", registry).env("OCI_TLS", "disabled").envs(LEFT_OUT);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
