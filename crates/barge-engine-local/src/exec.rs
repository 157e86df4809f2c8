//! Programs beside an instance's process: in its directory, with its environment, on a terminal or on pipes.

use std::path::Path;
use std::process::Stdio;

use barge_engine::{EngineError, ExecInput, ExecOutput, ExecRequest, ExecSession, WindowSize};
use barge_init::{Plan, files};
use bytes::Bytes;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Child;
use tokio::sync::mpsc;

/// The shell that a terminal gets when no command is named.
const SHELLS: [&str; 2] = ["/bin/bash", "/bin/sh"];

/// Starts the program.
pub(crate) fn start(directory: &Path, request: ExecRequest) -> Result<ExecSession, EngineError> {
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
    match request.terminal {
        Some(size) => on_terminal(&plan, &command, size, inputs, outputs)?,
        None => on_pipes(&plan, &command, inputs, outputs)?,
    }
    Ok(ExecSession { input, output })
}

fn failed(command: &[String]) -> impl Fn(std::io::Error) -> EngineError + '_ {
    |error| EngineError::failed(format!("run {:?} in the instance", command[0]), error)
}

fn on_terminal(
    plan: &Plan,
    command: &[String],
    size: WindowSize,
    mut inputs: mpsc::Receiver<ExecInput>,
    outputs: mpsc::Sender<ExecOutput>,
) -> Result<(), EngineError> {
    let pty_error = |error: pty_process::Error| failed(command)(std::io::Error::other(error));
    let (pty, pts) = pty_process::open().map_err(pty_error)?;
    pty.resize(pty_process::Size::new(size.rows, size.columns)).map_err(pty_error)?;
    let mut child = pty_process::Command::new(&command[0])
        .args(&command[1..])
        .current_dir(&plan.working_directory)
        .env_clear()
        .envs(&plan.env)
        .env("TERM", "xterm-256color")
        .kill_on_drop(true)
        .spawn(pts)
        .map_err(pty_error)?;
    let (mut reader, mut writer) = pty.into_split();
    // Ends with the program, or when the session is dropped, which kills the program's group.
    tokio::spawn(async move {
        let pid = child.id();
        let copied = tokio::spawn({
            let outputs = outputs.clone();
            async move { copy(&mut reader, &outputs, ExecOutput::Stdout).await }
        });
        let ended = loop {
            tokio::select! {
                ended = child.wait() => break ended,
                message = inputs.recv() => match message {
                    Some(ExecInput::Data(bytes)) => { let _ = writer.write_all(&bytes).await; }
                    Some(ExecInput::Resize(size)) => {
                        let _ = writer.resize(pty_process::Size::new(size.rows, size.columns));
                    }
                    Some(ExecInput::Signal(number)) => signal(pid, number),
                    Some(ExecInput::End) => { let _ = writer.write_all(&[4]).await; }
                    None => {
                        hang_up(pid);
                        break child.wait().await;
                    }
                },
            }
        };
        finish(ended, &outputs, [copied]).await;
    });
    Ok(())
}

fn on_pipes(
    plan: &Plan,
    command: &[String],
    mut inputs: mpsc::Receiver<ExecInput>,
    outputs: mpsc::Sender<ExecOutput>,
) -> Result<(), EngineError> {
    let mut child: Child = tokio::process::Command::new(&command[0])
        .args(&command[1..])
        .current_dir(&plan.working_directory)
        .env_clear()
        .envs(&plan.env)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(failed(command))?;
    let (mut stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    tokio::spawn(async move {
        let pid = child.id();
        let out = outputs.clone();
        let copied_out = tokio::spawn(async move {
            if let Some(mut stdout) = stdout {
                copy(&mut stdout, &out, ExecOutput::Stdout).await;
            }
        });
        let err = outputs.clone();
        let copied_err = tokio::spawn(async move {
            if let Some(mut stderr) = stderr {
                copy(&mut stderr, &err, ExecOutput::Stderr).await;
            }
        });
        let ended = loop {
            tokio::select! {
                ended = child.wait() => break ended,
                message = inputs.recv() => match message {
                    Some(ExecInput::Data(bytes)) => {
                        if let Some(pipe) = &mut stdin {
                            let _ = pipe.write_all(&bytes).await;
                        }
                    }
                    Some(ExecInput::End) => stdin = None,
                    Some(ExecInput::Signal(number)) => signal(pid, number),
                    Some(ExecInput::Resize(_)) => {}
                    None => {
                        hang_up(pid);
                        break child.wait().await;
                    }
                },
            }
        };
        finish(ended, &outputs, [copied_out, copied_err]).await;
    });
    Ok(())
}

async fn copy(
    reader: &mut (impl AsyncRead + Unpin),
    outputs: &mpsc::Sender<ExecOutput>,
    wrap: fn(Bytes) -> ExecOutput,
) {
    let mut buffer = vec![0u8; 16 * 1024];
    // A terminal whose program has ended answers with an error, which means the same as its end.
    while let Ok(count) = reader.read(&mut buffer).await {
        if count == 0 || outputs.send(wrap(Bytes::copy_from_slice(&buffer[..count]))).await.is_err() {
            return;
        }
    }
}

async fn finish<const N: usize>(
    ended: std::io::Result<std::process::ExitStatus>,
    outputs: &mpsc::Sender<ExecOutput>,
    copies: [tokio::task::JoinHandle<()>; N],
) {
    use std::os::unix::process::ExitStatusExt;
    for copied in copies {
        // What a background process keeps open is not waited for.
        let _ = tokio::time::timeout(std::time::Duration::from_millis(500), copied).await;
    }
    let code = ended.map_or(255, |status| status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)));
    let _ = outputs.send(ExecOutput::Exit(code)).await;
}

fn signal(pid: Option<u32>, number: i32) {
    if let (Some(pid), Ok(signal)) = (pid, Signal::try_from(number)) {
        let _ = killpg(Pid::from_raw(pid.cast_signed()), signal);
    }
}

/// Whoever asked is gone: the program and what it started go as well.
fn hang_up(pid: Option<u32>) {
    signal(pid, Signal::SIGHUP as i32);
    signal(pid, Signal::SIGKILL as i32);
}
