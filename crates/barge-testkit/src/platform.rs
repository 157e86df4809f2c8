//! A whole platform as its users have it: the real `barge` binary, started with `barge up` in a directory of its own.

use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::gateway::TestGateway;
use crate::program::Program;

/// How long the platform may take to start, and to stop.
const PATIENCE: Duration = Duration::from_secs(30);

/// The `barge` binary: `$BARGE_BIN`, else the one beside the test's own binary.
///
/// # Panics
/// It was not built.
#[allow(clippy::panic)] // For tests alone, where a panic is how to fail.
pub fn barge_binary() -> PathBuf {
    beside("BARGE_BIN", "barge")
}

/// The greeter of `examples/greeter`: `$GREETER_BIN`, else the one beside the test's own binary.
///
/// # Panics
/// It was not built.
pub fn greeter_binary() -> PathBuf {
    beside("GREETER_BIN", "greeter")
}

#[allow(clippy::panic)] // As above.
fn beside(variable: &str, name: &str) -> PathBuf {
    if let Some(path) = std::env::var_os(variable) {
        return path.into();
    }
    // target/PROFILE/deps/it-HASH -> target/PROFILE/NAME
    let own = std::env::current_exe().unwrap_or_default();
    let path = own.parent().and_then(Path::parent).map(|directory| directory.join(name)).unwrap_or_default();
    assert!(path.is_file(), "{} is missing: run `cargo xtask test`, which builds it", path.display());
    path
}

/// What is around a platform.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// The directory of a gateway that runs on its own.
    pub behind: Option<PathBuf>,
    /// The data directory, where it is not the test's own.
    pub data: Option<PathBuf>,
    /// Words before `barge`, such as `prlimit --nofile=256`.
    pub prefix: Vec<String>,
    /// Variables.
    pub env: Vec<(String, String)>,
    /// Options of `barge up`, the registry's port among them.
    pub options: Vec<String>,
}

/// A platform that runs. Dropping it stops it with everything that it started.
#[derive(Debug)]
pub struct TestPlatform {
    directory: TempDir,
    program: Program,
    surroundings: Surroundings,
    /// Where the API is, such as `http://127.0.0.1:40001`.
    pub address: String,
    /// Where the gateway listens.
    pub gateway: SocketAddr,
    /// Host and port of the registry.
    pub registry: String,
    /// An administrator's token.
    pub token: String,
}

#[allow(clippy::unwrap_used, clippy::panic, clippy::missing_panics_doc)] // For tests alone, where a panic is how to fail.
impl TestPlatform {
    /// Starts one on free ports.
    pub fn start() -> Self {
        Self::start_in(Surroundings::default())
    }

    /// Starts one that uses a gateway which runs on its own.
    pub fn start_behind(gateway: &TestGateway) -> Self {
        Self::start_in(Surroundings { behind: Some(gateway.data()), ..Surroundings::default() })
    }

    /// Starts one in such surroundings.
    pub fn start_in(surroundings: Surroundings) -> Self {
        let directory = tempfile::Builder::new().prefix("barge-test-").tempdir().unwrap();
        let mut platform = Self {
            directory,
            program: Program::default(),
            surroundings,
            address: String::new(),
            gateway: SocketAddr::from(([127, 0, 0, 1], 0)),
            registry: String::new(),
            token: String::new(),
        };
        platform.up();
        platform
    }

    /// Starts the platform again, after `kill` or `stop`.
    pub fn up(&mut self) {
        let words = self.surroundings.prefix.iter().map(Into::into).chain([barge_binary().into_os_string()]);
        let words: Vec<std::ffi::OsString> = words.collect();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(["up", "--no-login", "--json", "--data"]).arg(self.data());
        command.envs(self.surroundings.env.iter().map(|(name, value)| (name, value)));
        match &self.surroundings.behind {
            Some(gateway) => command.args(["--port", "0", "--registry-port", "0", "--gateway"]).arg(gateway),
            None if self.surroundings.options.is_empty() => command.arg("--any-port"),
            None => command.args(["--port", "0", "--gateway-port", "0"]).args(&self.surroundings.options),
        };
        let told = self.program.start(command);
        self.address = told["address"].as_str().unwrap().to_owned();
        self.gateway = told["gateway"].as_str().unwrap().parse().unwrap();
        self.registry = told["registry"].as_str().unwrap().to_owned();
        self.token = std::fs::read_to_string(told["token_file"].as_str().unwrap()).unwrap().trim().to_owned();
    }

    /// The platform's data directory.
    pub fn data(&self) -> PathBuf {
        self.surroundings.data.clone().unwrap_or_else(|| self.directory.path().join("data"))
    }

