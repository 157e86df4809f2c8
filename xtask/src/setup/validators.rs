//! The official validators of CycloneDX and SPDX, which are Python packages: in an environment of their own below `target`, where nothing
//! of the machine is changed. Where they cannot be had, the tests that need them say so.

use std::process::{Command, Stdio};

use anyhow::{Result, ensure};

use super::installed;
use crate::root;

/// Both with the versions that the tests have been seen with.
const PACKAGES: [&str; 2] = ["cyclonedx-python-lib[json-validation]==11.12.0", "spdx-tools==0.8.5"];

/// Fetches them where they are missing.
pub(super) fn of_bills() {
    // Tests look there for it (`barge_testkit::tool`).
    let place = root().join("target/tools/pyspdxtools/usr");
    if place.join("bin/pyspdxtools").is_file() {
        return;
    }
    println!("fetching what some tests need: the validators of CycloneDX and SPDX");
    let python = |program: &std::path::Path, words: &[&str]| -> Result<()> {
        let done = Command::new(program).args(words).stdin(Stdio::null()).status()?;
        ensure!(done.success(), "{} {}: {done}", program.display(), words.join(" "));
        Ok(())
    };
    let place_text = place.display().to_string();
    let made = if installed("python3") {
        python("python3".as_ref(), &["-m", "venv", "--clear", &place_text]).and_then(|()| {
            let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
            python(&place.join("bin/python3"), &[&install[..], &PACKAGES].concat())
        })
    } else {
        Err(anyhow::anyhow!("there is no python3"))
    };
    if let Err(error) = made {
        println!("not installed, and some tests need them: the validators of CycloneDX and SPDX ({error:#})");
    }
}
