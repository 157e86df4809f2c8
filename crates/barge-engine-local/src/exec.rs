//! Programs beside an instance's process: in its directory, with its environment, on a terminal or on pipes.

use std::collections::VecDeque;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use barge_engine::{EngineError, ExecInput, ExecOutput, ExecRequest, ExecSession, WindowSize};
use barge_init::{Plan, files, processes};
use bytes::Bytes;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use pty_process::OwnedWritePty;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The shell that a terminal gets when no command is named.
const SHELLS: [&str; 2] = ["/bin/bash", "/bin/sh"];
/// So much input may wait for a program that does not read, in bytes.
const QUEUE_BYTES: usize = 1024 * 1024;
/// The most that a pipe may hold: more than that was not written by a program that has ended.
const PIPE_BYTES: usize = 1024 * 1024;
/// How long what the program has written last may take; what a background process keeps open is not waited for.
const OUTPUT_LIMIT: Duration = Duration::from_millis(500);
/// Control-D: the end of input on a terminal.
const END_OF_INPUT: &[u8] = &[4];

/// Starts the program.
pub(crate) fn start(directory: &Path, request: ExecRequest, execs: &TaskTracker) -> Result<ExecSession, EngineError> {
    let read = |error: std::io::Error| EngineError::failed("read the instance's plan", error);
    let bytes = std::fs::read(directory.join(files::PLAN)).map_err(read)?;
    let plan: Plan = serde_json::from_slice(&bytes).map_err(|error| read(error.into()))?;
    let command = if request.command.is_empty() {
        let shell = SHELLS.iter().find(|shell| Path::new(shell).exists()).unwrap_or(&SHELLS[1]);
        vec![(*shell).to_owned()]
    } else {
        request.command
    };
    let (input, inputs) = mpsc::channel(64);
    let (outputs, output) = mpsc::channel(64);
    let mark = ulid::Ulid::new().to_string();
    let program = match request.terminal {
        Some(size) => on_terminal(&plan, &command, size, &outputs, mark),
        None => on_pipes(&plan, &command, &outputs, mark),
    };
    let program =
        program.map_err(|error| EngineError::failed(format!("run {:?} in the instance", command[0]), error))?;
    // Ends with the program, or when the session is dropped, which ends the program.
    execs.spawn(program.attend(inputs, outputs));
    Ok(ExecSession { input, output })
}

/// A program that runs.
struct Program {
    child: Child,
    input: Input,
    copies: JoinSet<()>,
    /// Cancelled when the program has ended.
    ended: CancellationToken,
    /// By which everything that it starts is found.
    mark: String,
}

enum Input {
    Pipe(ChildStdin),
    Terminal(OwnedWritePty),
    Closed,
}

fn on_terminal(
    plan: &Plan,
    command: &[String],
    size: WindowSize,
    outputs: &mpsc::Sender<ExecOutput>,
    mark: String,
) -> std::io::Result<Program> {
    let (pty, pts) = pty_process::open().map_err(std::io::Error::other)?;
    pty.resize(pty_process::Size::new(size.rows, size.columns)).map_err(std::io::Error::other)?;
    let child = pty_process::Command::new(&command[0])
        .args(&command[1..])
        .current_dir(&plan.main.working_directory)
        .env_clear()
        .envs(&plan.main.env)
        .env("TERM", "xterm-256color")
        .env(processes::EXEC_MARK, &mark)
        .kill_on_drop(true)
        .spawn(pts)
        .map_err(|error| match error {
            pty_process::Error::Io(error) => error,
            other => std::io::Error::other(other),
        })?;
    let (reader, writer) = pty.into_split();
    let mut copies = JoinSet::new();
    let ended = CancellationToken::new();
    copies.spawn(copy(reader, outputs.clone(), ExecOutput::Stdout, ended.clone()));
    Ok(Program { child, input: Input::Terminal(writer), copies, ended, mark })
}

fn on_pipes(
    plan: &Plan,
    command: &[String],
    outputs: &mpsc::Sender<ExecOutput>,
    mark: String,
) -> std::io::Result<Program> {
    let mut child = tokio::process::Command::new(&command[0])
        .args(&command[1..])
        .current_dir(&plan.main.working_directory)
        .env_clear()
        .envs(&plan.main.env)
        .env(processes::EXEC_MARK, &mark)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let (mut copies, ended) = (JoinSet::new(), CancellationToken::new());
    if let Some(stdout) = child.stdout.take() {
        copies.spawn(copy(stdout, outputs.clone(), ExecOutput::Stdout, ended.clone()));
    }
    if let Some(stderr) = child.stderr.take() {
        copies.spawn(copy(stderr, outputs.clone(), ExecOutput::Stderr, ended.clone()));
    }
    let input = child.stdin.take().map_or(Input::Closed, Input::Pipe);
    Ok(Program { child, input, copies, ended, mark })
}

