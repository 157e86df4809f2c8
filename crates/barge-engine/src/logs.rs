//! An instance's output as a stream of lines.

use std::pin::Pin;

use futures_util::Stream;

/// Which lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogOptions {
    /// At most so many of the last lines.
    pub tail: usize,
    /// Go on with new lines.
    pub follow: bool,
}

/// A line without its end.
pub type LogLine = Result<String, std::io::Error>;

/// Lines, oldest first.
pub type LogStream = Pin<Box<dyn Stream<Item = LogLine> + Send>>;
