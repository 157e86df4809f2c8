//! `cargo xtask schemathesis`: asks a running server whatever its document allows, and much that it does not, and judges every answer by
//! the document. Too long for the tests, and it needs a program from PyPI.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::{root, target};

/// The version with which the figures in the project's notes were seen.
const PACKAGE: &str = "schemathesis==4.32.5";
/// What each answer is judged by.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,\
                      response_headers_conformance";

/// How long.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long it goes on asking
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    seconds: u32,
    /// The same questions as in an earlier run
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
}

/// Asks.
pub(crate) fn run(args: &Args) -> Result<()> {
    let schemathesis = installed()?;
    crate::run(Command::new("cargo").args(["build", "-q", "--locked", "-p", "barge-cli", "-p", "greeter"]))?;
    let directory = root().join("target/schemathesis/platform");
    if directory.exists() {
        std::fs::remove_dir_all(&directory).context("remove what the last run has left")?;
    }
    let platform = Platform::start(&directory)?;
    platform.release(&directory.join("project"))?;
    crate::run(
        Command::new(schemathesis)
            .arg("run")
            .arg(root().join("docs/openapi.json"))
            .args(["--url", &platform.address, "--header", &format!("Authorization: Bearer {}", platform.token)])
            .args(["--checks", CHECKS, "--max-time", &args.seconds.to_string(), "--seed", &args.seed.to_string()])
            // It would revoke its own token.
            .args(["--exclude-path-regex", "tokens/"]),
    )
}

/// The program, in an environment of its own.
fn installed() -> Result<PathBuf> {
    let environment = root().join("target/schemathesis/python");
    let program = environment.join("bin/schemathesis");
    if !program.is_file() {
        crate::run(Command::new("python3").args(["-m", "venv"]).arg(&environment))?;
        crate::run(Command::new(environment.join("bin/pip")).args(["install", "--quiet", PACKAGE]))?;
    }
    Ok(program)
}

/// A platform that ends with this.
struct Platform {
    child: Child,
    config: PathBuf,
    address: String,
    token: String,
}

impl Platform {
    fn start(directory: &Path) -> Result<Self> {
        let config = directory.join("config");
        let mut command = Command::new(barge());
        command.args(["up", "--json", "--any-port", "--data"]).arg(directory.join("data"));
        command.env("XDG_CONFIG_HOME", &config).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().context("start a platform")?;
        let mut line = String::new();
        let told = child.stdout.take().map(BufReader::new).map(|mut told| told.read_line(&mut line));
        let mut platform = Self { child, config, address: String::new(), token: String::new() };
        told.transpose().context("read what the platform says")?;
        let told: serde_json::Value = serde_json::from_str(&line).context("understand what the platform says")?;
        let text = |name: &str| told[name].as_str().unwrap_or_default().to_owned();
        platform.address = text("address");
        let token = std::fs::read_to_string(text("token_file")).context("read the token")?;
        platform.token = token.trim().to_owned();
        Ok(platform)
    }

    /// Something to ask about: a service with two instances.
    fn release(&self, project: &Path) -> Result<()> {
        let built = project.join("dist");
        std::fs::create_dir_all(&built).context("make a project")?;
        std::fs::write(project.join("barge.yaml"), "name: greeter\nkind: web\nreplicas: 2\n").context("write it")?;
        std::fs::copy(target().join("debug/greeter"), built.join("greeter")).context("copy greeter")?;
        let version = root().join("examples/greeter/versions/good.conf");
        std::fs::copy(version, built.join("greeter.conf")).context("copy its configuration")?;
        for words in [&["deploy"][..], &["approve", "--wait", "complete"]] {
            let mut command = Command::new(barge());
            command.args(words).current_dir(project).env("XDG_CONFIG_HOME", &self.config);
            let ended = command.stdout(Stdio::null()).status().with_context(|| format!("run barge {}", words[0]))?;
            ensure!(ended.success(), "barge {} failed ({ended})", words[0]);
        }
        ensure!(!self.address.is_empty(), "the platform did not say where it is");
        Ok(())
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        // It ends its instances first.
        let asked = Command::new("kill").arg(self.child.id().to_string()).status();
        if !asked.is_ok_and(|status| status.success()) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

fn barge() -> PathBuf {
    target().join("debug/barge")
}
