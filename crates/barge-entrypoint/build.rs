//! Compiles `barge-init` as a program that needs nothing of the machine it runs on, for each kind of machine whose standard library this
//! toolchain has (`rustup target add x86_64-unknown-linux-musl aarch64-unknown-linux-musl`).
//!
//! The machine that compiles is never left out: without musl, its own C library is linked into the program, which becomes larger.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Kinds of machines, as Rust and as image indexes call them.
const MACHINES: [(&str, &str); 2] = [("x86_64", "amd64"), ("aarch64", "arm64")];

/// A linker that comes with the toolchain, and links for every kind of machine.
const LINK: &str = "-Clinker=rust-lld\u{1f}-Clinker-flavor=ld.lld\u{1f}-Clink-self-contained=yes";

/// Beginnings of variables that say how something else is compiled: the build around us, clippy's included.
const FOR_THE_BUILD_AROUND_US: [&str; 8] = [
    "CARGO_BUILD_",
    "CARGO_CFG_",
    "CARGO_FEATURE_",
    "CARGO_INCREMENTAL",
    "CARGO_PROFILE_",
    "CARGO_TARGET_",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTFLAGS",
];

fn main() -> Result<(), Box<dyn Error>> {
    for input in ["build.rs", "../barge-init/src", "../barge-init/Cargo.toml", "../../Cargo.toml", "../../Cargo.lock"] {
        println!("cargo::rerun-if-changed={input}");
    }
    let out = PathBuf::from(variable("OUT_DIR")?);
    let own = variable("CARGO_CFG_TARGET_ARCH")?;
    let mut arms = String::new();
    for (machine, name) in MACHINES {
        let musl = format!("{machine}-unknown-linux-musl");
        let program = if has_library(&musl)? {
            compile(&out, &musl, LINK)?
        } else if machine == own {
            compile(&out, &variable("TARGET")?, "-Ctarget-feature=+crt-static")?
        } else {
            continue;
        };
        arms.push_str(&format!("    (\"{name}\", include_bytes!({:?})),\n", program.display().to_string()));
    }
    let table = format!(
        "/// Programs by the kind of machine that they are for.\nconst PROGRAMS: &[(&str, &[u8])] = &[\n{arms}];\n"
    );
    std::fs::write(out.join("programs.rs"), table)?;
    Ok(())
}

/// Whether the toolchain has a standard library for the target.
fn has_library(target: &str) -> Result<bool, Box<dyn Error>> {
    let answer = Command::new(variable("RUSTC")?).args(["--print", "target-libdir", "--target", target]).output()?;
    let text = String::from_utf8(answer.stdout)?;
    let directory = text.trim();
    if !answer.status.success() || directory.is_empty() {
        return Ok(false);
    }
    // Once it is added, this is to be compiled again.
    println!("cargo::rerun-if-changed={directory}");
    Ok(std::fs::read_dir(directory).is_ok_and(|mut files| files.next().is_some()))
}

/// Compiles barge-init; the result is the program.
fn compile(out: &Path, target: &str, flags: &str) -> Result<PathBuf, Box<dyn Error>> {
    let directory = out.join("target");
    let mut cargo = Command::new(variable("CARGO")?);
    let inherited = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
    for name in inherited.filter(|name| FOR_THE_BUILD_AROUND_US.iter().any(|prefix| name.starts_with(prefix))) {
        cargo.env_remove(name);
    }
    cargo
        .args(["build", "--quiet", "--locked", "--profile", "entrypoint", "-p", "barge-init", "--target", target])
        .args(["--manifest-path", "../barge-init/Cargo.toml", "--target-dir"])
        .arg(&directory)
        .env("CARGO_ENCODED_RUSTFLAGS", flags);
    let done = cargo.output()?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        return Err(format!("barge-init does not compile for {target}:\n{said}").into());
    }
    Ok(directory.join(target).join("entrypoint/barge-init"))
}

fn variable(name: &str) -> Result<String, Box<dyn Error>> {
    std::env::var(name).map_err(|error| format!("{name}: {error}").into())
}
