//! How a push gets on: a bar for each blob and one for all of them on a terminal, a line now and then elsewhere, events for programs.
//!
//! Standard output has the result of a command, also with `--json`; what is here goes to standard error.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use barge_image::registry::{Progress, Step};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::terminal::bytes;

/// Smaller blobs, in bytes, are there before anybody has read their bar.
const LEAST: u64 = 64 * 1024;
/// The pause between two lines, or two events of one blob.
const PAUSE: Duration = Duration::from_secs(5);
const EVENT_PAUSE: Duration = Duration::from_millis(500);
const BLOB: &str = "  {prefix:12} {bar:30} {bytes:>11} of {total_bytes:11}";
const TOTAL: &str = "  {prefix:12} {bar:30} {bytes:>11} of {total_bytes:11} {bytes_per_sec}";

/// What is known of a push.
#[derive(Debug, Default)]
pub(crate) struct Push {
    blobs: BTreeMap<String, Blob>,
    /// The first byte was sent then.
    began: Option<Instant>,
}

#[derive(Debug)]
struct Blob {
    size: u64,
    moved: u64,
    step: Step,
}

/// How much of a push is done, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Sent up to now.
    pub(crate) moved: u64,
    /// What is not in the registry already, as far as it is known.
    pub(crate) size: u64,
    /// In a second.
    pub(crate) rate: u64,
}

impl Push {
    /// Takes note of what is told.
    pub(crate) fn take(&mut self, told: &Progress, now: Instant) {
        let blob =
            self.blobs.entry(told.digest.clone()).or_insert(Blob { size: told.size, moved: 0, step: Step::Planned });
        // Images for several platforms share blobs: what is done for one of them is not undone by the next.
        if matches!(blob.step, Step::Sent | Step::Present | Step::Mounted) {
            return;
        }
        blob.step = told.step;
        blob.moved = match told.step {
            Step::Moved { bytes } => bytes,
            Step::Sent => told.size,
            Step::Planned | Step::Present | Step::Mounted => 0,
        };
        if blob.moved > 0 {
            self.began.get_or_insert(now);
        }
    }

    /// How far all of it is.
    pub(crate) fn totals(&self, now: Instant) -> Totals {
        let there = |blob: &&Blob| !matches!(blob.step, Step::Present | Step::Mounted);
        let (moved, size) = self
            .blobs
            .values()
            .filter(there)
            .fold((0, 0), |(moved, size), blob| (moved + blob.moved, size + blob.size));
        let millis = self.began.map_or(0, |began| now.saturating_duration_since(began).as_millis());
        // Less than a moment says nothing of a rate.
        let rate = if millis < 100 { 0 } else { u128::from(moved) * 1000 / millis };
        Totals { moved, size, rate: u64::try_from(rate).unwrap_or(u64::MAX) }
    }
}

/// What is told of a push with `--json`, one object in a line.
#[derive(Debug, Serialize)]
pub(crate) struct BlobEvent<'a> {
    event: &'static str,
    digest: &'a str,
    size: u64,
    /// `planned`, `moved`, `present`, `mounted`, `sent`.
    step: &'static str,
    /// How many of its bytes are sent.
    sent: u64,
    total_sent: u64,
    total_size: u64,
}

/// Tells how a push gets on.
#[derive(Debug)]
pub(crate) struct Teller {
    push: Push,
    way: Way,
}

#[derive(Debug)]
enum Way {
    Bars(Bars),
    Lines { last: Option<Instant> },
    Events { last: BTreeMap<String, Instant> },
    Nothing,
}

/// What is to be written, by whoever has the terminal.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// A line for people.
    Line(String),
    /// A line for programs.
    Event(String),
}

impl Teller {
    /// With bars, below whatever else `multi` has.
    pub(crate) fn bars(multi: MultiProgress) -> Self {
        Self::new(Way::Bars(Bars { multi, blobs: BTreeMap::new(), total: None }))
    }

    /// With lines.
    pub(crate) fn lines() -> Self {
        Self::new(Way::Lines { last: None })
    }

    /// With events.
    pub(crate) fn events() -> Self {
        Self::new(Way::Events { last: BTreeMap::new() })
    }

    /// Not at all.
    pub(crate) fn nothing() -> Self {
        Self::new(Way::Nothing)
    }

    fn new(way: Way) -> Self {
        Self { push: Push::default(), way }
    }

    /// Takes note of what is told, and shows it; what cannot be drawn is to be written.
    pub(crate) fn take(&mut self, told: &Progress, now: Instant) -> Option<Word> {
        self.push.take(told, now);
        let totals = self.push.totals(now);
        match &mut self.way {
            Way::Nothing => None,
            Way::Bars(bars) => {
                bars.show(told, totals);
                None
            }
            Way::Lines { last } => {
                let Step::Moved { .. } = told.step else { return None };
                let since = *last.get_or_insert(now);
                if now.saturating_duration_since(since) < PAUSE {
                    return None;
                }
                *last = Some(now);
                let Totals { moved, size, rate } = totals;
                Some(Word::Line(format!("pushed {} of {} ({}/s)", bytes(moved), bytes(size), bytes(rate))))
            }
            Way::Events { last } => {
                let (step, sent) = match told.step {
                    Step::Planned => ("planned", 0),
                    Step::Moved { bytes } => ("moved", bytes),
                    Step::Present => ("present", 0),
                    Step::Mounted => ("mounted", 0),
                    Step::Sent => ("sent", told.size),
                };
                if let Step::Moved { .. } = told.step {
                    let before = last.get(&told.digest);
                    if before.is_some_and(|before| now.saturating_duration_since(*before) < EVENT_PAUSE) {
                        return None;
                    }
                    last.insert(told.digest.clone(), now);
                }
                let event = BlobEvent {
                    event: "blob",
                    digest: &told.digest,
                    size: told.size,
                    step,
                    sent,
                    total_sent: totals.moved,
                    total_size: totals.size,
                };
                serde_json::to_string(&event).ok().map(Word::Event)
            }
        }
    }
}

