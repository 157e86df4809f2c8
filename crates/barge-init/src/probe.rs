//! Readiness: asks again and again, fast while the process starts, calmly afterwards.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use crate::events::{Event, Events};
use crate::http::{self, Answer};
use crate::plan::{Plan, Probe};

/// How long one check may take.
const CHECK_LIMIT: Duration = Duration::from_secs(2);
/// Between checks of a process that starts and on whose port nobody listens yet: doubling from the first to the second. Such a check
/// costs next to nothing, and a service is not kept waiting once it listens.
const STARTING: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(20));
/// Between checks of a process that answers, and is not ready yet.
const ANSWERING: Duration = Duration::from_millis(100);
/// Between checks of a process that was ready.
const RUNNING: Duration = Duration::from_secs(1);
/// So many failed checks in a row make a ready process not ready.
const FAILURES: u32 = 3;

/// Checks until `stop` is closed; sends what it finds to the supervisor.
pub(crate) fn run(plan: &Arc<Plan>, stop: &Receiver<()>, events: &Events) {
    let mut pause = STARTING.0;
    let mut was_ready = false;
    let mut failures = 0;
    loop {
        let result = check(plan);
        let wait = match &result {
            Ok(_) => {
                was_ready = true;
                failures = 0;
                RUNNING
            }
            Err(_) if was_ready => RUNNING,
            Err(Failure::Answered(_)) => ANSWERING,
            Err(Failure::Refused(_)) => pause,
        };
        failures += u32::from(result.is_err());
        pause = (pause * 2).min(STARTING.1);
        // A process that was ready is given a few tries before it counts as not ready.
        if result.is_ok() || !was_ready || failures >= FAILURES {
            events.send(Event::Probed(result.map_err(Failure::into_words)));
        }
        match stop.recv_timeout(wait) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// One check: where the process answers and what it said, or why it is not ready.
fn check(plan: &Plan) -> Result<(SocketAddr, String), Failure> {
    let mut reason = String::new();
    for address in addresses(plan) {
        match check_address(plan, address) {
            Ok(detail) => return Ok((address, detail)),
            // The first address is the one that the process was told; its answer is the one to show, unless nobody is there.
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

fn check_address(plan: &Plan, address: SocketAddr) -> Result<String, Failure> {
    match &plan.probe {
        Probe::Accept => std::net::TcpStream::connect_timeout(&address, CHECK_LIMIT)
            .map(|_| format!("{address} accepts connections"))
            .map_err(|error| Failure::Refused(format!("{address}: {}", in_words(&error)))),
        Probe::Http { path } => {
            let asked = path.as_deref().unwrap_or("/healthcheck");
            let answer = http::get(address, asked, None, CHECK_LIMIT).map_err(|error| match error.kind() {
                std::io::ErrorKind::ConnectionRefused | std::io::ErrorKind::AddrNotAvailable => {
                    Failure::Refused(format!("{address}: {}", in_words(&error)))
                }
                _ => Failure::Answered(format!("GET {asked} at {address}: {}", in_words(&error))),
            })?;
            judge(path.is_some(), asked, address, answer)
        }
    }
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

fn in_words(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "nobody listens there (connection refused)".to_owned(),
        std::io::ErrorKind::TimedOut | std::io::ErrorKind::WouldBlock => {
            format!("no answer within {} s", CHECK_LIMIT.as_secs())
        }
        _ => error.to_string(),
    }
}
