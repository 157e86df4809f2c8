//! The wait for silence before a stop: asks the traffic target how long the instance has had no request.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::agent::Host;
use crate::http::{self, Answer};
use crate::plan::{expand, own_environment};
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

/// Waits as the request says; tells in words how it went. Whoever is asked may be `away` for a while.
pub(crate) fn wait(request: &StopRequest, away: Duration) -> String {
    let (quiet, limit) = (Duration::from_millis(request.quiet_ms), Duration::from_millis(request.limit_ms));
    let source = match (&request.traffic, &request.url) {
        (Some(check), _) => Source::Target(check),
        (None, Some(url)) => match Url::of(url, &own_environment()) {
            Some(url) => Source::Url(url, None),
            None => return format!("the zero-traffic check {url:?} is no http URL of a host: not waited"),
        },
        (None, None) => {
            let wait = WITHOUT_CHECK.min(limit);
            std::thread::sleep(wait);
            return format!("no zero-traffic check: waited {}", in_words(wait));
        }
    };
    until_quiet(source, quiet, limit, away)
}

/// Where the zero-traffic check is asked.
enum Source<'a> {
    /// A traffic target that knows how long there was no request.
    Target(&'a TrafficCheck),
    /// The project itself, or whoever the platform says, and since when it has said that there is none.
    Url(Url, Option<Instant>),
}

/// A plain URL: `http://HOST:PORT/PATH`, with variables of barge-init's own environment.
struct Url {
    host: Host,
    path: String,
}

impl Url {
    fn of(text: &str, variables: &BTreeMap<String, String>) -> Option<Self> {
        let text = expand(text, variables);
        let rest = text.strip_prefix("http://")?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        // It is to become lines of a request.
        let one_word = |text: &str| !text.contains(|letter: char| letter.is_whitespace() || letter.is_control());
        let host = host_and_port(host).filter(|_| one_word(rest))?;
        Some(Self { host: Host::new(host), path: format!("/{path}") })
    }

    fn ask(&mut self, limit: Duration) -> Option<Answer> {
        let deadline = Instant::now() + limit;
        let stream = self.host.connect(deadline).ok()?;
        http::get_over(stream, self.host.name(), &self.path, None, deadline).ok()
    }
}

/// `HOST:PORT` of what stands in a URL, where the port may be left out.
fn host_and_port(text: &str) -> Option<String> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok().filter(|port: &u16| *port > 0)?),
        _ => (text, 80),
    };
    // An image may have nothing that knows this name.
    let host = if host == "localhost" { "127.0.0.1" } else { host };
    let of_name = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '.' | '_');
    let of_version_6 = host.starts_with('[') && format!("{host}:{port}").parse::<SocketAddr>().is_ok();
    let sound = of_version_6 || (!host.is_empty() && host.chars().all(of_name));
    sound.then(|| format!("{host}:{port}"))
}

/// What an answer says.
enum Said {
    Quiet(String),
    Busy,
    /// Nothing that could be understood.
    Nothing,
    /// Nobody was there who could say anything; another one may come.
    Away,
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
            Source::Url(url, since) => match url.ask(limit) {
                Some(Answer::Http { status: 200, body }) => match in_flight(&body) {
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
                Some(Answer::Http { status: 500.., .. }) | None => Said::Away,
                Some(_) => Said::Nothing,
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
fn until_quiet(mut source: Source<'_>, quiet: Duration, limit: Duration, away: Duration) -> String {
    let start = Instant::now();
    // Without an answer that could be understood, and without anybody who answers.
    let (mut unanswered, mut unreached) = (Duration::ZERO, Duration::ZERO);
    loop {
        let asked = Instant::now();
        let left = limit.saturating_sub(start.elapsed());
        if left.is_zero() {
            return format!("still in use after {}, the limit of the wait", in_words(limit));
        }
        match source.ask(quiet, left.min(Duration::from_secs(1))) {
            Said::Quiet(how) => return how,
            Said::Busy => (unanswered, unreached) = (Duration::ZERO, Duration::ZERO),
            Said::Nothing => {
                unanswered += asked.elapsed() + INTERVAL;
                if unanswered >= WITHOUT_CHECK {
                    return "the zero-traffic check does not answer: waited 10 s".to_owned();
                }
            }
            Said::Away => {
                unreached += asked.elapsed() + INTERVAL;
                if unreached >= away {
                    return format!("nobody answers the zero-traffic check: waited {}", in_words(away));
                }
            }
        }
        std::thread::sleep(INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_names_a_host_and_variables() {
        let variables = [("UID", "123e4567"), ("PORT", "8080"), ("LINES", "a\r\nb")];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let rows = [
            ("http://127.0.0.1:8080/in-flight", Some(("127.0.0.1:8080", "/in-flight"))),
            ("http://localhost:$PORT", Some(("127.0.0.1:8080", "/"))),
            ("http://mylocalhost:80/", Some(("mylocalhost:80", "/"))),
            (
                "http://registrar.barge-system:7375/v1/${UID}?a=$UID",
                Some(("registrar.barge-system:7375", "/v1/123e4567?a=123e4567")),
            ),
            ("http://registrar/v1/$UNKNOWN", Some(("registrar:80", "/v1/$UNKNOWN"))),
            ("http://[fd00::1]:7375/v1", Some(("[fd00::1]:7375", "/v1"))),
            ("http://[fd00::1]/v1", Some(("[fd00::1]:80", "/v1"))),
            ("https://registrar:80/", None),
            ("http://:80/", None),
            ("http://registrar:0/", None),
            ("http://registrar:port/", None),
            ("http://user@registrar:80/", None),
            ("http://fd00::1:80/", None),
            ("http://registrar:80/$LINES", None),
            ("registrar:80", None),
        ];
        for (text, expected) in rows {
            let url = Url::of(text, &variables);
            let found = url.as_ref().map(|url| (url.host.name(), url.path.as_str()));
            assert_eq!(found, expected, "{text}");
        }
    }
}
