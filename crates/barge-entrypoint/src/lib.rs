//! `barge-init` as a program of its own, carried inside `barge`: what the local engine starts, and what goes into images.
//!
//! It is one static program without a C library at run time, so it runs in an image that has nothing else. The build script compiles it.
//! What it does is `barge-init`'s matter; here are only its bytes.

use std::io::Result;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

include!(concat!(env!("OUT_DIR"), "/programs.rs"));

/// The program for a kind of machine, as image indexes call it (`amd64`, `arm64`); none where the toolchain that has built us had no
/// standard library for it.
pub fn program(machine: &str) -> Option<&'static [u8]> {
    PROGRAMS.iter().find(|(name, _)| *name == machine).map(|(_, bytes)| *bytes)
}

/// Puts the program for this machine at `path`, unless it is there already. What runs from an older one goes on.
///
/// # Errors
/// It cannot be written, or none is carried for this kind of machine.
pub fn place(path: &Path) -> Result<()> {
    let machine = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let bytes = program(machine).ok_or(std::io::ErrorKind::Unsupported)?;
    if std::fs::read(path).is_ok_and(|there| there == bytes) && may_run(path)? {
        return Ok(());
    }
    barge_runtime::files::replace(path, bytes)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(MODE))
}

/// Nobody else's matter.
const MODE: u32 = 0o700;

fn may_run(path: &Path) -> Result<bool> {
    Ok(std::fs::metadata(path)?.permissions().mode() & 0o777 == MODE)
}
