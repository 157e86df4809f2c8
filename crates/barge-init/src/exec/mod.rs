//! Runs a program beside the business process, for somebody at the other end of a connection: `kubectl exec`, or a server by way of it.
//!
//! Kubernetes does not tell a program that the connection to it is gone, and leaves it behind. So barge-init stands in between. It has the program's
//! terminal, and hears by [`frame`]s what is typed; at the end of them, or after a silence, it ends the program and all that this has started. What
//! engine-local does by itself (`exec` there) is done here on the other side of the connection.

pub mod frame;
mod program;

use std::ffi::OsStr;
use std::io::Write;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use nix::libc;

use self::frame::{BEAT, Frame, Frames, MOST, SILENCE, WINDOW};
use self::program::{Input, Output, Program, Size};
use crate::status::Ending;
use crate::{processes, voice};

/// How to call it.
pub(crate) const USAGE: &str = "barge-init exec [--terminal ROWSxCOLUMNS] [--] [COMMAND [ARGUMENT]...]";

/// The exit code of a program that was ended because nobody is there any more, which nobody sees.
const HUNG_UP: u8 = 129;
/// The program could not be started, which a frame tells as well.
const NOT_STARTED: u8 = 126;

/// What the threads tell.
enum Event {
    /// The other side said something.
    Heard,
    /// It wants the terminal to have another size.
    Resize(Size),
    /// It has a signal for the program.
    Signal(i32),
    /// It is gone, or says nonsense.
    Gone,
    /// One of the outputs has come to its end.
    Silent,
    /// The program has ended.
    Ended(Ending),
}

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    terminal: Option<Size>,
    command: Vec<String>,
}

/// Runs what the words ask for; the result is the exit code.
pub(crate) fn run(words: &[&OsStr]) -> u8 {
    let Some(asked) = parse(words) else {
        voice::say(&format!("say what to run\nusage: {USAGE}"));
        return 64;
    };
    let speech = Speech::default();
    match Program::start(asked.terminal, asked.command) {
        Ok(program) => {
            speech.say(&Frame::Started);
            attend(program, &speech)
        }
        Err(error) => {
            speech.say(&Frame::Failed(crate::chain(&error)));
            NOT_STARTED
        }
    }
}

fn parse(words: &[&OsStr]) -> Option<Asked> {
    let words: Option<Vec<&str>> = words.iter().map(|word| word.to_str()).collect();
    let mut words = words?.into_iter().peekable();
    let mut terminal = None;
    if words.next_if_eq(&"--terminal").is_some() {
        let (rows, columns) = words.next()?.split_once('x')?;
        terminal = Some(Size { rows: rows.parse().ok()?, columns: columns.parse().ok()? });
    }
    if words.next_if_eq(&"--").is_none() && words.peek().is_some_and(|word| word.starts_with('-')) {
        return None;
    }
    Some(Asked { terminal, command: words.map(str::to_owned).collect() })
}

/// Waits for the end of the program, or of whoever asked for it.
fn attend(program: Program, speech: &Speech) -> u8 {
    let Program { mut child, group, input, outputs, terminal, mark } = program;
    let (tell, events) = mpsc::channel();
    let window = Arc::new(Window::default());
    let (to_program, data) = mpsc::channel();
    let mut open = outputs.len();
    let started = listen(to_program, &window, &tell)
        .and_then(|()| write(input, data, speech))
        .and_then(|()| outputs.into_iter().try_for_each(|output| copy(output, &window, speech, &tell)))
        .and_then(|()| beat(speech))
        .and_then(|()| {
            let tell = tell.clone();
            crate::run::thread(move || {
                let ending = child.wait().map_or(Ending::NotStarted, program::ending);
                let _ = tell.send(Event::Ended(ending));
            })
        });
    let mut ended = None;
    while started.is_ok() {
        if let (Some(ending), 0) = (ended, open) {
            speech.say(&Frame::Exit(i32::from(Ending::code(ending))));
            return ending.code();
        }
        match next(&events) {
            Event::Heard => {}
            Event::Resize(size) => program::resize(terminal.as_ref(), size),
            // One that is about to end takes none any more.
            Event::Signal(number) => drop(crate::system::signal_group(group, number)),
            Event::Silent => open -= 1,
            Event::Ended(ending) => {
                ended = Some(ending);
                // What it leaves behind has its output open, and nobody would ever find it again.
                processes::end_marked_exec(&mark);
                window.end();
            }
            Event::Gone => break,
        }
    }
    for signal in [libc::SIGHUP, libc::SIGKILL] {
        let _ = crate::system::signal_group(group, signal);
    }
    processes::end_marked_exec(&mark);
    HUNG_UP
}

fn next(events: &Receiver<Event>) -> Event {
    match events.recv_timeout(SILENCE) {
        Ok(event) => event,
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Event::Gone,
    }
}

type Started = Result<(), crate::run::RunError>;

