//! The program itself: on a terminal or on pipes, in a group of its own, with a mark by which everything that it starts is found.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{Winsize, openpty};
use nix::unistd::Pid;

use crate::child::locate;
use crate::processes::EXEC_MARK;
use crate::status::{Ending, now_ms};
use crate::system;

/// The shell that somebody gets who names no command.
const SHELLS: [&str; 2] = ["/bin/bash", "/bin/sh"];
/// How long is waited, altogether, for what the program has written last; what has lost its mark and keeps the output open, or goes on
/// writing, is not waited for.
const OUTPUT_LIMIT: Duration = Duration::from_millis(500);
/// The most that a pipe may hold: more than that was not written by a program that has ended.
const PIPE_BYTES: usize = 1024 * 1024;
/// Control-D: the end of input on a terminal.
const END_OF_INPUT: &[u8] = &[4];

/// The size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) rows: u16,
    pub(super) columns: u16,
}

/// Why the program was not started.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProgramError {
    #[error("the image has no shell; hint: name a command that it has")]
    NoShell,
    #[error("make a terminal")]
    Terminal(#[source] std::io::Error),
    #[error("make pipes")]
    Pipe(#[source] std::io::Error),
    #[error("run {program:?}")]
    Spawn { program: String, source: std::io::Error },
}

/// A program that runs.
pub(super) struct Program {
    pub(super) child: Child,
    pub(super) group: Pid,
    pub(super) input: Input,
    pub(super) outputs: Vec<Output>,
    /// The terminal, to change its size.
    pub(super) terminal: Option<File>,
    pub(super) mark: String,
}

/// Where the program reads.
pub(super) enum Input {
    Pipe(Option<File>),
    Terminal(File),
}

/// Where the program writes.
pub(super) struct Output {
    file: File,
    pub(super) is_error: bool,
    /// What was read after the end of the program.
    late: usize,
    /// How long was waited since then.
    waited: Duration,
}

impl Program {
    /// Starts it, with our environment and in our directory.
    pub(super) fn start(terminal: Option<Size>, command: Vec<String>) -> Result<Self, ProgramError> {
        let shell = || SHELLS.iter().find(|shell| Path::new(shell).exists()).map(|shell| vec![(*shell).to_owned()]);
        let words = Some(command).filter(|words| !words.is_empty()).or_else(shell).ok_or(ProgramError::NoShell)?;
        // Unlike any other in this container.
        let mark = format!("{}-{}", std::process::id(), now_ms());
        let mut command = Command::new(locate(&words[0], Path::new(".")));
        command.args(&words[1..]).env(EXEC_MARK, &mark);
        match terminal {
            Some(size) => on_terminal(command, size, &words[0], mark),
            None => on_pipes(command, &words[0], mark),
        }
    }
}

fn on_terminal(mut command: Command, size: Size, program: &str, mark: String) -> Result<Program, ProgramError> {
    let terminal = |error: std::io::Error| ProgramError::Terminal(error);
    let pair = openpty(&winsize(size), None).map_err(|error| terminal(error.into()))?;
    for file in [&pair.master, &pair.slave] {
        fcntl(file, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(|error| terminal(error.into()))?;
    }
    let other = |file: &OwnedFd| file.try_clone().map_err(terminal);
    command.stdin(other(&pair.slave)?).stdout(other(&pair.slave)?).stderr(other(&pair.slave)?);
    command.env("TERM", "xterm-256color");
    system::lead_terminal(&mut command);
    let child = spawn(command, program)?;
    // Ours: as long as it is open, the terminal has no end.
    drop(pair.slave);
    Ok(Program {
        group: Pid::from_raw(child.id().cast_signed()),
        child,
        input: Input::Terminal(other(&pair.master)?.into()),
        outputs: vec![Output::new(other(&pair.master)?, false)],
        terminal: Some(pair.master.into()),
        mark,
    })
}

fn on_pipes(mut command: Command, program: &str, mark: String) -> Result<Program, ProgramError> {
    let (stdin, input) = std::io::pipe().map_err(ProgramError::Pipe)?;
    let (out, stdout) = std::io::pipe().map_err(ProgramError::Pipe)?;
    let (error, stderr) = std::io::pipe().map_err(ProgramError::Pipe)?;
    command.stdin(Stdio::from(stdin)).stdout(stdout).stderr(stderr).process_group(0);
    let child = spawn(command, program)?;
    Ok(Program {
        group: Pid::from_raw(child.id().cast_signed()),
        child,
        input: Input::Pipe(Some(OwnedFd::from(input).into())),
        outputs: vec![Output::new(out.into(), false), Output::new(error.into(), true)],
        terminal: None,
        mark,
    })
}

/// With the command go the ends that are the program's.
fn spawn(mut command: Command, program: &str) -> Result<Child, ProgramError> {
    command.spawn().map_err(|source| ProgramError::Spawn { program: program.to_owned(), source })
}

impl Input {
    /// Writes all of it; waits for a program that does not read.
    pub(super) fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Self::Pipe(Some(pipe)) => pipe.write_all(bytes),
            Self::Terminal(terminal) => terminal.write_all(bytes),
            Self::Pipe(None) => Ok(()),
        }
    }

    /// Nothing more comes.
    pub(super) fn end(&mut self) {
        match self {
            Self::Pipe(pipe) => *pipe = None,
            // Whoever does not read it has ended.
            Self::Terminal(terminal) => drop(terminal.write_all(END_OF_INPUT)),
        }
    }
}

impl Output {
    fn new(file: OwnedFd, is_error: bool) -> Self {
        Self { file: file.into(), is_error, late: 0, waited: Duration::ZERO }
    }

    /// Reads what there is, and waits for it. Nothing at the end; or when the program has ended, as `is_over` tells, and nothing more of its own can
    /// come. A terminal whose program has ended answers with an error, which means the same.
    pub(super) fn read(&mut self, buffer: &mut [u8], is_over: impl Fn() -> bool) -> usize {
        loop {
            let over = is_over();
            if over && self.late >= PIPE_BYTES {
                return 0;
            }
            // What is there already is read however late it is.
            let limit = OUTPUT_LIMIT.saturating_sub(self.waited);
            let began = Instant::now();
            let mut asked = [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)];
            let ready = poll(&mut asked, PollTimeout::try_from(limit).unwrap_or(PollTimeout::ZERO));
            self.waited += if over { began.elapsed() } else { Duration::ZERO };
            match ready {
                Ok(0) if !over => {}
                Err(nix::errno::Errno::EINTR) => {}
                Ok(0) | Err(_) => return 0,
                Ok(_) => {
                    let count = self.file.read(buffer).unwrap_or(0);
                    self.late += if over { count } else { 0 };
                    return count;
                }
            }
        }
    }
}

/// Gives the terminal another size. One whose program is about to end may refuse.
pub(super) fn resize(terminal: Option<&File>, size: Size) {
    if let Some(terminal) = terminal {
        let _ = system::set_window_size(terminal, &winsize(size));
    }
}

fn winsize(size: Size) -> Winsize {
    Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 }
}

pub(super) fn ending(status: ExitStatus) -> Ending {
    match (status.code(), status.signal()) {
        (Some(code), _) => Ending::Exited { code },
        (None, Some(signal)) => Ending::Signalled { signal },
        (None, None) => Ending::NotStarted,
    }
}
