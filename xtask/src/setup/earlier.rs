//! Consul, which the machine's own Debian release may not have any more, from an earlier one.
//!
//! apt fetches it and checks its signatures, with a source list, lists and a cache of its own below `target`, where it is unpacked as well:
//! nothing of the machine is changed, and no rights are needed. Where it cannot be had, the tests that need it say so.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::installed;
use crate::target;

/// The last release that has it.
const RELEASE: &str = "bullseye";
/// What Debian signs its releases with.
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// The mirror where the machine names none.
const MIRROR: &str = "http://deb.debian.org/debian/";

/// Fetches Consul where it is missing.
pub(super) fn consul() {
    // Tests look there for it (`barge_testkit::tool`).
    let place = target().join("tools/consul");
    if installed("consul") || place.join("usr/bin/consul").is_file() {
        return;
    }
    let done = match ["apt-get", "dpkg-deb", KEYS].into_iter().find(|needed| !installed(needed)) {
        Some(missing) => Err(anyhow::anyhow!("it cannot be fetched without {missing}")),
        None => {
            println!("fetching what some tests need: consul of Debian {RELEASE}");
            fetch(&place)
        }
    };
    if let Err(error) = done {
        println!("not installed, and some tests need it: consul ({error:#})");
    }
}

fn fetch(place: &Path) -> Result<()> {
    let work = target().join("tools/fetch");
    // Whatever was left by one that was interrupted.
    let _ = std::fs::remove_dir_all(&work);
    for directory in ["lists/partial", "cache/archives/partial", "state"] {
        std::fs::create_dir_all(work.join(directory)).context("make a directory for apt")?;
    }
    let source = format!("deb [signed-by={KEYS} target=Packages] {} {RELEASE} main\n", mirror());
    for (name, text) in [("sources.list", source), ("status", String::new()), ("apt.conf", settings(&work))] {
        std::fs::write(work.join(name), text).context("write apt's settings")?;
    }
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        run_in(&work, command.arg("-qq").arg("-c").arg(work.join("apt.conf")).args(arguments))
    };
    apt(&["update"])?;
    apt(&["download", "consul"])?;
    let files = std::fs::read_dir(&work).context("look for the package")?.flatten().map(|entry| entry.path());
    let package = files.into_iter().find(|path| path.extension().is_some_and(|end| end == "deb"));
    let package = package.context("apt has fetched no package")?;
    run_in(&work, Command::new("dpkg-deb").arg("-x").arg(package).arg("unpacked"))?;
    // It is there as a whole or not at all.
    std::fs::rename(work.join("unpacked"), place).with_context(|| format!("put it at {}", place.display()))?;
    std::fs::remove_dir_all(&work).context("remove what apt has left")
}

/// Read after the machine's own settings, of which a proxy stays, and what the machine does after updates does not.
fn settings(work: &Path) -> String {
    let work = work.display();
    format!(
        "Dir::Etc::SourceList \"{work}/sources.list\";\n\
         Dir::Etc::SourceParts \"/dev/null\";\n\
         Dir::State \"{work}/state\";\n\
         Dir::State::Lists \"{work}/lists\";\n\
         Dir::State::Status \"{work}/status\";\n\
         Dir::Cache \"{work}/cache\";\n\
         Acquire::Languages \"none\";\n\
         APT::Sandbox::User \"\";\n\
         APT::Update::Error-Mode \"any\";\n\
         #clear APT::Update::Pre-Invoke;\n\
         #clear APT::Update::Post-Invoke;\n\
         #clear APT::Update::Post-Invoke-Success;\n"
    )
}

/// The Debian mirror that the machine uses.
fn mirror() -> String {
    let mut ask = Command::new("apt-get");
    ask.args(["indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]).stderr(Stdio::null());
    let answer = ask.output().map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let debian = answer.lines().find(|line| line.trim_end_matches('/').ends_with("/debian"));
    debian.unwrap_or(MIRROR).to_owned()
}

/// Runs a program in a directory; what it says is told where it fails.
fn run_in(directory: &Path, command: &mut Command) -> Result<()> {
    let output = command
        .current_dir(directory)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("start {}", command.get_program().display()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().last().unwrap_or_default();
        bail!("{} failed ({}): {last}", command.get_program().display(), output.status);
    }
    Ok(())
}
