//! Builds Kubernetes from its Go modules, once for each state of the sources.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{go, home};
use crate::{root, run, setup};

/// Says all that this machine lacks for a cluster of its own, at once.
pub(super) fn check() -> Result<()> {
    let mut lacks = Vec::new();
    if !setup::is_root() {
        lacks.push("root: nodes are namespaces of this machine".to_owned());
    }
    lacks.extend(setup::missing_of_the_cluster().map(|package| format!("the Debian package {package}")));
    if lacks.is_empty() {
        return Ok(());
    }
    bail!(
        "this machine lacks for a cluster of its own: {}; hint: KUBECONFIG=FILE uses another cluster",
        lacks.join("; ")
    )
}

/// Builds what is not there yet.
pub(super) fn build() -> Result<()> {
    let (stamp, wanted) = (home().join("built"), state_of_the_sources()?);
    if std::fs::read_to_string(&stamp).is_ok_and(|built| built == wanted) {
        return Ok(());
    }
    go::install()?;
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let paths = std::iter::once(go::directory()?).chain(std::env::split_paths(&paths));
    let paths = std::env::join_paths(paths).context("put Go before the other programs")?;
    println!("building Kubernetes; on two processors that takes some ten minutes the first time");
    let mut build = Command::new(root().join("xtask/cluster/build.sh"));
    run(build.env("K8S_ROOT", home()).env("PATH", paths).env("GOTOOLCHAIN", "local").env_remove("GOROOT"))?;
    std::fs::write(&stamp, wanted).with_context(|| format!("write {}", stamp.display()))
}

/// Differs when anything differs that is built.
fn state_of_the_sources() -> Result<String> {
    let mut hasher = DefaultHasher::new();
    let scripts = root().join("xtask/cluster");
    hash_file(&scripts.join("build.sh"), &mut hasher)?;
    hash_directory(&scripts.join("src"), &mut hasher)?;
    Ok(format!("{:016x}", hasher.finish()))
}

fn hash_directory(directory: &Path, hasher: &mut DefaultHasher) -> Result<()> {
    let entries = std::fs::read_dir(directory).with_context(|| format!("list {}", directory.display()))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    paths.sort();
    paths.iter().try_for_each(|path| if path.is_dir() { hash_directory(path, hasher) } else { hash_file(path, hasher) })
}

fn hash_file(path: &Path, hasher: &mut DefaultHasher) -> Result<()> {
    path.file_name().hash(hasher);
    std::fs::read(path).with_context(|| format!("read {}", path.display()))?.hash(hasher);
    Ok(())
}