/// The bars of a push.
#[derive(Debug)]
struct Bars {
    multi: MultiProgress,
    blobs: BTreeMap<String, ProgressBar>,
    total: Option<ProgressBar>,
}

impl Bars {
    fn show(&mut self, told: &Progress, totals: Totals) {
        if let Step::Moved { bytes } = told.step
            && told.size >= LEAST
        {
            let total = self.total.get_or_insert_with(|| bar(&self.multi, TOTAL, "all of it", totals.size));
            total.set_length(totals.size);
            total.set_position(totals.moved);
            let name: String = told.digest.trim_start_matches("sha256:").chars().take(12).collect();
            let blob = self.blobs.entry(told.digest.clone());
            blob.or_insert_with(|| bar(&self.multi, BLOB, &name, told.size)).set_position(bytes);
        } else if let Some(total) = &self.total {
            total.set_length(totals.size);
            total.set_position(totals.moved);
        }
        if !matches!(told.step, Step::Planned | Step::Moved { .. })
            && let Some(bar) = self.blobs.remove(&told.digest)
        {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        for bar in self.blobs.values().chain(&self.total) {
            bar.finish_and_clear();
        }
    }
}

fn bar(multi: &MultiProgress, template: &str, name: &str, size: u64) -> ProgressBar {
    let bar = multi.add(ProgressBar::new(size));
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_prefix(name.to_owned());
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(digest: &str, size: u64, step: Step) -> Progress {
        Progress { digest: digest.to_owned(), size, step }
    }

    #[test]
    fn totals_are_of_what_is_sent_and_a_try_that_begins_again_counts_anew() {
        let begin = Instant::now();
        let mut push = Push::default();
        let mut check = |progress: Progress, millis: u64, moved: u64, size: u64, rate: u64| {
            let now = begin + Duration::from_millis(millis);
            push.take(&progress, now);
            assert_eq!(push.totals(now), Totals { moved, size, rate }, "{progress:?}");
        };
        check(told("a", 1000, Step::Planned), 0, 0, 1000, 0);
        check(told("b", 500, Step::Planned), 0, 0, 1500, 0);
        check(told("b", 500, Step::Present), 10, 0, 1000, 0);
        check(told("a", 1000, Step::Moved { bytes: 400 }), 10, 400, 1000, 0);
        check(told("a", 1000, Step::Moved { bytes: 800 }), 1010, 800, 1000, 800);
        check(told("a", 1000, Step::Moved { bytes: 0 }), 2010, 0, 1000, 0);
        check(told("a", 1000, Step::Sent), 4010, 1000, 1000, 250);
        // The next platform's image has it, too.
        check(told("a", 1000, Step::Planned), 4010, 1000, 1000, 250);
        check(told("a", 1000, Step::Present), 4010, 1000, 1000, 250);
    }

    #[test]
    fn where_there_is_no_terminal_a_long_push_says_now_and_then_how_far_it_is() {
        let begin = Instant::now();
        let mut teller = Teller::lines();
        let mut at = |seconds: u64, megabytes: u64| {
            let step = Step::Moved { bytes: megabytes << 20 };
            teller.take(&told("a", 100 << 20, step), begin + Duration::from_secs(seconds))
        };
        assert_eq!(at(0, 1), None);
        assert_eq!(at(4, 10), None);
        assert_eq!(at(5, 20), Some(Word::Line("pushed 20.0 MiB of 100.0 MiB (4.0 MiB/s)".to_owned())));
        assert_eq!(at(6, 30), None);
        assert!(at(11, 60).is_some());
    }

    #[test]
    fn programs_are_told_of_each_blob() {
        let begin = Instant::now();
        let mut teller = Teller::events();
        let mut at =
            |millis: u64, step: Step| match teller.take(&told("a", 8, step), begin + Duration::from_millis(millis)) {
                Some(Word::Event(line)) => serde_json::from_str(&line).unwrap(),
                Some(Word::Line(line)) => panic!("{line}"),
                None => serde_json::Value::Null,
            };
        assert_eq!(at(0, Step::Planned)["step"], "planned");
        assert_eq!(at(0, Step::Moved { bytes: 2 })["sent"], 2);
        assert!(at(100, Step::Moved { bytes: 4 }).is_null());
        let event = at(600, Step::Moved { bytes: 6 });
        assert_eq!(
            (&event["event"], &event["total_sent"], &event["total_size"]),
            (&"blob".into(), &6.into(), &8.into())
        );
        assert_eq!(at(601, Step::Sent)["sent"], 8);
    }
}