/// Hears what the other side says.
fn listen(data: Sender<Option<Vec<u8>>>, window: &Arc<Window>, tell: &Sender<Event>) -> Started {
    let (window, tell) = (Arc::clone(window), tell.clone());
    crate::run::thread(move || {
        let mut frames = Frames::default();
        let stdin = std::io::stdin();
        while let Ok(Some(frame)) = frames.read(stdin.lock()) {
            let event = match frame {
                Frame::Data(bytes) => {
                    let _ = data.send(Some(bytes));
                    Event::Heard
                }
                Frame::End => {
                    let _ = data.send(None);
                    Event::Heard
                }
                Frame::Taken(count) => {
                    window.give(count);
                    Event::Heard
                }
                Frame::Resize(rows, columns) => Event::Resize(Size { rows, columns }),
                Frame::Signal(number) => Event::Signal(number),
                _ => Event::Heard,
            };
            if tell.send(event).is_err() {
                return;
            }
        }
        let _ = tell.send(Event::Gone);
    })
}

/// Writes what was typed to the program, and says what it has taken.
fn write(mut input: Input, data: Receiver<Option<Vec<u8>>>, speech: &Speech) -> Started {
    let speech = speech.clone();
    crate::run::thread(move || {
        for bytes in data {
            match bytes {
                Some(bytes) => {
                    // A program that reads no more has no use for the rest; whoever types must not wait for it.
                    let _ = input.write(&bytes);
                    speech.say(&Frame::Taken(u32::try_from(bytes.len()).unwrap_or(u32::MAX)));
                }
                None => input.end(),
            }
        }
    })
}

/// Passes an output on until it ends; or, after the end of the program, until nothing more of its own can come.
fn copy(mut output: Output, window: &Arc<Window>, speech: &Speech, tell: &Sender<Event>) -> Started {
    let (window, speech, tell) = (Arc::clone(window), speech.clone(), tell.clone());
    crate::run::thread(move || {
        let mut buffer = vec![0; MOST / 4];
        loop {
            let count = output.read(&mut buffer, || window.is_over());
            if count == 0 {
                break;
            }
            window.take(count);
            let bytes = buffer[..count].to_vec();
            speech.say(&if output.is_error { Frame::Stderr(bytes) } else { Frame::Stdout(bytes) });
        }
        let _ = tell.send(Event::Silent);
    })
}

/// Says all the time that we are here.
fn beat(speech: &Speech) -> Started {
    let speech = speech.clone();
    crate::run::thread(move || {
        loop {
            std::thread::sleep(BEAT);
            speech.say(&Frame::Alive);
        }
    })
}

/// What we say, frame by frame.
#[derive(Debug, Clone, Default)]
struct Speech(Arc<Mutex<()>>);

impl Speech {
    /// Whoever does not hear it is gone, which the end of what he says tells.
    fn say(&self, frame: &Frame) {
        let _whole = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut stdout = std::io::stdout().lock();
        let _ = stdout.write_all(&frame.encode()).and_then(|()| stdout.flush());
    }
}

/// How much output is on its way.
#[derive(Debug, Default)]
struct Window {
    state: Mutex<(usize, bool)>,
    moved: Condvar,
}

impl Window {
    /// Waits until there is room, and takes it.
    fn take(&self, count: usize) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |state: &mut (usize, bool)| state.0 + count > WINDOW;
        let mut state = self.moved.wait_while(state, full).unwrap_or_else(PoisonError::into_inner);
        state.0 += count;
    }

    fn give(&self, count: u32) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.0 = state.0.saturating_sub(usize::try_from(count).unwrap_or(usize::MAX));
        self.moved.notify_all();
    }

    /// The program has ended.
    fn end(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).1 = true;
    }

    fn is_over(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_say_what_to_run_and_where() {
        let parsed = |words: &[&str]| parse(&words.iter().map(OsStr::new).collect::<Vec<_>>());
        let asked = |terminal: Option<(u16, u16)>, command: &[&str]| {
            let terminal = terminal.map(|(rows, columns)| Size { rows, columns });
            Some(Asked { terminal, command: command.iter().map(|word| (*word).to_owned()).collect() })
        };
        assert_eq!(parsed(&[]), asked(None, &[]));
        assert_eq!(parsed(&["--"]), asked(None, &[]));
        assert_eq!(parsed(&["ls", "-l"]), asked(None, &["ls", "-l"]));
        assert_eq!(parsed(&["--", "--terminal"]), asked(None, &["--terminal"]));
        assert_eq!(parsed(&["--terminal", "33x101", "--", "sh"]), asked(Some((33, 101)), &["sh"]));
        for nonsense in [&["--terminal"][..], &["--terminal", "33"], &["--terminal", "33x-1"], &["--other", "sh"]] {
            assert_eq!(parsed(nonsense), None, "{nonsense:?}");
        }
    }
}