    /// A new directory for a project.
    pub fn project(&self, name: &str) -> PathBuf {
        let path = self.directory.path().join("projects").join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    /// A new project of greeter, as a build would leave it but for its version (`dist/greeter.conf`), with this `barge.yaml`.
    pub fn greeter_project(&self, name: &str, manifest: &str) -> PathBuf {
        let project = self.project(name);
        put_greeter(&project, manifest);
        project
    }

    /// The platform's process id.
    pub fn pid(&self) -> u32 {
        self.program.pid()
    }

    /// Whether the platform's process is there.
    pub fn runs(&mut self) -> bool {
        self.program.runs()
    }

    /// Kills the platform with SIGKILL, as a power cut or the kernel would.
    pub fn kill(&mut self) {
        self.program.kill();
    }

    /// Stops the platform with SIGTERM.
    pub fn stop(&mut self) {
        let Some(mut child) = self.program.take() else { return };
        signal("TERM", child.id());
        let deadline = Instant::now() + PATIENCE;
        while child.try_wait().unwrap().is_none() {
            if Instant::now() > deadline {
                child.kill().unwrap();
                child.wait().unwrap();
                if !std::thread::panicking() {
                    panic!("the platform did not stop within {} s of SIGTERM", PATIENCE.as_secs());
                }
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A `barge` command that talks to this platform, to be run in `directory`.
    pub fn command(&self, directory: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(barge_binary());
        command
            .args(arguments)
            .current_dir(directory)
            .env("BARGE_SERVER", &self.address)
            .env("BARGE_TOKEN", &self.token)
            .env("BARGE_CONFIG", self.directory.path().join("config"))
            // What another test has built must not be found.
            .env("BARGE_CACHE", self.directory.path().join("cache"))
            .env_remove("BARGE_ENVIRONMENT")
            .stdin(Stdio::null());
        command
    }

    /// Runs a command that must succeed; the result is its standard output.
    pub fn barge(&self, directory: &Path, arguments: &[&str]) -> String {
        let output = self.barge_output(directory, arguments);
        assert!(output.status.success(), "barge {arguments:?} failed ({}):\n{}", output.status, told(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs a command that must end with `code`; the result is everything that it printed.
    pub fn barge_fails(&self, directory: &Path, arguments: &[&str], code: i32) -> String {
        let output = self.barge_output(directory, arguments);
        assert_eq!(output.status.code(), Some(code), "barge {arguments:?} said:\n{}", told(&output));
        told(&output)
    }

    /// Runs a command whatever comes of it.
    pub fn barge_output(&self, directory: &Path, arguments: &[&str]) -> Output {
        self.command(directory, arguments).output().unwrap()
    }

    /// Runs a command that must succeed, with `--json`; the result is its document.
    pub fn barge_json(&self, directory: &Path, arguments: &[&str]) -> serde_json::Value {
        let text = self.barge(directory, &[arguments, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("barge {arguments:?} printed {text:?}: {error}"))
    }

    /// Processes of this platform's instances, and the barge-init of each.
    pub fn instance_processes(&self) -> Vec<u32> {
        instance_processes(&self.data())
    }
}

/// Processes of instances whose files are below `directory`, and the barge-init of each.
pub fn instance_processes(directory: &Path) -> Vec<u32> {
    let below = directory.to_string_lossy();
    let of_instance = |pid: &u32| {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let works_in = std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
        works_in.starts_with(directory)
            || (String::from_utf8_lossy(&command).contains(&*below) && command.starts_with(b"barge-init"))
    };
    let entries = std::fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).filter(of_instance).collect()
}

impl Drop for TestPlatform {
    fn drop(&mut self) {
        self.stop();
        // A platform that was killed has left its instances.
        for pid in self.instance_processes() {
            signal("KILL", pid);
        }
    }
}

/// What a command printed, both ways.
fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Sends a signal, by name, to a process that may be gone.
pub fn signal(name: &str, pid: u32) {
    // `kill` says by itself what is wrong; a process that is gone already is what was wanted.
    let _ = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).stderr(Stdio::null()).status();
}

/// Makes a directory a project of greeter.
#[allow(clippy::unwrap_used, clippy::missing_panics_doc)] // For tests alone, where a panic is how to fail.
pub fn put_greeter(project: &Path, manifest: &str) {
    let dist = project.join("dist");
    std::fs::create_dir_all(&dist).unwrap();
    std::fs::write(project.join("barge.yaml"), manifest).unwrap();
    std::fs::copy(greeter_binary(), dist.join("greeter")).unwrap();
    std::fs::set_permissions(dist.join("greeter"), Permissions::from_mode(0o755)).unwrap();
}
