//! `barge gateway` as a pod has it: listening for others, with a token and a domain that it is given.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout};
use std::time::Duration;

use serde_json::Value;

use crate::support::Place;

/// Ended with the test.
struct Gateway {
    child: Child,
    _out: BufReader<ChildStdout>,
    told: Value,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Gateway {
    fn start(place: &Place, arguments: &[&str]) -> Self {
        let mut all = vec!["gateway", "--any-port", "--json", "--data", "gateway"];
        all.extend(arguments);
        let mut child = place.command(&all).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let told = serde_json::from_str(&line).unwrap();
        Self { child, _out: out, told }
    }

    /// What is answered to a GET at one of its ports, on loopback.
    fn get(&self, port: &str, path: &str, host: &str, token: &str) -> String {
        let address = self.told[port].as_str().unwrap().replace("0.0.0.0", "127.0.0.1");
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

const INSTANCES: &str = "/v1/services/greeter/instances?environment=test";

#[test]
fn with_an_address_and_a_token_it_is_there_for_others() {
    let place = Place::new();
    let token = place.write("token", "swordfish\n");
    let gateway = Gateway::start(
        &place,
        &["--listen", "0.0.0.0", "--token-file", token.to_str().unwrap(), "--domain", ".Apps.Example"],
    );
    for port in ["gateway", "registrations"] {
        assert!(gateway.told[port].as_str().unwrap().starts_with("0.0.0.0:"), "{}", gateway.told);
    }
    assert!(gateway.get("registrations", "/healthz", "any", "").starts_with("HTTP/1.1 200 "), "a probe has no token");
    assert!(gateway.get("registrations", INSTANCES, "any", "wrong").starts_with("HTTP/1.1 401 "));
    assert!(gateway.get("registrations", INSTANCES, "any", "swordfish").starts_with("HTTP/1.1 200 "));
    let known = gateway.get("gateway", "/", "greeter.test.apps.example", "");
    assert!(known.contains("no instance of test/greeter is registered"), "{known}");
    let unknown = gateway.get("gateway", "/", "greeter.test.localhost", "");
    assert!(unknown.contains("is not SERVICE.ENVIRONMENT.apps.example"), "{unknown}");
    let stored = std::fs::read_dir(place.project().join("gateway")).unwrap();
    let names: Vec<String> = stored.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!names.contains(&"gateway.token".to_owned()), "somebody else keeps the token: {names:?}");
}

#[test]
fn for_this_machine_it_needs_nothing() {
    let place = Place::new();
    let gateway = Gateway::start(&place, &[]);
    assert!(gateway.told["registrations"].as_str().unwrap().starts_with("127.0.0.1:"), "{}", gateway.told);
    let token = std::fs::read_to_string(place.project().join("gateway/gateway.token")).unwrap();
    assert!(gateway.get("registrations", INSTANCES, "localhost", token.trim()).starts_with("HTTP/1.1 200 "));
    assert!(
        gateway.get("gateway", "/", "greeter.test.localhost", "").contains("no instance of test/greeter is registered")
    );
}

#[test]
fn nobody_else_is_let_in_without_a_token() {
    let place = Place::new();
    insta::assert_snapshot!(place.run("gateway --any-port --data gateway --listen 0.0.0.0").told(), @r"
    exit code 2
    --- stderr
    error: --listen needs a token that registers instances
    hint: name a file that holds one with --token-file; `openssl rand -hex 32` makes one
    ");
    let empty = place.write("token", "\n");
    let run =
        place.run(&format!("gateway --any-port --data gateway --listen 0.0.0.0 --token-file {}", empty.display()));
    assert_eq!(run.code, 2, "{}", run.told());
    let run = place.run("gateway --any-port --data gateway --domain a..b");
    assert!(run.code == 2 && run.err.contains("apps.example.com"), "{}", run.told());
}
