//! Figures as the page has them.

use std::time::Duration;

/// How long each of many took, the shortest first.
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn new(mut times: Vec<Duration>) -> Self {
        times.sort();
        Self(times)
    }

    /// So many percent took no longer.
    fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.0.len() * percent).div_ceil(100);
        self.0[rank.max(1) - 1]
    }

    pub(crate) fn show(&self, percent: usize) -> String {
        format!("{} ms", self.percentile(percent).as_millis())
    }

    pub(crate) fn ratio(&self, other: &Self, percent: usize) -> f64 {
        self.percentile(percent).as_secs_f64() / other.percentile(percent).as_secs_f64()
    }
}

pub(crate) fn row(what: &str, measured: &str, goal: &str) {
    println!("| {what} | {measured} | {goal} |");
}

pub(crate) fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

pub(crate) fn percent(time: Duration, span: Duration) -> String {
    format!("{:.1} %", 100.0 * time.as_secs_f64() / span.as_secs_f64())
}
