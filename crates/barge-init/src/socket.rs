//! The socket on which barge-init answers the engine: one JSON object per line, in both directions.
//!
//! `status` is answered once; `watch` with every change until the connection ends; `stop` and `stop_as_planned` drain and stop.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use crate::drain::TrafficCheck;
use crate::events::{Event, Events, Shared};

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "command")]
pub enum Request {
    /// The status, once.
    Status,
    /// The status now and after every change.
    Watch,
    /// Drain and stop.
    Stop(StopRequest),
    /// Drain and stop as the plan says, which is what a SIGTERM does.
    StopAsPlanned,
}

/// How to stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopRequest {
    /// Where to ask for traffic; without it a fixed wait.
    pub traffic: Option<TrafficCheck>,
    /// A URL of the project's own to ask instead: it answers with the number of requests in flight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// No request for so long means quiet, in milliseconds.
    pub quiet_ms: u64,
    /// The longest wait for quiet, in milliseconds; 0 stops at once.
    pub limit_ms: u64,
    /// From SIGTERM to SIGKILL, in milliseconds.
    pub grace_ms: u64,
}

/// The longest request that is read, in bytes.
const MAX_REQUEST: u64 = 64 * 1024;
/// More connections than any engine needs are turned away.
const MAX_CONNECTIONS: usize = 32;

/// Answers until the process ends.
pub(crate) fn serve(listener: &UnixListener, shared: &Arc<Shared>, events: &Events) {
    let open = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        let Ok(stream) = stream else {
            // No descriptor is left: the next try must not be at once.
            std::thread::sleep(Duration::from_millis(10));
            continue;
        };
        if open.fetch_add(1, Ordering::SeqCst) >= MAX_CONNECTIONS {
            open.fetch_sub(1, Ordering::SeqCst);
            continue;
        }
        let (shared, events, guard) = (Arc::clone(shared), events.clone(), Arc::clone(&open));
        let spawned = std::thread::Builder::new().stack_size(256 * 1024).spawn(move || {
            // A peer that goes away ends its own connection and nothing else.
            let _ = answer(stream, &shared, &events);
            guard.fetch_sub(1, Ordering::SeqCst);
        });
        if spawned.is_err() {
            open.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

fn answer(stream: UnixStream, shared: &Shared, events: &Events) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.set_write_timeout(Some(Duration::from_secs(10)))?;
    let mut line = Vec::new();
    std::io::Read::take(BufReader::new(stream.try_clone()?), MAX_REQUEST).read_until(b'\n', &mut line)?;
    match serde_json::from_slice::<Request>(&line) {
        Ok(Request::Status) => send(&stream, &shared.status()),
        Ok(Request::Watch) => watch(&stream, shared),
        Ok(Request::Stop(request)) => {
            events.send(Event::Stop(request));
            send(&stream, &shared.status())
        }
        Ok(Request::StopAsPlanned) => {
            events.send(Event::Signal(nix::libc::SIGTERM));
            send(&stream, &shared.status())
        }
        Err(error) => send(&stream, &serde_json::json!({ "error": error.to_string() })),
    }
}

fn watch(stream: &UnixStream, shared: &Shared) -> std::io::Result<()> {
    let _watcher = shared.watcher();
    let mut seen = 0;
    loop {
        let (revision, status) = shared.wait_newer(seen, Duration::from_secs(5));
        if revision == seen {
            // An empty line finds out whether anybody still listens.
            (&mut &*stream).write_all(b"\n")?;
            continue;
        }
        seen = revision;
        send(stream, &status)?;
    }
}

fn send(mut stream: &UnixStream, answer: &impl Serialize) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    stream.write_all(&line)
}