impl Input {
    async fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Input::Pipe(pipe) => pipe.write(bytes).await,
            Input::Terminal(terminal) => terminal.write(bytes).await,
            Input::Closed => Err(std::io::ErrorKind::BrokenPipe.into()),
        }
    }
}

impl Program {
    /// Passes input on until the program ends. Nothing waits for a program that does not read: its end, a signal and the end of the
    /// session are noticed all the same.
    async fn attend(mut self, mut inputs: mpsc::Receiver<ExecInput>, outputs: mpsc::Sender<ExecOutput>) {
        let mut queue: VecDeque<Bytes> = VecDeque::new();
        let mut last = false;
        let ended = loop {
            if last && queue.is_empty() && matches!(self.input, Input::Pipe(_)) {
                self.input = Input::Closed;
            }
            let waiting: usize = queue.iter().map(Bytes::len).sum();
            tokio::select! {
                ended = self.child.wait() => break ended,
                () = outputs.closed() => break self.hang_up().await,
                written = self.input.write(queue.front().map_or(&[], |bytes| &bytes[..])), if waiting > 0 => {
                    take_written(&mut queue, written);
                }
                message = inputs.recv(), if waiting < QUEUE_BYTES => match message {
                    Some(ExecInput::Data(bytes)) if !bytes.is_empty() && !last => queue.push_back(bytes),
                    Some(ExecInput::Data(_)) => {}
                    Some(ExecInput::End) if matches!(self.input, Input::Terminal(_)) => {
                        queue.push_back(Bytes::from_static(END_OF_INPUT));
                    }
                    Some(ExecInput::End) => last = true,
                    Some(ExecInput::Resize(size)) => self.resize(size),
                    Some(ExecInput::Signal(number)) => signal(self.child.id(), number),
                    None => break self.hang_up().await,
                },
            }
        };
        self.finish(ended, &outputs).await;
    }

    fn resize(&self, size: WindowSize) {
        if let Input::Terminal(terminal) = &self.input {
            // A terminal whose program is about to end may refuse.
            let _ = terminal.resize(pty_process::Size::new(size.rows, size.columns));
        }
    }

    /// Whoever asked is gone: the program goes as well.
    async fn hang_up(&mut self) -> std::io::Result<ExitStatus> {
        signal(self.child.id(), Signal::SIGHUP as i32);
        signal(self.child.id(), Signal::SIGKILL as i32);
        self.child.wait().await
    }

    /// Tells the exit code, and ends what the program has left: nobody would ever find it again.
    async fn finish(mut self, ended: std::io::Result<ExitStatus>, outputs: &mpsc::Sender<ExecOutput>) {
        use std::os::unix::process::ExitStatusExt;
        self.ended.cancel();
        // Whoever reads slowly gets all of it all the same; who is gone has dropped the session, which ends the copies.
        while self.copies.join_next().await.is_some() {}
        let code = ended.map_or(255, |status| status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)));
        // The receiver may be gone, which is how most sessions end.
        let _ = outputs.send(ExecOutput::Exit(code)).await;
        let mark = self.mark;
        let _ = tokio::task::spawn_blocking(move || processes::end_marked_exec(&mark)).await;
    }
}

fn take_written(queue: &mut VecDeque<Bytes>, written: std::io::Result<usize>) {
    match (written, queue.front_mut()) {
        (Ok(count), Some(front)) if count < front.len() => {
            let _ = front.split_to(count);
        }
        (Ok(_), _) => {
            queue.pop_front();
        }
        // The program reads no more, so nothing of it is of use.
        (Err(_), _) => queue.clear(),
    }
}

/// Copies until the output ends; or, after the end of the program, until nothing more of its own can come.
async fn copy(
    mut reader: impl AsyncRead + Unpin + Send,
    outputs: mpsc::Sender<ExecOutput>,
    wrap: fn(Bytes) -> ExecOutput,
    ended: CancellationToken,
) {
    let mut buffer = vec![0u8; 16 * 1024];
    let mut after_end = 0;
    while after_end < PIPE_BYTES {
        let silence = async {
            ended.cancelled().await;
            tokio::time::sleep(OUTPUT_LIMIT).await;
        };
        // A terminal whose program has ended answers with an error, which means the same as its end.
        let count = tokio::select! {
            read = reader.read(&mut buffer) => read.unwrap_or(0),
            () = silence => 0,
        };
        if count == 0 || outputs.send(wrap(Bytes::copy_from_slice(&buffer[..count]))).await.is_err() {
            return;
        }
        after_end += if ended.is_cancelled() { count } else { 0 };
    }
}

fn signal(pid: Option<u32>, number: i32) {
    if let (Some(pid), Ok(signal)) = (pid, Signal::try_from(number)) {
        let _ = killpg(Pid::from_raw(pid.cast_signed()), signal);
    }
}
