//! What tests of several crates share.
//!
//! It leaves out everything that one crate alone needs: that lives in the crate's own `tests/it/support.rs`.

pub mod cluster;
mod engine;
pub mod fuzz;
mod gateway;
mod platform;
mod program;
pub mod registry;

use std::path::PathBuf;

pub use engine::FakeEngine;
pub use gateway::TestGateway;
pub use platform::{Surroundings, TestPlatform, barge_binary, greeter_binary, instance_processes, put_greeter, signal};

/// Set to `1` where every tool must be there, as in CI: a test that lacks one fails then instead of being skipped.
pub const STRICT: &str = "BARGE_TEST_STRICT";

/// Names a file that collects what was skipped, for whoever runs the tests.
pub const SKIPPED: &str = "BARGE_TEST_SKIPPED";

/// The program `name` on the search path, or among those that `cargo xtask test` has fetched; or a file, by its whole path. Where it is
/// missing, the running test says so on stderr and should return.
///
/// # Panics
/// The program is missing, and [`STRICT`] is set to `1`.
#[allow(clippy::panic)] // For tests alone, where a panic is how to fail.
pub fn tool(name: &str) -> Option<PathBuf> {
    let found = std::env::var_os("PATH")
        .into_iter()
        .flat_map(|path| std::env::split_paths(&path).map(|directory| directory.join(name)).collect::<Vec<_>>())
        .chain(fetched(name))
        .find(|path| path.is_file());
    if found.is_none() {
        skipped(&format!("{name} is not installed"));
    }
    found
}

/// Where `cargo xtask test` puts programs that Debian's current release does not have.
fn fetched(name: &str) -> Option<PathBuf> {
    // target/PROFILE/deps/it-HASH
    let own = std::env::current_exe().ok()?;
    Some(own.ancestors().nth(3)?.join("tools").join(name).join("usr/bin").join(name))
}

/// Says that the running test, which should return now, cannot be run here, and why.
///
/// # Panics
/// [`STRICT`] is set to `1`.
#[allow(clippy::panic)] // As above.
pub fn skipped(why: &str) {
    // The test harness names each test's thread after the test.
    let thread = std::thread::current();
    let line = format!("SKIPPED: {}: {why}", thread.name().unwrap_or("a test"));
    assert!(std::env::var_os(STRICT).is_none_or(|value| value != "1"), "{line}");
    if let Some(list) = std::env::var_os(SKIPPED) {
        let mut list = std::fs::OpenOptions::new().append(true).open(list);
        // A list that cannot be written is missed by nobody but the summary.
        let _ = list.as_mut().map(|file| std::io::Write::write_all(file, format!("{line}\n").as_bytes()));
    }
    // Not eprintln!, which the harness keeps to itself when the test passes.
    let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{line}\n").as_bytes());
}
