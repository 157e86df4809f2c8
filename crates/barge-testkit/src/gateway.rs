//! A gateway in a process of its own, as its users have it: the real `barge gateway`.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::platform::barge_binary;
use crate::program::Program;

/// A gateway that runs. Dropping it ends it.
#[derive(Debug)]
pub struct TestGateway {
    directory: TempDir,
    program: Program,
    threads: Option<usize>,
    /// Where services answer.
    pub address: SocketAddr,
    /// Where instances are registered.
    pub api: SocketAddr,
}

#[allow(clippy::unwrap_used, clippy::missing_panics_doc)] // For tests alone, where a panic is how to fail.
impl TestGateway {
    /// Starts one on free ports.
    pub fn start() -> Self {
        Self::start_with(None)
    }

    /// Starts one with so many threads for requests, to be compared with others.
    pub fn start_with_threads(threads: usize) -> Self {
        Self::start_with(Some(threads))
    }

    fn start_with(threads: Option<usize>) -> Self {
        let directory = tempfile::Builder::new().prefix("barge-test-").tempdir().unwrap();
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut gateway = Self { directory, program: Program::default(), threads, address: nowhere, api: nowhere };
        gateway.up();
        gateway
    }

    /// Registers an instance of a service in the environment `test`, as a registrar would.
    pub fn register(&self, service: &str, number: usize, address: SocketAddr) {
        // An id as long as any other.
        let uid = format!("01ARZ3NDEKTSV4RRFFQ69G{number:04}");
        let body = format!("{{\"address\":\"{address}\",\"generation\":1,\"state\":\"online\"}}");
        self.ask("PUT", &format!("/v1/services/{service}/instances/{uid}?environment=test"), &body);
    }

    /// The instances of a service that it passes requests on to, by their ids.
    pub fn online(&self, environment: &str, service: &str) -> BTreeSet<String> {
        let text = self.ask("GET", &format!("/v1/services/{service}/instances?environment={environment}"), "");
        let list: serde_json::Value = serde_json::from_str(&text).unwrap();
        let online = list["instances"].as_array().unwrap().iter().filter(|one| one["state"] == "online");
        online.map(|one| one["uid"].as_str().unwrap().to_owned()).collect()
    }

    /// One call of the registration protocol; the result is the answer's body.
    fn ask(&self, method: &str, path: &str, body: &str) -> String {
        let token = std::fs::read_to_string(self.data().join("gateway.token")).unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            token.trim(),
            body.len()
        );
        let mut stream = TcpStream::connect(self.api).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    /// Starts it again, after `kill`, on the same ports.
    pub fn up(&mut self) {
        let mut command = Command::new(barge_binary());
        command.args(["gateway", "--any-port", "--json", "--data"]).arg(self.data());
        if let Some(threads) = self.threads {
            command.args(["--threads", &threads.to_string()]);
        }
        let told = self.program.start(command);
        self.address = told["gateway"].as_str().unwrap().parse().unwrap();
        self.api = told["registrations"].as_str().unwrap().parse().unwrap();
    }

    /// Its directory, by which platforms find it.
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("gateway")
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.program.pid()
    }

    /// Whether its process is there.
    pub fn runs(&mut self) -> bool {
        self.program.runs()
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) {
        self.program.kill();
    }
}

impl Drop for TestGateway {
    fn drop(&mut self) {
        if self.program.runs() {
            self.program.kill();
        }
    }
}
