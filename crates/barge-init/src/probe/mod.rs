//! Readiness: asks again and again, fast while the process starts, calmly afterwards. A check is bounded in time, and leaves nothing behind.

mod command;
mod ports;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use nix::unistd::Pid;

use crate::events::{Event, Events};
use crate::http::{self, Answer};
use crate::plan::{Plan, Probe};
use crate::reaper::Reaper;

/// Between checks of a process that starts and on whose port nobody listens yet: doubling from the first to the second. Such a check
/// costs next to nothing, and a service is not kept waiting once it listens.
const STARTING: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(20));
/// Between checks of a process that answers, and is not ready yet; and between commands, which are not for nothing.
const ANSWERING: Duration = Duration::from_millis(100);

/// Who is asked.
pub(crate) struct Asked {
    pub(crate) plan: Arc<Plan>,
    /// Main's process.
    pub(crate) main: Pid,
    pub(crate) reaper: Arc<Reaper>,
}

/// What a check has found: where the process answers and what it said, or why it is not ready.
pub(crate) type Found = Result<(Option<SocketAddr>, String), String>;

/// Checks until `stop` is closed; sends what it finds to the supervisor.
pub(crate) fn run(asked: &Asked, stop: &Receiver<()>, events: &Events) {
    let checks = asked.plan.checks;
    let running = Duration::from_millis(checks.interval_ms);
    let mut pause = STARTING.0;
    let mut was_ready = false;
    let (mut failures, mut successes) = (0u32, 0u32);
    loop {
        let result = check(asked, stop);
        let wait = match &result {
            Ok(_) => {
                successes = successes.saturating_add(1);
                was_ready |= successes >= checks.successes;
                failures = 0;
                if was_ready { running } else { ANSWERING.min(running) }
            }
            Err(_) if was_ready => running,
            Err(Failure::Answered(_)) => ANSWERING,
            Err(Failure::Refused(_)) => pause,
        };
        if result.is_err() {
            failures = failures.saturating_add(1);
            successes = 0;
        }
        pause = (pause * 2).min(STARTING.1);
        // A process that was ready is given a few tries before it counts as not ready.
        if result.is_ok() || !was_ready || failures >= checks.failures {
            events.send(Event::Probed(result.map_err(Failure::into_words)));
        }
        match stop.recv_timeout(wait) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// One check.
fn check(asked: &Asked, stop: &Receiver<()>) -> Result<(Option<SocketAddr>, String), Failure> {
    let plan = &asked.plan;
    let limit = Duration::from_millis(plan.checks.timeout_ms.max(1));
    match &plan.probe {
        Probe::None => Ok((None, "nothing is checked".to_owned())),
        Probe::Command { command } => {
            command::check(asked, command, limit, stop).map(|detail| (None, detail)).map_err(Failure::Answered)
        }
        Probe::Accept => first_that_answers(&addresses(plan), |address| accepts(address, limit)),
        Probe::Http { path } => {
            first_that_answers(&addresses(plan), |address| answers_http(path.as_deref(), address, limit))
        }
        Probe::Auto { path } => {
            let found = ports::of_group(asked.main);
            if found.is_empty() {
                return Err(Failure::Refused("its processes listen on no port".to_owned()));
            }
            // Of several ports one may speak HTTP and not be ready; then that is what counts, and not that another one accepts.
            first_that_answers(&found, |address| answers_http(path.as_deref(), address, limit))
        }
    }
}

/// The first address is the one that the process was told; its answer is the one to show, unless nobody is there.
fn first_that_answers(
    addresses: &[SocketAddr],
    check: impl Fn(SocketAddr) -> Result<String, Failure>,
) -> Result<(Option<SocketAddr>, String), Failure> {
    let mut reason = String::new();
    for address in addresses {
        match check(*address) {
            Ok(detail) => return Ok((Some(*address), detail)),
            Err(Failure::Refused(text)) if reason.is_empty() => reason = text,
            Err(Failure::Refused(_)) => {}
            Err(answered @ Failure::Answered(_)) => return Err(answered),
        }
    }
    Err(Failure::Refused(reason))
}

enum Failure {
    /// Nobody listens.
    Refused(String),
    /// Somebody does, and is not ready.
    Answered(String),
}

impl Failure {
    fn into_words(self) -> String {
        match self {
            Failure::Refused(text) | Failure::Answered(text) => text,
        }
    }
}

/// The address that the process was told, and plain loopback, old and new, for one that listens there whatever it is told.
fn addresses(plan: &Plan) -> Vec<SocketAddr> {
    let mut list: Vec<SocketAddr> = Vec::with_capacity(3);
    for host in [plan.host.as_str(), "127.0.0.1", "::1"] {
        if let Ok(ip) = host.parse::<std::net::IpAddr>()
            && !list.contains(&SocketAddr::new(ip, plan.port))
        {
            list.push(SocketAddr::new(ip, plan.port));
        }
    }
    list
}

fn accepts(address: SocketAddr, limit: Duration) -> Result<String, Failure> {
    std::net::TcpStream::connect_timeout(&address, limit)
        .map(|_| format!("{address} accepts connections"))
        .map_err(|error| Failure::Refused(format!("{address}: {}", in_words(&error, limit))))
}

fn answers_http(path: Option<&str>, address: SocketAddr, limit: Duration) -> Result<String, Failure> {
    let asked = path.unwrap_or("/healthcheck");
    let answer = http::get(address, asked, None, limit).map_err(|error| match error.kind() {
        std::io::ErrorKind::ConnectionRefused | std::io::ErrorKind::AddrNotAvailable => {
            Failure::Refused(format!("{address}: {}", in_words(&error, limit)))
        }
        _ => Failure::Answered(format!("GET {asked} at {address}: {}", in_words(&error, limit))),
    })?;
    judge(path.is_some(), asked, address, answer)
}

fn judge(own_path: bool, asked: &str, address: SocketAddr, answer: Answer) -> Result<String, Failure> {
    match answer {
        Answer::Http { status, .. } if (200..400).contains(&status) => Ok(format!("GET {asked}: {status}")),
        Answer::Http { status, .. } if status < 500 && !own_path => {
            Ok(format!("GET {asked}: {status}; the service answers HTTP, which is taken as ready"))
        }
        Answer::Http { status, body } => {
            let line: String = body.lines().next().unwrap_or_default().chars().take(200).collect();
            Err(Failure::Answered(format!("GET {asked} at {address}: {status} {line}").trim_end().to_owned()))
        }
        Answer::Nothing => {
            Err(Failure::Answered(format!("GET {asked} at {address}: the connection was closed without an answer")))
        }
        Answer::Other if !own_path => Ok(format!("{address} accepts connections and does not speak HTTP")),
        Answer::Other => Err(Failure::Answered(format!("GET {asked} at {address}: not an HTTP answer"))),
    }
}

fn in_words(error: &std::io::Error, limit: Duration) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "nobody listens there (connection refused)".to_owned(),
        std::io::ErrorKind::TimedOut | std::io::ErrorKind::WouldBlock => {
            format!("no answer within {}", crate::status::in_words(limit))
        }
        _ => error.to_string(),
    }
}
