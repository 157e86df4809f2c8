//! The cluster that `cargo xtask test` uses: started for it and ended with it, unless one is there already.

use std::path::PathBuf;

use anyhow::Result;

use super::{build, given, kubeconfig, running, script};
use crate::setup;

/// How many nodes the tests need: instances of a service must be able to outlive one.
const NODES: &str = "2";

/// Installs and builds what a cluster needs.
pub(crate) fn prepare() -> Result<()> {
    if given().is_some() || running() {
        return Ok(());
    }
    setup::packages_of_the_cluster()?;
    build::check()?;
    build::build()
}

/// A cluster for as long as this lives.
pub(crate) struct ForTests {
    started: bool,
}

impl ForTests {
    /// Starts one that was prepared, unless one is there.
    pub(crate) fn start() -> Result<Self> {
        let started = given().is_none() && !running();
        // Ended also where the start broke off.
        let cluster = Self { started };
        if started {
            script("start.sh", &[NODES])?;
        }
        Ok(cluster)
    }

    /// The way in.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        given().unwrap_or_else(kubeconfig)
    }
}

impl Drop for ForTests {
    fn drop(&mut self) {
        if self.started
            && let Err(error) = script("stop.sh", &[])
        {
            eprintln!("xtask: the cluster is not wholly gone: {error:#}; hint: cargo xtask cluster down");
        }
    }
}
