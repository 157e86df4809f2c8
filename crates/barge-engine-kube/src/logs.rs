//! An instance's output: its last lines, and new ones as they come, across the containers that it had one after the other.
//!
//! Kubernetes answers a followed log with its first line alone, which may take hours. So the last lines are asked for at once, and followed
//! from the time of the last one on: nothing that is written after that is missed, and nothing told twice.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use barge_engine::{LogLine, LogOptions, LogStream};
use barge_model::{InstanceId, ServiceKey};
use futures_util::{AsyncBufRead, AsyncBufReadExt};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, LogParams};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::instance;
use crate::views::View;

/// A longer line is passed on in pieces, in bytes.
const LINE_BYTES: usize = 64 * 1024;
/// So many lines wait for a reader that is slower than the log.
const LINES_WAITING: usize = 64;
/// Before a log whose end has come is asked for again.
const AGAIN: Duration = Duration::from_secs(1);
/// Longer histories are not asked for.
const MOST_LINES: usize = 100_000;

/// Why a log cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    #[error("ask for the log of the pod {pod}")]
    Ask { pod: String, source: Box<kube::Error> },
    #[error("read the log of the pod {pod}")]
    Read { pod: String, source: io::Error },
}

/// Whose log it is.
pub(crate) struct Source {
    pub(crate) pods: Api<Pod>,
    pub(crate) view: Arc<View>,
    pub(crate) key: ServiceKey,
    pub(crate) id: InstanceId,
    /// The pod's name.
    pub(crate) pod: String,
}

/// What was there when somebody asked.
#[derive(Debug, Default)]
struct Past {
    lines: Vec<String>,
    /// When the last one was written.
    until: Option<Timestamp>,
}

/// Streams a log; the stream ends when nobody reads it any more or the instance is gone. What is written after this has answered is never missed.
pub(crate) async fn stream(
    source: Source,
    pod: &Pod,
    options: LogOptions,
    looks: watch::Receiver<u64>,
    tasks: &TaskTracker,
    stopping: CancellationToken,
) -> Result<LogStream, LogError> {
    let past = source.past(pod, options.tail.min(MOST_LINES)).await?;
    let (sender, receiver) = mpsc::channel::<LogLine>(LINES_WAITING);
    tasks.spawn(async move {
        let copied = tokio::select! {
            copied = source.copy(past, options.follow, looks, &sender) => copied,
            () = sender.closed() => return,
            () = stopping.cancelled() => return,
        };
        if let Err(error) = copied {
            // The reader may be gone, as readers are.
            let _ = sender.send(Err(io::Error::other(error))).await;
        }
    });
    Ok(Box::pin(ReceiverStream::new(receiver)))
}

impl Source {
    /// The last lines: those of the container that runs or ran last, and of the one before it where these are too few.
    async fn past(&self, pod: &Pod, tail: usize) -> Result<Past, LogError> {
        if let Some(reason) = instance::not_started(pod) {
            return Ok(Past { lines: vec![not_started(&reason)], until: None });
        }
        // The time of the last line is wanted in any case.
        let mut past = match self.lines(tail.max(1), false).await {
            Ok(past) => past,
            // It ended between the last news and now, and another one is about to start.
            Err(LogError::Ask { source, .. }) if has_none(&source) => Past::default(),
            Err(error) => return Err(error),
        };
        let surplus = past.lines.len().saturating_sub(tail);
        past.lines.drain(..surplus);
        let missing = tail - past.lines.len();
        if missing > 0 && instance::has_former(pod) {
            // Kubernetes may have removed it.
            let former = self.lines(missing, true).await.unwrap_or_default();
            past.until = past.until.or(former.until);
            past.lines.splice(..0, former.lines);
        }
        Ok(past)
    }

    async fn lines(&self, tail: usize, previous: bool) -> Result<Past, LogError> {
        let parameters = LogParams { tail_lines: i64::try_from(tail).ok(), previous, ..parameters() };
        let reader = self.ask(&parameters).await?;
        let mut reader = std::pin::pin!(reader);
        let mut past = Past::default();
        let mut pieces = Pieces::default();
        while let Some(piece) = self.next(&mut pieces, reader.as_mut()).await? {
            past.until = piece.at.or(past.until);
            past.lines.push(piece.text);
        }
        Ok(past)
    }

    /// Passes on what was there, and then what comes.
    async fn copy(
        &self,
        past: Past,
        follow: bool,
        looks: watch::Receiver<u64>,
        sender: &mpsc::Sender<LogLine>,
    ) -> Result<(), LogError> {
        let said = past.lines.last().cloned();
        for line in past.lines {
            let _ = sender.send(Ok(line)).await;
        }
        if follow { self.follow(past.until, said, looks, sender).await } else { Ok(()) }
    }

    /// Passes on what comes, of one container after the other, until the instance is gone.
    async fn follow(
        &self,
        mut until: Option<Timestamp>,
        mut said: Option<String>,
        mut looks: watch::Receiver<u64>,
        sender: &mpsc::Sender<LogLine>,
    ) -> Result<(), LogError> {
        let mut done = None;
        loop {
            looks.borrow_and_update();
            let Some(pod) = self.view.pod(&self.key, &self.id) else { return Ok(()) };
            let container = instance::container(&pod);
            if let Some(reason) = instance::not_started(&pod) {
                let reason = not_started(&reason);
                if said.as_ref() != Some(&reason) {
                    let _ = sender.send(Ok(reason.clone())).await;
                    said = Some(reason);
                }
            } else if (container != done || instance::runs(&pod)) && self.follow_container(&mut until, sender).await? {
                // Either the container has ended, of which the news are to come, or the connection has, and it is asked again.
                done = container;
                let _ = timeout(AGAIN, looks.changed()).await;
                continue;
            }
            if looks.changed().await.is_err() {
                return Ok(());
            }
        }
    }

