//! Any bytes in the place of a plan, on the socket, and where readiness is asked: nothing panics, nothing hangs, and the instance goes on.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use barge_init::plan::Readiness;
use barge_init::{Phase, Plan, Probe, Request, files};
use barge_testkit::fuzz::{damaged, fuzz, fuzz_in};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use crate::support::{Init, shell};

/// So many cases are looked at in every run.
const CASES: u32 = 256;
/// What plans are made of.
const PLAN_WORDS: [&str; 8] =
    ["\"main\"", "\"task\"", "\"service\"", "[\"main\"]", "\"auto\"", "\"0777\"", "\"open_files\"", "\"nobody:0\""];
/// What is said on the socket.
const SOCKET_WORDS: [&str; 4] = ["\"status\"", "\"watch\"", "\"stop\"", "\n"];
/// What is said over HTTP.
const HTTP_WORDS: [&str; 6] = ["GET /ready HTTP/1.1\r\n", "\r\n\r\n", "POST", "HEAD", "\0", "Content-Length: 99\r\n"];
/// An answer takes no longer; a connection on which nothing comes is closed by then.
const PATIENCE: Duration = Duration::from_secs(15);

/// A plan with everything in it.
const GOOD: &str = r#"{
    "instance": "i", "templates": ["a.template"], "host": "::1", "port": 8080, "probe": {"kind": "http", "path": "/x"},
    "main": {"command": ["./run", "$PORT"], "working_directory": "/app", "env": {"A": "b"}, "user": "nobody:daemon", "umask": "027",
             "limits": {"open_files": 100, "core": 0}, "after": ["first"], "inherit_env": true},
    "helpers": {"first": {"kind": "task", "command": ["true"]}, "sshd": {"command": ["sshd", "-D"], "after": ["first", "main"]}},
    "checks": {"interval_ms": 1000, "timeout_ms": 2000, "failures": 3, "successes": 1},
    "readiness": {"listen": "0.0.0.0:7000", "path": "/ready"}, "start_deadline_ms": 1000, "hold_limit_ms": 1000,
    "output": {"pass_on": true, "file_bytes": 4096}, "signals": "process",
    "stop": {"quiet_ms": 1, "limit_ms": 1, "grace_ms": 1, "check": "http://127.0.0.1:1/"}, "groups": ["/sys/fs/cgroup/x/cgroup.procs"]
}"#;

#[test]
fn no_bytes_in_the_place_of_a_plan_do_any_harm() {
    let good: Plan = serde_json::from_str(GOOD).unwrap();
    good.check().unwrap();
    fuzz(CASES, &damaged(GOOD.as_bytes().to_vec(), &PLAN_WORDS), |bytes| {
        let Ok(plan) = serde_json::from_slice::<Plan>(&bytes) else { return Ok(()) };
        let checked = plan.check();
        let again: Plan = serde_json::from_slice(&serde_json::to_vec(&plan).unwrap())
            .map_err(|error| TestCaseError::fail(format!("what was written is not understood: {error}")))?;
        prop_assert_eq!(&again, &plan);
        prop_assert_eq!(again.check(), checked);
        Ok(())
    });
}

/// An instance that is ready, and answers who asks for that.
fn instance() -> (Init, SocketAddr) {
    let listen = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let readiness = Some(Readiness { listen, path: "/ready".to_owned() });
    let init = Init::start(&Plan { probe: Probe::None, readiness, ..shell("sleep 100000") });
    init.wait_phase(Phase::Ready);
    (init, listen)
}

/// It goes on as it was.
fn is_well(init: &Init) -> Result<(), TestCaseError> {
    let status = init.status();
    prop_assert_eq!(status.as_ref().map(|status| status.phase), Some(Phase::Ready), "{:?}", status);
    Ok(())
}

#[test]
fn no_bytes_on_the_socket_do_any_harm() {
    let good = serde_json::to_vec(&Request::Stop(crate::support::at_once(5))).unwrap();
    fuzz_in(CASES, instance, &damaged(good, &SOCKET_WORDS), |(init, _), bytes| {
        let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let understood = serde_json::from_slice::<Request>(line).ok();
        if matches!(understood, Some(Request::Stop(_) | Request::StopAsPlanned)) {
            // It would do what it is told.
            return Ok(());
        }
        let mut stream = UnixStream::connect(init.directory.join(files::SOCKET)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&bytes).unwrap();
        if matches!(understood, Some(Request::Watch)) {
            return is_well(init);
        }
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        // What was not read before the answer makes the end of the connection a reset.
        let ended = stream.read_to_end(&mut answer);
        prop_assert!(ended.is_ok() || !answer.is_empty() || bytes.len() > line.len() + 1, "{ended:?}");
        let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap_or_default();
        let expected = if understood.is_some() { "instance" } else { "error" };
        prop_assert!(answer.is_null() || answer.get(expected).is_some(), "{answer}");
        is_well(init)
    });
}

#[test]
fn no_bytes_where_readiness_is_asked_do_any_harm() {
    let good = b"GET /ready HTTP/1.1\r\nHost: here\r\nAccept: */*\r\n\r\n".to_vec();
    fuzz_in(CASES, instance, &damaged(good, &HTTP_WORDS), |(init, address), bytes| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // A request that is too long is not read to its end.
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8(answer).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let codes = ["HTTP/1.1 200 OK\r\n", "HTTP/1.1 404 Not Found\r\n", "HTTP/1.1 405 Method Not Allowed\r\n"];
        prop_assert!(answer.is_empty() || codes.iter().any(|code| answer.starts_with(code)), "{answer}");
        is_well(init)
    });
}
