//! `barge exec`: pipes, exit codes, signals, and a terminal that comes back as it was.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};

use crate::fake::{Fake, gate};
use crate::support::Place;

fn serving() -> (Fake, Place) {
    let fake = Fake::with_greeter();
    fake.show([gate()]);
    let place = Place::with(&fake);
    (fake, place)
}

#[test]
fn a_command_gives_its_output_and_its_exit_code() {
    let (_fake, place) = serving();
    let run = place.run("exec exit 7");
    assert_eq!((run.code, run.out.as_str(), run.err.as_str()), (7, "out\n", "err\n"));
    assert_eq!(place.run("exec -m greeter -- exit 0").code, 0);
    let run = place.run("exec nonsense");
    assert_eq!(run.told(), "exit code 1\n--- stderr\nerror: [\"nonsense\"]: no such program\n");
    let run = place.run("exec --instance AAAAAA -- exit 0");
    assert!(run.code == 4 && run.err.contains("may not open terminals"), "{}", run.told());
}

#[test]
fn much_goes_in_and_comes_out_at_the_same_time() {
    let (_fake, place) = serving();
    let mut child = place.command(&["exec", "--", "cat"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    // More than fits into all buffers on the way, and nothing is read before all is written.
    let data: Vec<u8> = (0..16 * 1024 * 1024u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
    let expected = data.clone();
    let writer = std::thread::spawn(move || input.write_all(&data).unwrap());
    let mut output = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut output).unwrap();
    writer.join().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(output.strip_prefix(b"begun\n") == Some(expected.as_slice()), "{} bytes came back", output.len());
}

fn begun(child: &mut Child) {
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "begun\n");
}

#[test]
fn signals_reach_the_program() {
    let (_fake, place) = serving();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let mut child = place.command(&["exec", "wait"]).spawn().unwrap();
        begun(&mut child);
        kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(signal as i32), "{signal}: the program ends with its number");
    }
}

#[test]
fn a_terminal_has_its_size_and_comes_back_as_it_was() {
    let (fake, place) = serving();
    let (mut pty, pts) = pty_process::blocking::open().unwrap();
    let size = |rows, columns| Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&pty, size(33, 101)).unwrap();
    let before = format!("{:?}", tcgetattr(&pty).unwrap());
    let barge = pty_process::blocking::Command::new(env!("CARGO_BIN_EXE_barge"))
        .args(["exec", "sizes"])
        .current_dir(place.project())
        .env("BARGE_CONFIG", place.config())
        .env("TERM", "xterm");
    let mut child = barge.spawn(pts).unwrap();
    let mut seen = Vec::new();
    let mut buffer = [0; 1024];
    while !String::from_utf8_lossy(&seen).contains("begun") {
        let count = pty.read(&mut buffer).unwrap();
        seen.extend_from_slice(&buffer[..count]);
    }
    assert_eq!(fake.sizes(), [(33, 101)]);
    // Raw: no echo, no line discipline of ours.
    assert_ne!(format!("{:?}", tcgetattr(&pty).unwrap()), before);
    tcsetwinsize(&pty, size(40, 120)).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{}", String::from_utf8_lossy(&seen));
    assert_eq!(fake.sizes(), [(33, 101), (40, 120)]);
    assert_eq!(format!("{:?}", tcgetattr(&pty).unwrap()), before);
}
