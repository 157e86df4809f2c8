//! Programs beside an instance's process, by way of the API server.
//!
//! Kubernetes neither passes signals on, nor ends a program whose connection is gone. So the program is run by `barge-init exec`, which is in
//! every pod, and what is typed and said goes through it as frames (`barge_init::exec::frame`): they keep an idle connection open, show that the other
//! side is still there, and let neither side stop reading, so that nobody who does not read holds up what else there is to say.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use barge_crds::names;
use barge_engine::{EngineError, ExecInput, ExecOutput, ExecRequest, ExecSession, WindowSize};
use barge_init::exec::frame::{BEAT, Frame, Frames, MOST, SILENCE, WINDOW};
use bytes::{Bytes, BytesMut};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, AttachParams, AttachedProcess};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::instance;

/// The program that runs it, which the operator puts into every pod.
const BARGE_INIT: &str = "/barge/barge-init";
/// How long a program may take to start.
const START_LIMIT: Duration = Duration::from_secs(20);
/// So much input may wait for a program that does not read, in bytes.
const QUEUE_BYTES: usize = 1024 * 1024;
/// The most that is kept of what Kubernetes says where no program was started.
const REASON_BYTES: u64 = 4096;

/// Why a program was not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExecError {
    #[error("there is no container to run it in: {0}")]
    NoContainer(String),
    #[error("ask Kubernetes to run it")]
    Ask(#[source] Box<kube::Error>),
    #[error("{0}")]
    Refused(String),
    #[error("it did not start within {} s", START_LIMIT.as_secs())]
    Slow,
    #[error("understand what barge-init says")]
    Understand(#[source] io::Error),
}

/// Starts the program. The session's task ends with the program, when the session is dropped, or when the engine stops.
pub(crate) async fn start(
    pods: &Api<Pod>,
    pod: &Pod,
    request: &ExecRequest,
    tasks: &TaskTracker,
    stopping: &CancellationToken,
) -> Result<ExecSession, ExecError> {
    if !instance::runs(pod) {
        return Err(ExecError::NoContainer(
            barge_crds::pod::waits_for(pod).unwrap_or_else(|| "it has ended".to_owned()),
        ));
    }
    let connect = timeout(START_LIMIT, connect(pods, pod, request));
    let connection = connect.await.map_err(|_| ExecError::Slow)??;
    let (input, inputs) = mpsc::channel(64);
    let (outputs, output) = mpsc::channel(64);
    let stopping = stopping.clone();
    tasks.spawn(async move { stopping.run_until_cancelled(connection.attend(inputs, outputs)).await });
    Ok(ExecSession { input, output })
}

/// The same for the server.
pub(crate) fn failed(request: &ExecRequest, error: ExecError) -> EngineError {
    let what = request.command.first().map_or_else(|| "a shell".to_owned(), |program| format!("{program:?}"));
    EngineError::failed(format!("run {what} in the instance"), error)
}

fn words(request: &ExecRequest) -> Vec<String> {
    let mut words = vec![BARGE_INIT.to_owned(), "exec".to_owned()];
    if let Some(WindowSize { rows, columns }) = request.terminal {
        words.extend(["--terminal".to_owned(), format!("{rows}x{columns}")]);
    }
    words.push("--".to_owned());
    words.extend(request.command.iter().cloned());
    words
}

/// Connects, and waits until the program runs.
async fn connect(
    pods: &Api<Pod>,
    pod: &Pod,
    request: &ExecRequest,
) -> Result<Connection<impl AsyncRead + Unpin + use<>, impl AsyncWrite + Unpin + use<>>, ExecError> {
    let parameters = AttachParams {
        container: Some(names::MAIN.to_owned()),
        stdin: true,
        max_stdin_buf_size: Some(MOST),
        max_stdout_buf_size: Some(MOST),
        ..AttachParams::default()
    };
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let mut process =
        pods.exec(name, words(request), &parameters).await.map_err(|error| ExecError::Ask(Box::new(error)))?;
    let (stdin, stdout, stderr) = (process.stdin(), process.stdout(), process.stderr());
    let (Some(stdin), Some(stdout), Some(stderr)) = (stdin, stdout, stderr) else {
        return Err(ExecError::Refused("the connection has no streams".to_owned()));
    };
    let mut reader = Reader::new(stdout);
    match reader.next().await.map_err(ExecError::Understand)? {
        Some(Frame::Started) => Ok(Connection { reader, stdin, dialogue: Dialogue::default(), _process: process }),
        Some(Frame::Failed(reason)) => Err(ExecError::Refused(reason)),
        Some(_) => Err(ExecError::Understand(io::ErrorKind::InvalidData.into())),
        None => Err(ExecError::Refused(no_barge_init(process, stderr).await)),
    }
}

/// What Kubernetes, or a barge-init that does not know how to, has said instead.
async fn no_barge_init(mut process: AttachedProcess, stderr: impl AsyncRead + Unpin) -> String {
    let mut said = Vec::new();
    // Whatever came is better than nothing.
    let _ = stderr.take(REASON_BYTES).read_to_end(&mut said).await;
    let status = match process.take_status() {
        Some(status) => status.await.and_then(|status| status.message),
        None => None,
    };
    let said = String::from_utf8_lossy(&said);
    let first = said.lines().next().map(str::to_owned).filter(|line| !line.is_empty());
    first.or(status).unwrap_or_else(|| "the connection ended before the program was started".to_owned())
}

/// A program that runs, seen through its connection.
struct Connection<R, W> {
    reader: Reader<R>,
    stdin: W,
    dialogue: Dialogue,
    /// Ends the connection when it is dropped, and with it the program.
    _process: AttachedProcess,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Connection<R, W> {
    /// Passes on what is typed and said until the program ends, or either side is gone.
    async fn attend(mut self, mut inputs: mpsc::Receiver<ExecInput>, outputs: mpsc::Sender<ExecOutput>) {
        let Self { reader, stdin, dialogue, .. } = &mut self;
        let mut beat = tokio::time::interval(BEAT);
        let mut heard = Instant::now();
        while !(dialogue.is_over && dialogue.unread.is_empty()) {
            dialogue.fill();
            let (is_over, has_unread) = (dialogue.is_over, !dialogue.unread.is_empty());
            let (has_outgoing, has_room) = (!dialogue.outgoing.is_empty(), dialogue.waiting() < QUEUE_BYTES);
            tokio::select! {
                written = stdin.write_buf(&mut dialogue.outgoing), if has_outgoing && !is_over => {
                    dialogue.is_over |= written.is_err();
                }
                permit = outputs.reserve(), if has_unread => match (permit, dialogue.pass_on()) {
                    (Ok(permit), Some(output)) => permit.send(output),
                    _ => return,
                },
                () = outputs.closed() => return,
                frame = reader.next(), if !is_over => {
                    heard = Instant::now();
                    match frame {
                        Ok(Some(frame)) => dialogue.hear(frame),
                        Ok(None) | Err(_) => dialogue.is_over = true,
                    }
                }
                message = inputs.recv(), if has_room => match message {
                    Some(message) => dialogue.take(message),
                    None => return,
                },
                _ = beat.tick() => dialogue.say(&Frame::Alive),
                () = tokio::time::sleep_until(heard + SILENCE), if !is_over => dialogue.is_over = true,
            }
        }
    }
}

/// What arrives.
struct Reader<R> {
    stdout: R,
    frames: Frames,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    fn new(stdout: R) -> Self {
        Self { stdout, frames: Frames::default(), buffer: BytesMut::new() }
    }

    /// The next frame; nothing at the end of the connection. May be dropped and asked again.
    async fn next(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.frames.next_frame()? {
                return Ok(Some(frame));
            }
            self.buffer.reserve(MOST);
            if self.stdout.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
            self.frames.push(&self.buffer);
            self.buffer.clear();
        }
    }
}

/// What is still to be said, in both directions. No IO.
#[derive(Debug, Default)]
struct Dialogue {
    /// Frames that are on their way out.
    outgoing: BytesMut,
    /// Input that waits, because the program has not taken what it got.
    queue: VecDeque<Bytes>,
    /// Input that the program has got and not taken yet, in bytes.
    untaken: usize,
    /// No more input comes once the queue is empty.
    last: bool,
    /// Output that waits for whoever reads it.
    unread: VecDeque<ExecOutput>,
    /// The program has ended, or the connection.
    is_over: bool,
}

impl Dialogue {
    /// Input that waits, in bytes.
    fn waiting(&self) -> usize {
        self.queue.iter().map(Bytes::len).sum()
    }

    /// Sends as much of the input as the program has room for.
    fn fill(&mut self) {
        while self.untaken < WINDOW
            && let Some(mut bytes) = self.queue.pop_front()
        {
            let piece = bytes.split_to(bytes.len().min(MOST).min(WINDOW - self.untaken));
            self.untaken += piece.len();
            self.say(&Frame::Data(piece.to_vec()));
            if !bytes.is_empty() {
                self.queue.push_front(bytes);
            }
        }
        if self.queue.is_empty() && std::mem::take(&mut self.last) {
            self.say(&Frame::End);
        }
    }

    fn say(&mut self, frame: &Frame) {
        self.outgoing.extend_from_slice(&frame.encode());
    }

    fn hear(&mut self, frame: Frame) {
        match frame {
            Frame::Stdout(bytes) => self.unread.push_back(ExecOutput::Stdout(bytes.into())),
            Frame::Stderr(bytes) => self.unread.push_back(ExecOutput::Stderr(bytes.into())),
            Frame::Taken(count) => {
                self.untaken = self.untaken.saturating_sub(usize::try_from(count).unwrap_or(usize::MAX));
            }
            Frame::Exit(code) => {
                self.unread.push_back(ExecOutput::Exit(code));
                self.is_over = true;
            }
            _ => {}
        }
    }

    fn take(&mut self, message: ExecInput) {
        match message {
            ExecInput::Data(bytes) if !bytes.is_empty() && !self.last => self.queue.push_back(bytes),
            ExecInput::Data(_) => {}
            ExecInput::End => self.last = true,
            ExecInput::Resize(WindowSize { rows, columns }) => self.say(&Frame::Resize(rows, columns)),
            ExecInput::Signal(number) => self.say(&Frame::Signal(number)),
        }
    }

    /// The next output for whoever reads it; the program may say as much again.
    fn pass_on(&mut self) -> Option<ExecOutput> {
        let output = self.unread.pop_front()?;
        if let ExecOutput::Stdout(bytes) | ExecOutput::Stderr(bytes) = &output {
            self.say(&Frame::Taken(u32::try_from(bytes.len()).unwrap_or(u32::MAX)));
        }
        Some(output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(dialogue: &mut Dialogue) -> Vec<Frame> {
        let mut frames = Frames::default();
        frames.push(&dialogue.outgoing.split());
        std::iter::from_fn(|| frames.next_frame().unwrap()).collect()
    }

    fn data(frames: &[Frame]) -> usize {
        frames.iter().map(|frame| if let Frame::Data(bytes) = frame { bytes.len() } else { 0 }).sum()
    }

    #[test]
    fn input_waits_for_a_program_that_does_not_read_and_a_signal_does_not() {
        let mut dialogue = Dialogue::default();
        dialogue.take(ExecInput::Data(Bytes::from(vec![b'x'; WINDOW + 10])));
        dialogue.take(ExecInput::End);
        dialogue.fill();
        let frames = said(&mut dialogue);
        assert_eq!((data(&frames), dialogue.waiting()), (WINDOW, 10));
        assert!(!frames.contains(&Frame::End), "the end comes last");
        dialogue.take(ExecInput::Signal(15));
        dialogue.fill();
        assert_eq!(said(&mut dialogue), [Frame::Signal(15)]);
        dialogue.hear(Frame::Taken(4));
        dialogue.fill();
        assert_eq!(data(&said(&mut dialogue)), 4);
        dialogue.hear(Frame::Taken(1000));
        dialogue.fill();
        assert_eq!(said(&mut dialogue), [Frame::Data(vec![b'x'; 6]), Frame::End]);
        dialogue.fill();
        assert_eq!(said(&mut dialogue), [], "the end comes once");
    }

    #[test]
    fn a_program_may_say_more_once_what_it_said_was_read() {
        let mut dialogue = Dialogue::default();
        dialogue.hear(Frame::Stdout(b"out".to_vec()));
        dialogue.hear(Frame::Stderr(b"error".to_vec()));
        dialogue.hear(Frame::Exit(3));
        assert!(dialogue.is_over && said(&mut dialogue).is_empty());
        assert_eq!(dialogue.pass_on(), Some(ExecOutput::Stdout(Bytes::from("out"))));
        assert_eq!(said(&mut dialogue), [Frame::Taken(3)]);
        assert_eq!(dialogue.pass_on(), Some(ExecOutput::Stderr(Bytes::from("error"))));
        assert_eq!(dialogue.pass_on(), Some(ExecOutput::Exit(3)));
        assert_eq!(said(&mut dialogue), [Frame::Taken(5)]);
        assert_eq!(dialogue.pass_on(), None);
    }

    #[test]
    fn barge_init_is_told_what_to_run() {
        let request = |command: &[&str], terminal| ExecRequest {
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            terminal,
        };
        let size = Some(WindowSize { rows: 33, columns: 101 });
        assert_eq!(words(&request(&[], None)), [BARGE_INIT, "exec", "--"]);
        assert_eq!(
            words(&request(&["ls", "-l"], size)),
            [BARGE_INIT, "exec", "--terminal", "33x101", "--", "ls", "-l"]
        );
    }
}