    /// Follows the log of the container that runs to its end; false where Kubernetes has none yet.
    async fn follow_container(
        &self,
        until: &mut Option<Timestamp>,
        sender: &mpsc::Sender<LogLine>,
    ) -> Result<bool, LogError> {
        // Kubernetes counts in whole seconds here, and would round up.
        let since_time = until.and_then(|until| Timestamp::from_second(until.as_second()).ok());
        let reader = match self.ask(&LogParams { follow: true, since_time, ..parameters() }).await {
            Ok(reader) => reader,
            Err(LogError::Ask { source, .. }) if has_none(&source) => return Ok(false),
            Err(error) => return Err(error),
        };
        let mut reader = std::pin::pin!(reader);
        let mut pieces = Pieces::default();
        let mut is_new = true;
        while let Some(piece) = self.next(&mut pieces, reader.as_mut()).await? {
            if let Some(at) = piece.at {
                is_new = until.is_none_or(|until| at > until);
                *until = (*until).max(Some(at));
            }
            if is_new {
                let _ = sender.send(Ok(piece.text)).await;
            }
        }
        Ok(true)
    }

    async fn ask(&self, parameters: &LogParams) -> Result<impl AsyncBufRead + use<>, LogError> {
        let asked = self.pods.log_stream(&self.pod, parameters).await;
        asked.map_err(|source| LogError::Ask { pod: self.pod.clone(), source: Box::new(source) })
    }

    async fn next(
        &self,
        pieces: &mut Pieces,
        reader: std::pin::Pin<&mut impl AsyncBufRead>,
    ) -> Result<Option<Piece>, LogError> {
        pieces.next(reader).await.map_err(|source| LogError::Read { pod: self.pod.clone(), source })
    }
}

/// What is the same for all questions.
fn parameters() -> LogParams {
    let container = Some(barge_crds::names::MAIN.to_owned());
    LogParams { container, timestamps: true, ..LogParams::default() }
}

/// The reason instead of a log, for whoever asks why there is none.
fn not_started(reason: &str) -> String {
    format!("it has not started: {reason}")
}

/// The container is about to be there; or the pod is gone, of which the news are to come.
fn has_none(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 400 | 404))
}

/// A line, or a piece of a very long one.
#[derive(Debug, PartialEq, Eq)]
struct Piece {
    /// When it was written; nothing for what goes on with an earlier piece.
    at: Option<Timestamp>,
    text: String,
}

/// Splits a log into lines.
#[derive(Debug, Default)]
struct Pieces {
    partial: Vec<u8>,
    /// The line has begun with an earlier piece.
    goes_on: bool,
}

impl Pieces {
    async fn next(&mut self, mut reader: impl AsyncBufRead + Unpin) -> io::Result<Option<Piece>> {
        loop {
            let buffer = reader.fill_buf().await?;
            if buffer.is_empty() {
                return Ok((!self.partial.is_empty()).then(|| self.take(true)));
            }
            let room = LINE_BYTES.saturating_sub(self.partial.len()).max(1).min(buffer.len());
            let end = buffer[..room].iter().position(|byte| *byte == b'\n');
            self.partial.extend_from_slice(&buffer[..end.unwrap_or(room)]);
            reader.consume_unpin(end.map_or(room, |end| end + 1));
            if end.is_some() || self.partial.len() >= LINE_BYTES {
                return Ok(Some(self.take(end.is_some())));
            }
        }
    }

    fn take(&mut self, whole: bool) -> Piece {
        let bytes = std::mem::take(&mut self.partial);
        let text = String::from_utf8_lossy(&bytes);
        let begins = !std::mem::replace(&mut self.goes_on, !whole);
        let stamped = || {
            let (at, text) = text.split_once(' ').unwrap_or((text.as_ref(), ""));
            Some((at.parse().ok()?, text))
        };
        let (at, text) = match begins.then(stamped).flatten() {
            Some((at, text)) => (Some(at), text),
            None => (None, text.as_ref()),
        };
        Piece { at, text: text.trim_end_matches('\r').to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(text: &str) -> Vec<Piece> {
        let mut reader = futures_util::io::Cursor::new(text.as_bytes());
        let (mut pieces, mut found) = (Pieces::default(), Vec::new());
        while let Some(piece) = pieces.next(&mut reader).await.unwrap() {
            found.push(piece);
        }
        found
    }

    #[tokio::test]
    async fn lines_have_their_times_and_long_ones_come_in_pieces() {
        let time = "2026-11-28T10:00:00.123456789Z";
        let at: Option<Timestamp> = Some(time.parse().unwrap());
        let piece = |at, text: &str| Piece { at, text: text.to_owned() };
        assert_eq!(all("").await, []);
        assert_eq!(
            all(&format!("{time} one\r\n{time} \n{time} two")).await,
            [piece(at, "one"), piece(at, ""), piece(at, "two")]
        );
        assert_eq!(all("no time\n").await, [piece(None, "no time")]);
        let long = "x".repeat(LINE_BYTES);
        let found = all(&format!("{time} {long} and on\n{time} next\n")).await;
        assert_eq!(found.iter().map(|piece| piece.at).collect::<Vec<_>>(), [at, None, at]);
        let joined: String = found[..2].iter().map(|piece| piece.text.as_str()).collect();
        assert_eq!(joined, format!("{long} and on"));
    }
}
