//! What people see: data on standard output, progress on standard error; colours and spinners on a terminal, plain lines elsewhere.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use barge_image::registry::Progress;
use barge_model::{Millis, Timestamp};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::arguments::{Colour, Globals};
use crate::failure::{Failure, Kind};
use crate::progress::{Teller, Word};

/// A colour or weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// As it is.
    Plain,
    /// Headings and what matters most.
    Bold,
    /// What matters less.
    Dim,
    /// Good.
    Green,
    /// Waits for somebody.
    Yellow,
    /// Bad.
    Red,
}

impl Style {
    fn code(self) -> &'static str {
        match self {
            Style::Plain => "",
            Style::Bold => "1",
            Style::Dim => "2",
            Style::Green => "32",
            Style::Yellow => "33",
            Style::Red => "31",
        }
    }
}

/// Colours text, or leaves it as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Paint(pub(crate) bool);

impl Paint {
    /// `text` in `style`.
    pub(crate) fn paint(self, style: Style, text: &str) -> String {
        if self.0 && style != Style::Plain { format!("\x1b[{}m{text}\x1b[0m", style.code()) } else { text.to_owned() }
    }
}

/// Where a command's output goes, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terminal {
    json: bool,
    quiet: bool,
    /// Standard error is a terminal.
    live: bool,
    out: Paint,
    err: Paint,
}

impl Terminal {
    /// Looks at the command line and at where the output goes.
    pub(crate) fn new(globals: &Globals) -> Self {
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        let paint = |terminal: bool| match globals.color {
            Colour::Always => Paint(true),
            Colour::Never => Paint(false),
            Colour::Auto => Paint(terminal && !no_colour && !dumb),
        };
        let live = io::stderr().is_terminal();
        Self {
            json: globals.json,
            quiet: globals.quiet,
            live: live && !dumb,
            out: paint(io::stdout().is_terminal()),
            err: paint(live),
        }
    }

    /// Whether the caller wants JSON.
    pub(crate) fn json(&self) -> bool {
        self.json
    }

    /// The colours of standard output.
    pub(crate) fn paint(&self) -> Paint {
        self.out
    }

    /// Whether standard output can be drawn again and again.
    pub(crate) fn redraws(&self) -> bool {
        io::stdout().is_terminal() && self.live
    }

    /// Prints data as text, or `value` as JSON where that is wanted.
    pub(crate) fn data(&self, value: &impl Serialize, text: impl FnOnce(Paint) -> String) -> Result<(), Failure> {
        if self.json {
            let mut line =
                serde_json::to_string_pretty(value).map_err(|error| Failure::io("write JSON", &error.into()))?;
            line.push('\n');
            return write_out(line.as_bytes());
        }
        let mut text = text(self.out);
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        write_out(text.as_bytes())
    }

    /// Prints where something is that goes on: as text, or `value` as one line of JSON for whoever waits for it.
    pub(crate) fn announce(&self, value: &impl Serialize, text: impl FnOnce(Paint) -> String) -> Result<(), Failure> {
        if self.json { self.json_line(value) } else { self.data(value, text) }
    }

    /// Prints `value` as one line of JSON.
    pub(crate) fn json_line(&self, value: &impl Serialize) -> Result<(), Failure> {
        let mut line = serde_json::to_string(value).map_err(|error| Failure::io("write JSON", &error.into()))?;
        line.push('\n');
        write_out(line.as_bytes())
    }

    /// Says how it goes, on standard error.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet {
            write_err(&format!("{text}\n"));
        }
    }

    /// Warns, whatever `--quiet` says.
    pub(crate) fn warn(&self, text: &str) {
        write_err(&format!("{} {text}\n", self.err.paint(Style::Yellow, "warning:")));
    }

    /// Prints a failure on standard error, and as JSON on standard output where that is wanted.
    pub(crate) fn failure(&self, failure: &Failure) {
        let label = |label: &str| self.err.paint(if label == "error:" { Style::Red } else { Style::Bold }, label);
        write_err(&failure.text(label));
        if self.json && !matches!(failure.kind(), Kind::Program(_)) {
            // Whoever closed standard output does not want to know.
            let _ = self.json_line(&failure.json());
        }
    }

    /// Begins something that takes a while.
    pub(crate) fn activity(&self) -> Activity {
        let multi = MultiProgress::new();
        let bar = (self.live && !self.quiet).then(|| {
            let bar = multi.add(ProgressBar::new_spinner());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg} {elapsed:>4}") {
                bar.set_style(style);
            }
            bar
        });
        let push = match &bar {
            _ if self.quiet => Teller::nothing(),
            _ if self.json => Teller::events(),
            Some(_) => Teller::bars(multi),
            None => Teller::lines(),
        };
        Activity { terminal: *self, bar, push: Mutex::new(push) }
    }
}

