//! The conformance suite of the distribution specification, which Go builds from the module proxy: below `target`, where nothing of the
//! machine is changed. Where it cannot be had, the test that needs it says so.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::installed;
use crate::root;

/// The suite as a module, of the version that the test has been seen with.
const MODULE: &str = "github.com/opencontainers/distribution-spec/conformance@v0.0.0-20260831232431-97274622c111";
/// What Go calls the program.
const BUILT: &str = "conformance";

/// Builds it where it is missing.
pub(super) fn of_registries() {
    // Tests look there for it (`barge_testkit::tool`).
    let place = root().join("target/tools/oci-conformance/usr/bin");
    if place.join("oci-conformance").is_file() {
        return;
    }
    println!("building what a test needs: {MODULE}");
    if let Err(error) = build(&place) {
        println!("not built, and a test needs it: the conformance suite of the distribution specification ({error:#})");
    }
}

fn build(place: &Path) -> Result<()> {
    super::go()?;
    let Some(go) = go() else { bail!("there is no Go") };
    std::fs::create_dir_all(place).with_context(|| format!("make {}", place.display()))?;
    // It says itself which version of Go it needs, and Go fetches that.
    let mut command = Command::new(go);
    command.args(["install", MODULE]).env("GOBIN", place).env_remove("GOFLAGS").env_remove("GOTOOLCHAIN");
    crate::run(&mut command)?;
    std::fs::rename(place.join(BUILT), place.join("oci-conformance")).context("give it its name")
}

fn go() -> Option<PathBuf> {
    let own = PathBuf::from("/usr/local/go/bin/go");
    if installed("go") { Some("go".into()) } else { Some(own).filter(|own| own.is_file()) }
}
