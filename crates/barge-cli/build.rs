//! Compiles `examples/greeter`, so that `barge demo` has built code to release on a machine without a toolchain.

use std::path::PathBuf;
use std::process::Command;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let source = PathBuf::from("../../examples/greeter/src/main.rs");
    println!("cargo::rerun-if-changed={}", source.display());
    let variable = |name: &str| std::env::var(name).map_err(|error| format!("{name}: {error}"));
    let output = PathBuf::from(variable("OUT_DIR")?).join("greeter");
    let status = Command::new(variable("RUSTC")?)
        .args(["--edition", "2024", "--crate-name", "greeter", "-C", "opt-level=s", "-C", "strip=symbols"])
        .args(["-C", "panic=abort", "--target", &variable("TARGET")?, "-o"])
        .arg(&output)
        .arg(&source)
        .status()?;
    if status.success() { Ok(()) } else { Err("examples/greeter does not compile".into()) }
}
