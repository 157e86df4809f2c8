//! Compiles `examples/greeter`, so that `barge demo` has built code to release on a machine without a toolchain.
//!
//! It needs nothing of the image that it runs in: on a cluster there is nothing but itself.

use std::path::PathBuf;
use std::process::Command;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let source = PathBuf::from("../../examples/greeter/src/main.rs");
    println!("cargo::rerun-if-changed={}", source.display());
    let variable = |name: &str| std::env::var(name).map_err(|error| format!("{name}: {error}"));
    let output = PathBuf::from(variable("OUT_DIR")?).join("greeter");
    let target = variable("TARGET")?;
    let musl = format!("{}-unknown-linux-musl", variable("CARGO_CFG_TARGET_ARCH")?);
    let (target, flags): (&str, &[&str]) = match has_library(&variable("RUSTC")?, &musl)? {
        true => (&musl, &["-Clinker=rust-lld", "-Clinker-flavor=ld.lld", "-Clink-self-contained=yes"]),
        // Without musl, the machine's own C library is linked into it.
        false => (&target, &["-Ctarget-feature=+crt-static"]),
    };
    let status = Command::new(variable("RUSTC")?)
        .args(["--edition", "2024", "--crate-name", "greeter", "-C", "opt-level=s", "-C", "strip=symbols"])
        .args(["-C", "panic=abort", "--target", target])
        .args(flags)
        .arg("-o")
        .arg(&output)
        .arg(&source)
        .status()?;
    if status.success() { Ok(()) } else { Err("examples/greeter does not compile".into()) }
}

/// Whether the toolchain has a standard library for the target.
fn has_library(rustc: &str, target: &str) -> Result<bool, Box<dyn std::error::Error>> {
    let answer = Command::new(rustc).args(["--print", "target-libdir", "--target", target]).output()?;
    let text = String::from_utf8(answer.stdout)?;
    Ok(answer.status.success() && std::fs::read_dir(text.trim()).is_ok_and(|mut files| files.next().is_some()))
}
