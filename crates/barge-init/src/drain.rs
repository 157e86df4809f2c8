//! The wait for silence before a stop: asks the traffic target how long the instance has had no request.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::http::{self, Answer};
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

/// Waits until the instance has had no request for `quiet`, at most `limit`; says in words how it went.
pub(crate) fn wait(check: Option<&TrafficCheck>, quiet: Duration, limit: Duration) -> String {
    let start = Instant::now();
    let Some(check) = check else {
        let wait = WITHOUT_CHECK.min(limit);
        std::thread::sleep(wait);
        return format!("no zero-traffic check: waited {}", in_words(wait));
    };
    let mut unanswered = Duration::ZERO;
    loop {
        let asked = Instant::now();
        let left = limit.saturating_sub(start.elapsed());
        if left.is_zero() {
            return format!("still in use after {}, the limit of the wait", in_words(limit));
        }
        match http::get(check.address, &check.path, Some(&check.token), left.min(Duration::from_secs(1))) {
            Ok(Answer::Http { status: 200, body }) => {
                unanswered = Duration::ZERO;
                if let Ok(traffic) = serde_json::from_str::<Traffic>(&body)
                    && traffic.in_flight == 0
                    && u128::from(traffic.quiet_ms) >= quiet.as_millis()
                {
                    return format!("no request for {} ms", traffic.quiet_ms);
                }
            }
            // The target has forgotten the instance: nothing can reach it from there.
            Ok(Answer::Http { status: 404, .. }) => return "the traffic target does not know the instance".to_owned(),
            Ok(_) | Err(_) => {
                unanswered += asked.elapsed() + INTERVAL;
                if unanswered >= WITHOUT_CHECK {
                    return "the traffic target does not answer: waited 10 s".to_owned();
                }
            }
        }
        std::thread::sleep(INTERVAL);
    }
}
