//! The Go toolchain of which Kubernetes is built: the machine's, where it is new enough, or one from the module proxy, which any Go fetches.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::home;
use crate::{output, setup};

/// What `xtask/cluster/src/go.mod` asks for.
const LEAST: (u32, u32) = (1, 26);
/// The toolchain as a module (go.dev/doc/toolchain).
const MODULE: &str = "golang.org/toolchain@v0.0.1-go1.26.8.linux-amd64";

/// The directory with a `go` that is new enough.
///
/// # Errors
/// There is no Go at all, or it cannot fetch a newer one.
pub(super) fn directory() -> Result<PathBuf> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let places: Vec<PathBuf> = std::env::split_paths(&paths).chain([PathBuf::from("/usr/local/go/bin")]).collect();
    let found: Vec<PathBuf> = places.into_iter().filter(|place| place.join("go").is_file()).collect();
    if let Some(place) = found.iter().find(|place| version(place).is_some_and(|version| version >= LEAST)) {
        return Ok(place.clone());
    }
    let Some(old) = found.first() else {
        bail!("there is no Go to build Kubernetes with; hint: apt-get install golang-go");
    };
    newer(old)
}

/// Such as 1 and 26 of `go1.26.8`.
fn version(place: &Path) -> Option<(u32, u32)> {
    let text = output(go(place).args(["env", "GOVERSION"])).ok()?;
    let mut parts = text.trim().strip_prefix("go")?.split('.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??))
}

/// Fetches a newer one with the one in `place`.
fn newer(place: &Path) -> Result<PathBuf> {
    let cache = home().join("go");
    std::fs::create_dir_all(&cache).with_context(|| format!("make {}", cache.display()))?;
    println!("fetching a newer Go");
    let told = output(
        go(place).args(["mod", "download", "-json", MODULE]).env("GOPATH", &cache).env("GOFLAGS", "-modcacherw"),
    )?;
    let told: serde_json::Value = serde_json::from_str(&told).context("understand go mod download")?;
    let toolchain = told["Dir"].as_str().map(PathBuf::from).context("go mod download names no directory")?;
    // Modules have no programs, so that none of their files can be executed.
    for tools in [toolchain.join("bin"), toolchain.join("pkg/tool/linux_amd64")] {
        let entries = std::fs::read_dir(&tools).with_context(|| format!("list {}", tools.display()))?;
        for entry in entries {
            let path = entry.with_context(|| format!("list {}", tools.display()))?.path();
            let executable = PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(&path, executable)
                .with_context(|| format!("make {} executable", path.display()))?;
        }
    }
    Ok(toolchain.join("bin"))
}

/// As it is there, whatever it would rather fetch by itself.
fn go(place: &Path) -> Command {
    let mut command = Command::new(place.join("go"));
    command.env("GOTOOLCHAIN", "local").env_remove("GOROOT");
    command
}

/// Installs Debian's, where there is none.
pub(super) fn install() -> Result<()> {
    let there = setup::installed("go") || Path::new("/usr/local/go/bin/go").is_file();
    if there { Ok(()) } else { setup::go() }
}
