//! A service that misbehaves as it is told to (`misbehaves.py`), and what its instances themselves say.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use barge_testkit::{TestPlatform, tool};
use serde_json::Value;

use crate::support::PATIENCE;

/// Python itself, and not something that looks for it: an instance has another home. `None`, said aloud, where there is none.
pub(crate) fn python() -> Option<String> {
    let output = Command::new(tool("python3")?).args(["-c", "import sys; print(sys.executable)"]).output().unwrap();
    Some(String::from_utf8(output.stdout).unwrap().trim().to_owned())
}

/// Makes a project of greeter one whose service misbehaves in this way; `more` are further lines of its barge.yaml.
pub(crate) fn misbehave(project: &Path, python: &str, mode: &str, more: &str) {
    let manifest = std::fs::read_to_string(project.join("barge.yaml")).unwrap();
    // Name, kind and number of instances stay.
    let first: Vec<&str> = manifest.lines().take(3).collect();
    let first = first.join("\n");
    let manifest = format!("{first}\ncommand: {python} misbehaves.py {mode}\nhealthcheck: /healthcheck\n{more}");
    std::fs::write(project.join("barge.yaml"), manifest).unwrap();
    std::fs::write(project.join("dist/misbehaves.py"), include_str!("misbehaves.py")).unwrap();
}

/// The service's instances, as the API tells of them.
pub(crate) fn instances(platform: &TestPlatform, project: &Path) -> Vec<Value> {
    platform.barge_json(project, &["status"])["instances"].as_array().unwrap().clone()
}

/// Those of the release that is on its way.
pub(crate) fn candidates(platform: &TestPlatform, project: &Path) -> Vec<Value> {
    let mut all = instances(platform, project);
    all.retain(|one| one["role"] == "candidate");
    all
}

/// What an instance itself answers, past the gateway; nothing where it ends instead.
pub(crate) fn ask(instance: &Value, path: &str) -> String {
    let address = instance["address"].as_str().unwrap().parse().unwrap();
    let answer = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    answer().unwrap_or_default().split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
}

/// Whether a process is there and has not ended.
pub(crate) fn alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The field before, a name, may hold anything.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}
