//! Runs the binary in a directory of its own, with a login of its own, and with nothing of the machine's set-up.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::fake::Fake;

/// A place to run `barge` in.
pub(crate) struct Place {
    directory: tempfile::TempDir,
}

/// What a run gave.
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Place {
    /// A place without login and project.
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("project")).unwrap();
        Self { directory }
    }

    /// A place with a project named greeter, and logged in to `fake`.
    pub(crate) fn with(fake: &Fake) -> Self {
        let place = Self::new();
        place.greeter();
        place.log_in(&fake.address);
        place
    }

    pub(crate) fn log_in(&self, address: &str) {
        use std::os::unix::fs::PermissionsExt;
        std::fs::create_dir_all(self.config()).unwrap();
        let login = self.config().join("client.json");
        std::fs::write(&login, format!(r#"{{"address":"{address}","token":"secret"}}"#)).unwrap();
        std::fs::set_permissions(&login, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.directory.path().join("config")
    }

    pub(crate) fn project(&self) -> PathBuf {
        self.directory.path().join("project")
    }

    pub(crate) fn greeter(&self) {
        self.write("barge.yaml", "name: greeter\nkind: web\nreplicas: 2\n");
        self.program("dist/greeter", "#!/bin/sh\n");
    }

    pub(crate) fn write(&self, path: &str, text: &str) -> PathBuf {
        let path = self.project().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn program(&self, path: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.write(path, text);
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// The command `barge ARGUMENTS`, not yet started.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_barge"));
        command.args(arguments).current_dir(self.project()).env_clear();
        command.env("BARGE_CONFIG", self.config()).env("HOME", self.directory.path()).env("PATH", "/usr/bin:/bin");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs `barge LINE`, whose words are parted by spaces.
    pub(crate) fn run(&self, line: &str) -> Run {
        let arguments: Vec<&str> = line.split_whitespace().collect();
        self.finish(&mut self.command(&arguments))
    }

    pub(crate) fn finish(&self, command: &mut Command) -> Run {
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| {
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            let text = text.replace(&self.project().canonicalize().unwrap().display().to_string(), "PROJECT");
            text.replace(&self.config().display().to_string(), "CONFIG")
        };
        Run { code: output.status.code().unwrap(), out: text(&output.stdout), err: text(&output.stderr) }
    }
}

impl Run {
    /// Exit code, standard output and standard error as one text, for snapshots.
    pub(crate) fn told(&self) -> String {
        let mut text = format!("exit code {}\n", self.code);
        for (name, stream) in [("stdout", &self.out), ("stderr", &self.err)] {
            if !stream.is_empty() {
                text.push_str(&format!("--- {name}\n{stream}"));
            }
        }
        text
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}{}", self.out, self.err))
    }

    /// Expects success, and gives standard output.
    pub(crate) fn ok(&self) -> &str {
        assert_eq!(self.code, 0, "{}", self.told());
        &self.out
    }
}

/// The names in a directory, sorted.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