/// Something that takes a while: a spinner on a terminal; elsewhere only the lines that stay.
#[derive(Debug)]
pub(crate) struct Activity {
    terminal: Terminal,
    bar: Option<ProgressBar>,
    push: Mutex<Teller>,
}

impl Activity {
    /// What goes on now; it is gone with the next one.
    pub(crate) fn now(&self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.enable_steady_tick(Duration::from_millis(100));
            bar.set_message(text.to_owned());
        }
    }

    /// A line that stays.
    pub(crate) fn line(&self, style: Style, text: &str) {
        let line = self.terminal.err.paint(style, text);
        match &self.bar {
            Some(bar) => bar.suspend(|| self.terminal.note(&line)),
            None => self.terminal.note(&line),
        }
    }
}

impl Activity {
    /// How a part of a push gets on.
    pub(crate) fn part(&self, part: &Progress) {
        let word = self.push.lock().unwrap_or_else(PoisonError::into_inner).take(part, Instant::now());
        match word {
            Some(Word::Line(line)) => self.line(Style::Dim, &line),
            // For programs: nothing is drawn around it.
            Some(Word::Event(line)) => match &self.bar {
                Some(bar) => bar.suspend(|| self.terminal.note(&line)),
                None => self.terminal.note(&line),
            },
            None => {}
        }
    }
}

impl Drop for Activity {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Writes to standard output. When nobody reads any more, the command ends quietly, as others do.
pub(crate) fn write_out(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::program(141),
        _ => Failure::io("write to standard output", &error),
    })
}

fn write_err(text: &str) {
    // There is no better place to complain about this one.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// The words of applications and of other people, in one line: they must not move the cursor or change the title of somebody's terminal.
pub(crate) fn printable(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(letter) = rest.next() {
        match letter {
            '\t' => clean.push_str("    "),
            '\n' => clean.push(' '),
            // A colour sequence is left out as a whole.
            '\x1b' => {
                if rest.clone().next() == Some('[') {
                    rest.by_ref().find(|end| end.is_ascii_alphabetic());
                }
            }
            letter if letter.is_control() => {}
            letter => clean.push(letter),
        }
    }
    clean
}

/// The time.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_millis(jiff::Timestamp::now().as_millisecond())
}

/// A span for people: its largest unit alone.
pub(crate) fn span(span: Millis) -> String {
    let seconds = span.0 / 1000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// How long ago something was.
pub(crate) fn ago(at: Timestamp, now: Timestamp) -> String {
    match now.since(at).0 {
        0..1000 => "just now".to_owned(),
        millis => format!("{} ago", span(Millis(millis))),
    }
}

/// An amount of bytes for people.
pub(crate) fn bytes(count: u64) -> String {
    let tenths = |unit: u64| format!("{}.{}", count / unit, count % unit * 10 / unit);
    match count {
        0..1024 => format!("{count} B"),
        1024..1_048_576 => format!("{} KiB", tenths(1024)),
        1_048_576..1_073_741_824 => format!("{} MiB", tenths(1 << 20)),
        _ => format!("{} GiB", tenths(1 << 30)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_sizes_are_told_in_their_largest_unit() {
        let told =
            |seconds: u64| ago(Timestamp::from_millis(0), Timestamp::from_millis(0).plus(Millis::from_secs(seconds)));
        assert_eq!(
            [0, 59, 60, 7199, 7200, 200_000].map(told),
            ["just now", "59s ago", "1m ago", "1h ago", "2h ago", "2d ago"]
        );
        assert_eq!([0, 1023, 1536, 5 << 20, 3 << 30].map(bytes), ["0 B", "1023 B", "1.5 KiB", "5.0 MiB", "3.0 GiB"]);
    }

    #[test]
    fn a_clock_that_is_behind_the_servers_shows_no_nonsense() {
        assert_eq!(ago(Timestamp::from_millis(5000), Timestamp::from_millis(0)), "just now");
    }
}
