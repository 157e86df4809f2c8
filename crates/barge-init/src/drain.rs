//! The wait for silence before a stop: asks the traffic target how long the instance has had no request.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::http::{self, Answer};
use crate::socket::StopRequest;
use crate::status::in_words;

/// Where the zero-traffic check is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficCheck {
    /// The traffic target's address.
    pub address: SocketAddr,
    /// The path of the instance's traffic.
    pub path: String,
    /// The token that the target asks for.
    pub token: String,
}

/// The target's answer (registration protocol, `GET .../traffic`).
#[derive(Debug, Deserialize)]
struct Traffic {
    in_flight: u64,
    quiet_ms: u64,
}

/// Between two questions.
const INTERVAL: Duration = Duration::from_millis(50);
/// The wait of an instance whose traffic nobody can tell.
pub(crate) const WITHOUT_CHECK: Duration = Duration::from_secs(10);

/// Waits as the request says; tells in words how it went.
pub(crate) fn wait(request: &StopRequest) -> String {
    let (quiet, limit) = (Duration::from_millis(request.quiet_ms), Duration::from_millis(request.limit_ms));
    let source = match (&request.traffic, &request.url) {
        (Some(check), _) => Source::Target(check),
        (None, Some(url)) => match Url::of(url) {
            Some(url) => Source::Own(url, None),
            None => return format!("the zero-traffic check {url:?} is no http URL of an address: not waited"),
        },
        (None, None) => {
            let wait = WITHOUT_CHECK.min(limit);
            std::thread::sleep(wait);
            return format!("no zero-traffic check: waited {}", in_words(wait));
        }
    };
    until_quiet(source, quiet, limit)
}

/// Where the zero-traffic check is asked.
enum Source<'a> {
    /// A traffic target that knows how long there was no request.
    Target(&'a TrafficCheck),
    /// The project itself, and since when it has said that there is none.
    Own(Url, Option<Instant>),
}

/// A plain URL: `http://ADDRESS:PORT/PATH`.
struct Url {
    address: SocketAddr,
    path: String,
}

impl Url {
    fn of(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("http://")?;
        let (address, path) = rest.split_once('/').unwrap_or((rest, ""));
        let address = address.replace("localhost", "127.0.0.1");
        Some(Self { address: address.parse().ok()?, path: format!("/{path}") })
    }
}

/// What an answer says.
enum Said {
    Quiet(String),
    Busy,
    /// Nothing that could be understood.
    Nothing,
}

impl Source<'_> {
    fn ask(&mut self, quiet: Duration, limit: Duration) -> Said {
        match self {
            Source::Target(check) => match http::get(check.address, &check.path, Some(&check.token), limit) {
                Ok(Answer::Http { status: 200, body }) => match serde_json::from_str::<Traffic>(&body) {
                    Ok(told) if told.in_flight == 0 && u128::from(told.quiet_ms) >= quiet.as_millis() => {
                        Said::Quiet(format!("no request for {} ms", told.quiet_ms))
                    }
                    _ => Said::Busy,
                },
                // The target has forgotten the instance: nothing can reach it from there.
                Ok(Answer::Http { status: 404, .. }) => {
                    Said::Quiet("the traffic target does not know the instance".to_owned())
                }
                Ok(_) | Err(_) => Said::Nothing,
            },
            Source::Own(url, since) => match http::get(url.address, &url.path, None, limit) {
                Ok(Answer::Http { status: 200, body }) => match in_flight(&body) {
                    Some(0) => {
                        let since = *since.get_or_insert_with(Instant::now);
                        if since.elapsed() >= quiet {
                            Said::Quiet(format!("no request for {}", in_words(quiet)))
                        } else {
                            Said::Busy
                        }
                    }
                    Some(_) => {
                        *since = None;
                        Said::Busy
                    }
                    None => Said::Nothing,
                },
                Ok(_) | Err(_) => Said::Nothing,
            },
        }
    }
}

/// The number of requests in flight: the body alone, or `in_flight` of an object.
fn in_flight(body: &str) -> Option<u64> {
    let value: serde_json::Value = serde_json::from_str(body.trim()).ok()?;
    value.as_u64().or_else(|| value.get("in_flight")?.as_u64())
}

/// Asks until there has been no request for `quiet`, at most for `limit`.
fn until_quiet(mut source: Source<'_>, quiet: Duration, limit: Duration) -> String {
    let start = Instant::now();
    let mut unanswered = Duration::ZERO;
    loop {
        let asked = Instant::now();
        let left = limit.saturating_sub(start.elapsed());
        if left.is_zero() {
            return format!("still in use after {}, the limit of the wait", in_words(limit));
        }
        match source.ask(quiet, left.min(Duration::from_secs(1))) {
            Said::Quiet(how) => return how,
            Said::Busy => unanswered = Duration::ZERO,
            Said::Nothing => {
                unanswered += asked.elapsed() + INTERVAL;
                if unanswered >= WITHOUT_CHECK {
                    return "the zero-traffic check does not answer: waited 10 s".to_owned();
                }
            }
        }
        std::thread::sleep(INTERVAL);
    }
}
