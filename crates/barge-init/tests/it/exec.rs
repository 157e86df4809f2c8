//! Programs beside the process, with the test at the other end of the connection.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use barge_init::exec::frame::{Frame, Frames, WINDOW};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{PROGRAM, eventually};

struct Session {
    child: Child,
    input: Option<ChildStdin>,
    output: Receiver<Frame>,
    /// Output is taken as soon as it comes, unless a test does it by itself.
    takes: bool,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.input = None;
        let _ = self.child.wait();
    }
}

fn start(words: &[&str]) -> Session {
    let mut child =
        Command::new(PROGRAM).arg("exec").args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let (sender, output) = channel();
    std::thread::spawn(move || {
        let (mut frames, mut buffer) = (Frames::default(), [0; 4096]);
        while let Ok(count @ 1..) = stdout.read(&mut buffer) {
            frames.push(&buffer[..count]);
            while let Some(frame) = frames.next_frame().unwrap() {
                let _ = sender.send(frame);
            }
        }
    });
    Session { input: child.stdin.take(), child, output, takes: true }
}

fn shell(script: &str) -> Session {
    let mut session = start(&["--", "/bin/sh", "-c", script]);
    assert_eq!(session.next(), Some(Frame::Started));
    session
}

impl Session {
    fn say(&mut self, frame: &Frame) {
        self.input.as_mut().unwrap().write_all(&frame.encode()).unwrap();
    }

    fn type_in(&mut self, text: &str) {
        self.say(&Frame::Data(text.as_bytes().to_vec()));
    }

