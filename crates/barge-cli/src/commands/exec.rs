//! `barge exec`: a shell or a command in an instance, with the terminal's size, its signals and the program's exit code.

use std::io::{IsTerminal, Read, Write};
use std::time::Duration;

use barge_api::{ExecFrame, ExecOpen, ExecReceiver, ExecSender, InstanceView};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::instances::{find, most_interesting};
use crate::arguments::Globals;
use crate::failure::{Failure, Kind};
use crate::session::Target;
use crate::terminal::{Terminal, write_out};

const EXAMPLES: &str = "\
Without --instance: the held instance while there is one, else one that serves. Without a command: a shell. \
On a terminal the program gets a terminal; with a pipe on either side it gets pipes. `barge exec` ends with the \
program's exit code, and ends the program when it is ended itself.

Examples:
  barge exec -m greeter                      a shell
  barge exec -- ls -l /app                   a command
  barge exec --instance 4KX2ZQ -- env        in one instance
  barge exec -- cat dump.json > dump.json    its output into a file of yours";

/// How often a sign of life is asked for, and how long its lack is borne.
const PING: Duration = Duration::from_secs(15);
const SILENCE: Duration = Duration::from_secs(60);
const CHUNK: usize = 16 * 1024;

/// Open a shell, or run a command, in an instance
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Which instance: its id, or the end of it
    #[arg(long, value_name = "ID")]
    instance: Option<String>,
    /// Pipes, even on a terminal
    #[arg(short = 'T', long)]
    no_terminal: bool,
    /// The program and its arguments [default: a shell]
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Runs the command.
pub(crate) async fn run(args: Args, globals: &Globals) -> Result<(), Failure> {
    let terminal = Terminal::new(globals);
    let target = Target::open(globals, &terminal).await?;
    let status = target.status().await?;
    let instance = match &args.instance {
        Some(name) => find(&status, name, &target)?,
        None => most_interesting(&status).ok_or_else(|| {
            Failure::new(Kind::Refused, format!("{target} has no instances"))
                .hint(format!("`{}` shows how it stands", target.command("status")))
        })?,
    };
    let interactive = !args.no_terminal && std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    if interactive {
        terminal.note(&greeting(instance));
    }
    let open = ExecOpen { command: args.command, terminal: interactive.then(window_size) };
    // Signals are watched before the terminal is changed, so that none comes between.
    let signals = Signals::watch().map_err(|error| Failure::io("watch for signals", &error))?;
    let connection = target.client().exec(&target.environment, &target.service, &instance.id, &open).await?;
    let (sender, receiver) = connection.split();
    let raw = interactive.then(RawTerminal::begin).transpose()?;
    let input = Input { sender, signals, stdin: read_stdin(), interactive };
    let code = tokio::select! {
        code = print_output(receiver) => code,
        failure = input.send() => Err(failure),
    };
    drop(raw);
    match code? {
        0 => Ok(()),
        code => Err(Failure::program(u8::try_from(code & 0xff).unwrap_or(1))),
    }
}

fn greeting(instance: &InstanceView) -> String {
    let held = instance.reason.as_deref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    format!("in instance {}{held}; `exit` leaves it", instance.id.short())
}

/// Rows and columns of our terminal.
fn window_size() -> (u16, u16) {
    let size = tcgetwinsize(std::io::stdout()).or_else(|_| tcgetwinsize(std::io::stdin()));
    match size {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => (size.ws_row, size.ws_col),
        _ => (24, 80),
    }
}

/// Our terminal as the far program needs it; dropping it gives it back as it was, on every way out.
struct RawTerminal {
    before: Termios,
}

impl RawTerminal {
    fn begin() -> Result<Self, Failure> {
        let fail = |error: rustix::io::Errno| Failure::io("prepare the terminal", &error.into());
        let before = tcgetattr(std::io::stdin()).map_err(fail)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(std::io::stdin(), OptionalActions::Now, &raw).map_err(fail)?;
        Ok(Self { before })
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // There is nobody left to tell, and nothing else to try.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Drain, &self.before);
    }
}

/// Reads standard input on a thread of its own: a read cannot be given up, and must not keep us from ending.
fn read_stdin() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(8);
    std::thread::spawn(move || {
        let mut buffer = vec![0; CHUNK];
        loop {
            match std::io::stdin().read(&mut buffer) {
                Ok(0) => break,
                Ok(count) if sender.blocking_send(buffer[..count].to_vec()).is_err() => break,
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
    });
    receiver
}

struct Signals {
    window: Signal,
    interrupt: Signal,
    quit: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    fn watch() -> std::io::Result<Self> {
        Ok(Self {
            window: signal(SignalKind::window_change())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> SignalKind {
        tokio::select! {
            _ = self.window.recv() => SignalKind::window_change(),
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.quit.recv() => SignalKind::quit(),
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.hang_up.recv() => SignalKind::hangup(),
        }
    }
}

/// Everything that goes to the program.
struct Input {
    sender: ExecSender,
    signals: Signals,
    stdin: mpsc::Receiver<Vec<u8>>,
    interactive: bool,
}

impl Input {
    /// Sends until a signal ends us. A connection that broke is the receiver's to report: the exit code may still be on its way.
    async fn send(mut self) -> Failure {
        let mut ping = tokio::time::interval_at(tokio::time::Instant::now() + PING, PING);
        let mut open = true;
        let mut interrupts = 0;
        loop {
            let sent = tokio::select! {
                chunk = self.stdin.recv(), if open => match chunk {
                    Some(bytes) => self.sender.send(&ExecFrame::Stdin(bytes)).await,
                    None => {
                        open = false;
                        self.sender.send(&ExecFrame::StdinEnd).await
                    }
                },
                kind = self.signals.next() => {
                    let number = u8::try_from(kind.as_raw_value()).unwrap_or(0);
                    if kind == SignalKind::window_change() {
                        let (rows, columns) = window_size();
                        if !self.interactive {
                            continue;
                        }
                        self.sender.send(&ExecFrame::Resize(rows, columns)).await
                    } else {
                        interrupts += 1;
                        // Who signals twice does not want to wait for the program.
                        let last = interrupts > 1 || self.interactive;
                        let sent = self.sender.send(&ExecFrame::Signal(number)).await;
                        if last {
                            return Failure::program(128 + number);
                        }
                        sent
                    }
                },
                _ = ping.tick() => self.sender.ping().await,
            };
            if sent.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

async fn print_output(mut receiver: ExecReceiver) -> Result<i32, Failure> {
    loop {
        match receiver.receive(SILENCE).await? {
            Some(ExecFrame::Stdout(bytes)) => write_out(&bytes)?,
            Some(ExecFrame::Stderr(bytes)) => {
                let mut err = std::io::stderr().lock();
                err.write_all(&bytes).map_err(|error| Failure::io("write to standard error", &error))?;
            }
            Some(ExecFrame::Exit(code)) => return Ok(code),
            Some(ExecFrame::Failed(reason)) => return Err(Failure::new(Kind::General, reason)),
            Some(_) => {}
            None => return Err(Failure::new(Kind::Unreachable, "the connection ended before the program did")),
        }
    }
}
