//! When a request is tried again, and after which pause.

use std::time::{Duration, SystemTime};

use reqwest::header::{HeaderMap, RETRY_AFTER};

/// How often a request is tried that may succeed later.
const TRIES: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause that a registry may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The tries that are left.
pub(crate) struct Retries {
    left: u32,
    pause: Duration,
}

impl Retries {
    pub(crate) fn new() -> Self {
        Self { left: TRIES - 1, pause: FIRST_PAUSE }
    }

    /// The pause before the next try; none when it is enough. `asked` is what the registry asks for: it knows best when it will answer,
    /// within limits.
    pub(crate) fn next(&mut self, asked: Option<Duration>) -> Option<Duration> {
        self.left = self.left.checked_sub(1)?;
        let pause = self.pause.max(asked.unwrap_or_default().min(LONGEST_PAUSE));
        self.pause *= 2;
        Some(pause)
    }
}

/// Whether the same request may get another answer than this status a little later. A full disk (507) does not pass by itself.
pub(crate) fn passing(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502..=504)
}

/// How long the registry asks to wait (RFC 9110, 10.2.3): seconds, or a date.
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = SystemTime::from(jiff::fmt::rfc2822::parse(text).ok()?.timestamp());
    // A date that is over asks for no pause.
    Some(at.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<u64>) {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, text.parse().unwrap());
        // Sun, 06 Nov 1994 08:49:37 GMT.
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        assert_eq!(retry_after(&headers, now), expected.map(Duration::from_secs), "{text:?}");
    }

    #[test]
    fn a_registry_asks_for_a_pause_in_seconds_or_until_a_date() {
        check("0", Some(0));
        check(" 120 ", Some(120));
        check("Sun, 06 Nov 1994 08:50:37 GMT", Some(60));
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some(0));
        check("Sun, 06 Nov 1994 08:00:00 GMT", Some(0));
        for text in ["", "soon", "-1", "1.5", "Sun, 32 Nov 1994 08:49:37 GMT"] {
            check(text, None);
        }
        assert_eq!(retry_after(&HeaderMap::new(), SystemTime::UNIX_EPOCH), None);
    }

    #[test]
    fn pauses_grow_and_follow_what_is_asked_for_within_limits() {
        let (millis, seconds) = (Duration::from_millis, Duration::from_secs);
        let pauses = |asked: Option<Duration>| {
            let mut retries = Retries::new();
            [retries.next(asked), retries.next(asked), retries.next(asked)]
        };
        assert_eq!(pauses(None), [Some(millis(200)), Some(millis(400)), None]);
        assert_eq!(pauses(Some(millis(300))), [Some(millis(300)), Some(millis(400)), None]);
        assert_eq!(pauses(Some(seconds(7))), [Some(seconds(7)), Some(seconds(7)), None]);
        assert_eq!(pauses(Some(seconds(3600))), [Some(seconds(60)), Some(seconds(60)), None]);
    }
}
