//! The layers: which crate of ours may use which, and that the pure one has no IO at all.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::output;

/// What each crate may use of ours, in the order from the bottom up. Tests may use more.
const LAYERS: [(&str, &[&str]); 26] = [
    ("barge-model", &[]),
    ("barge-runtime", &[]),
    ("barge-init", &[]),
    ("barge-entrypoint", &["barge-runtime"]),
    ("barge-load", &["barge-runtime"]),
    ("barge-api", &["barge-model"]),
    ("barge-crds", &["barge-model"]),
    ("barge-engine", &["barge-model"]),
    ("barge-testkit", &["barge-model", "barge-engine"]),
    (
        "barge-world",
        &["barge-model", "barge-crds", "barge-entrypoint", "barge-image", "barge-registry", "barge-testkit"],
    ),
    ("barge-image", &["barge-model"]),
    ("barge-java", &["barge-model", "barge-image"]),
    ("barge-sbom", &["barge-model", "barge-image", "barge-java"]),
    ("barge-registry", &["barge-runtime"]),
    ("barge-gateway", &["barge-model", "barge-runtime"]),
    ("barge-registrar", &["barge-model", "barge-gateway", "barge-crds", "barge-runtime"]),
    ("barge-engine-local", &["barge-model", "barge-engine", "barge-image", "barge-init", "barge-runtime"]),
    ("barge-engine-kube", &["barge-model", "barge-engine", "barge-crds", "barge-init", "barge-runtime"]),
    ("barge-cluster", &["barge-model", "barge-crds", "barge-image", "barge-runtime"]),
    ("barge-adopt", &["barge-model", "barge-crds", "barge-image", "barge-cluster"]),
    ("barge-lease", &[]),
    ("barge-operator", &["barge-model", "barge-crds", "barge-init", "barge-lease", "barge-runtime"]),
    ("barge-server", &["barge-model", "barge-api", "barge-engine", "barge-runtime"]),
    ("greeter", &[]),
    ("e2e", &[]),
    ("xtask", &[]),
];

/// The program that composes; it alone may use everything.
const COMPOSES: &str = "barge-cli";

/// Crates that do IO, of which none may be below the model.
const IO: [&str; 8] = ["tokio", "hyper", "reqwest", "axum", "sqlx-core", "sea-orm", "kube", "nix"];

/// Checks.
pub(crate) fn check() -> Result<()> {
    let metadata = output(Command::new("cargo").args(["metadata", "--no-deps", "--format-version", "1", "--locked"]))?;
    let metadata: serde_json::Value = serde_json::from_str(&metadata).context("understand cargo metadata")?;
    let layers: BTreeMap<&str, &[&str]> = LAYERS.into_iter().collect();
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let names: Vec<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        if name == COMPOSES {
            continue;
        }
        let Some(allowed) = layers.get(name) else {
            bail!("{name} has no place in the layers; give it one in xtask/src/layers.rs and ARCHITECTURE.md");
        };
        for dependency in package["dependencies"].as_array().map(Vec::as_slice).unwrap_or_default() {
            let used = dependency["name"].as_str().unwrap_or_default();
            if dependency["kind"].is_null() && names.contains(&used) && !allowed.contains(&used) {
                bail!("{name} uses {used}, which is not below it (xtask/src/layers.rs)");
            }
        }
    }
    no_io_below_the_model()
}

fn no_io_below_the_model() -> Result<()> {
    let tree = ["tree", "--locked", "-p", "barge-model", "-e", "normal", "--prefix", "none", "-f", "{p}"];
    let tree = output(Command::new("cargo").args(tree))?;
    let found = tree.lines().filter_map(|line| line.split(' ').next()).find(|name| IO.contains(name));
    match found {
        Some(name) => bail!("barge-model is pure, and depends on {name}"),
        None => Ok(()),
    }
}