    /// Whatever is not about the connection itself; nothing at the end.
    fn next(&mut self) -> Option<Frame> {
        loop {
            let frame = self.output.recv_timeout(Duration::from_secs(20));
            match frame {
                Ok(Frame::Alive | Frame::Taken(_)) => {}
                Ok(frame) => {
                    if let (Frame::Stdout(bytes) | Frame::Stderr(bytes), true) = (&frame, self.takes) {
                        // It may have ended by now.
                        let taken = Frame::Taken(bytes.len().try_into().unwrap()).encode();
                        let _ = self.input.as_mut().unwrap().write_all(&taken);
                    }
                    return Some(frame);
                }
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return None,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn until(&mut self, text: &str) -> String {
        let mut seen = String::new();
        while !seen.contains(text) {
            match self.next() {
                Some(Frame::Stdout(bytes)) => seen.push_str(&String::from_utf8_lossy(&bytes)),
                other => panic!("{other:?} after {seen:?}"),
            }
        }
        seen
    }

    fn all(&mut self) -> (String, String, i32) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        loop {
            match self.next() {
                Some(Frame::Stdout(bytes)) => out.extend(bytes),
                Some(Frame::Stderr(bytes)) => err.extend(bytes),
                Some(Frame::Exit(code)) => {
                    assert_eq!(self.next(), None);
                    return (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap(), code);
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

fn alive(pid: i32) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    kill(Pid::from_raw(pid), None::<Signal>).is_ok() && !state.contains(") Z ")
}

fn gone(pid: i32) -> Option<()> {
    (!alive(pid)).then_some(())
}

#[test]
fn both_outputs_and_the_code_come_back() {
    let mut session = shell("echo out; echo err >&2; exit 7");
    assert_eq!(session.all(), ("out\n".to_owned(), "err\n".to_owned(), 7));
    assert_eq!(session.child.wait().unwrap().code(), Some(7), "to whoever does not understand frames");
    assert_eq!(shell("kill -KILL $$").all().2, 137);
}

#[test]
fn input_goes_in_to_its_end_and_is_answered_for() {
    let mut session = start(&["wc", "-c"]);
    let mut taken = 0;
    for _ in 0..20 {
        session.type_in(&"x".repeat(50_000));
        while let Ok(frame) = session.output.try_recv() {
            taken += if let Frame::Taken(count) = frame { count } else { 0 };
        }
    }
    session.say(&Frame::End);
    let mut out = String::new();
    loop {
        match session.output.recv_timeout(Duration::from_secs(20)).unwrap() {
            Frame::Taken(count) => taken += count,
            Frame::Stdout(bytes) => out.push_str(&String::from_utf8(bytes).unwrap()),
            Frame::Exit(code) => break assert_eq!((out.trim(), code, taken), ("1000000", 0, 1_000_000)),
            _ => {}
        }
    }
}

#[test]
fn a_terminal_has_its_size_and_can_be_resized() {
    let mut session = start(&["--terminal", "33x101", "--", "/bin/sh"]);
    assert_eq!(session.next(), Some(Frame::Started));
    session.type_in("stty size; tty; echo do''ne\n");
    let seen = session.until("done");
    assert!(seen.contains("33 101") && seen.contains("/dev/pts/"), "{seen}");
    session.say(&Frame::Resize(44, 222));
    session.type_in("stty size; echo ag''ain\n");
    let seen = session.until("again");
    assert!(seen.contains("44 222"), "{seen}");
    session.say(&Frame::End);
    assert_eq!(session.all().2, 0);
}

#[test]
fn signals_reach_the_program() {
    let mut session = shell("trap 'exit 9' INT; sleep 1000 & echo set; wait");
    session.until("set");
    session.say(&Frame::Signal(2));
    assert_eq!(session.all().2, 9);
}

#[test]
fn at_the_end_of_the_connection_all_that_was_started_ends() {
    // The second one has a session of its own, and would outlive a terminal.
    let script = "trap '' HUP; echo $$; setsid sleep 1000 & echo $!; echo end; wait; sleep 1000";
    for terminal in [&[][..], &["--terminal", "24x80"]] {
        let mut session = start(&[terminal, &["--", "/bin/sh", "-c", script]].concat());
        assert_eq!(session.next(), Some(Frame::Started));
        let pids: Vec<i32> = session.until("end").lines().filter_map(|line| line.trim().parse().ok()).collect();
        assert!(pids.len() == 2 && pids.iter().all(|pid| alive(*pid)), "{pids:?}");
        session.input = None;
        for pid in pids {
            eventually("its end", || gone(pid));
        }
    }
}

#[test]
fn what_a_program_leaves_in_the_background_ends_with_it() {
    let mut session = shell("sleep 1000 & echo $!");
    let (out, _, code) = session.all();
    assert_eq!(code, 0);
    let left: i32 = out.trim().parse().unwrap();
    eventually("its end", || gone(left));
}

#[test]
fn what_has_lost_its_mark_and_goes_on_writing_is_not_waited_for() {
    // In a session of its own, as somebody else's daemon is.
    let mut session =
        shell("setsid env -i /bin/sh -c 'while sleep 0.1; do echo still here || exit; done' & sleep 0.3; exit 3");
    let begin = Instant::now();
    loop {
        match session.next() {
            Some(Frame::Stdout(_)) => assert!(begin.elapsed() < Duration::from_secs(10), "it is still waited for"),
            other => break assert_eq!(other, Some(Frame::Exit(3))),
        }
    }
}

#[test]
fn a_program_that_does_not_read_is_ended_with_its_connection_all_the_same() {
    let mut session = shell("echo $$; exec sleep 1000");
    let pid: i32 = session.until("\n").trim().parse().unwrap();
    // More than a pipe takes, as much as may be on its way.
    for _ in 0..WINDOW / 32_768 {
        session.type_in(&"x".repeat(32_768));
    }
    session.input = None;
    eventually("its end", || gone(pid));
}

#[test]
fn output_waits_for_whoever_reads_it() {
    let mut session = shell("head -c 2000000 /dev/zero | tr '\\0' x; echo; echo the end");
    session.takes = false;
    let (mut seen, mut on_its_way) = (0, 0);
    while on_its_way + 64 * 1024 < WINDOW {
        let Some(Frame::Stdout(bytes)) = session.next() else { panic!() };
        on_its_way += bytes.len();
    }
    // Nothing more comes, however long nobody takes it; what has arrived so far is known.
    while let Ok(frame) = session.output.recv_timeout(Duration::from_millis(700)) {
        on_its_way += if let Frame::Stdout(bytes) = frame { bytes.len() } else { 0 };
    }
    assert!(on_its_way <= WINDOW, "{on_its_way}");
    seen += on_its_way;
    session.takes = true;
    session.say(&Frame::Taken(on_its_way.try_into().unwrap()));
    let (out, _, code) = session.all();
    seen += out.len();
    assert_eq!((seen, code), (2_000_000 + "\nthe end\n".len(), 0));
}

#[test]
fn a_program_that_is_not_there_is_told_of() {
    for words in [&["no-such-program"][..], &["--terminal", "24x80", "--", "no-such-program"]] {
        let mut session = start(words);
        let Some(Frame::Failed(reason)) = session.next() else { panic!() };
        assert!(reason.starts_with("run \"no-such-program\": No such file"), "{reason}");
        assert_eq!(session.next(), None);
    }
}

#[test]
fn whoever_talks_nonsense_is_gone() {
    let mut session = shell("echo $$; sleep 1000");
    let pid: i32 = session.until("\n").trim().parse().unwrap();
    session.input.as_mut().unwrap().write_all(b"hello, world\n").unwrap();
    eventually("its end", || gone(pid));
}
