//! Debian's docker-registry: the distribution project's own registry.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::{Authority, TokenServer};

/// Whom the registry knows, where it asks for a name and a password: a robot account as Harbor names them.
pub const USER: &str = "robot$barge+ci";
/// Its password.
pub const PASSWORD: &str = "p$w:ö";
/// The password as bcrypt, of the lowest cost that the registry takes.
const HASH: &str = "$2b$05$bHHmRjE4NobUYTKVlC4LRunWwIIiM7p5PAa0bBlJ0.BTtifqsvCC.";

/// Whom a registry lets in.
#[derive(Debug, Clone, Copy)]
pub enum Asks<'a> {
    /// Everybody.
    Nobody,
    /// Whoever has the name and the password.
    Password,
    /// Whoever has a token of this server.
    Token(&'a TokenServer),
}

/// A registry that runs until it is dropped.
#[derive(Debug)]
pub struct DockerRegistry {
    /// Where it is.
    pub address: SocketAddr,
    child: Child,
    _directory: tempfile::TempDir,
}

#[allow(clippy::unwrap_used, clippy::panic)] // For tests alone, where a panic is how to fail.
impl DockerRegistry {
    /// Starts one that speaks plain HTTP; none where the program is missing, which is said then.
    pub fn start(asks: Asks<'_>) -> Option<Self> {
        Self::with(asks, &json!({}))
    }

    /// Starts one that speaks TLS with a certificate of `authority`, and asks clients for one where `known`.
    pub fn with_tls(asks: Asks<'_>, authority: &Authority, known: bool) -> Option<Self> {
        let server = authority.server();
        let mut tls = json!({ "certificate": server.certificate, "key": server.key });
        if known {
            tls["clientcas"] = json!([authority.file()]);
        }
        Self::with(asks, &tls)
    }

    fn with(asks: Asks<'_>, tls: &Value) -> Option<Self> {
        let program = crate::tool("docker-registry")?;
        let directory = tempfile::tempdir().unwrap();
        let configuration = configuration(directory.path(), asks, tls);
        let file = directory.path().join("config.yml");
        // JSON is YAML.
        std::fs::write(&file, configuration.to_string()).unwrap();
        let mut command = Command::new(program);
        command.arg("serve").arg(&file).env("OTEL_TRACES_EXPORTER", "none");
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = Vec::new();
        let address = loop {
            let Some(Ok(line)) = lines.next() else {
                let _ = child.kill();
                let _ = child.wait();
                panic!("docker-registry did not start: {said:?}");
            };
            if let Some((_, rest)) = line.split_once("listening on ") {
                let end = rest.find(|letter: char| !letter.is_ascii_digit() && !".:".contains(letter));
                break rest[..end.unwrap_or(rest.len())].parse().unwrap();
            }
            said.push(line);
        };
        // Read to its end, or the registry would stand still with a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Some(Self { address, child, _directory: directory })
    }

    /// Its host and port.
    pub fn host(&self) -> String {
        self.address.to_string()
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[allow(clippy::unwrap_used)] // As above.
fn configuration(directory: &Path, asks: Asks<'_>, tls: &Value) -> Value {
    let mut configuration = json!({
        "version": "0.1",
        "log": { "level": "info", "accesslog": { "disabled": true } },
        "storage": { "filesystem": { "rootdirectory": directory.join("data") }, "delete": { "enabled": true } },
        "http": { "addr": "127.0.0.1:0", "tls": tls },
    });
    match asks {
        Asks::Nobody => {}
        Asks::Password => {
            let path = directory.join("htpasswd");
            std::fs::write(&path, format!("{USER}:{HASH}\n")).unwrap();
            configuration["auth"] = json!({ "htpasswd": { "realm": "a test", "path": path } });
        }
        Asks::Token(server) => configuration["auth"] = json!({ "token": server.configuration() }),
    }
    configuration
}
