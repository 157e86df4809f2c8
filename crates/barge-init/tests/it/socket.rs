//! The socket: watches, garbage, and too many guests.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use barge_init::{Client, Phase, Request, files};
use proptest::prelude::*;

use crate::support::{Init, at_once, eventually, ready, shell, ticks};

fn connect(init: &Init) -> UnixStream {
    let stream = eventually("the socket", || UnixStream::connect(init.directory.join(files::SOCKET)).ok());
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

fn ask(init: &Init, bytes: &[u8]) -> String {
    let mut stream = connect(init);
    // Where the answer comes before everything was sent, the rest is nobody's.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

#[test]
fn a_watch_sees_a_life_from_start_to_end() {
    let mut init = Init::start(&ready(shell("sleep 1000")));
    connect(&init);
    let mut client = Client::connect(&init.directory).unwrap();
    client.send(&Request::Watch).unwrap();
    let mut phases = Vec::new();
    let mut asked = false;
    while let Some(status) = client.next_status().unwrap() {
        if status.phase == Phase::Ready && !asked {
            init.stop(at_once(5000));
            asked = true;
        }
        phases.push(status.phase);
    }
    phases.dedup();
    assert!(phases.ends_with(&[Phase::Ready, Phase::Stopping, Phase::Ended]), "{phases:?}");
    assert_eq!(init.exit().0, 0);
}

#[test]
fn garbage_gets_an_error_and_hurts_nothing() {
    let init = Init::start(&shell("exit 1"));
    let before = init.wait_phase(Phase::Held);
    let deep = |open: &str| open.repeat(60_000 / open.len());
    let table: [Vec<u8>; 9] = [
        b"\n".to_vec(),
        b"hello\n".to_vec(),
        b"{}\n".to_vec(),
        b"{\"command\":\"dance\"}\n".to_vec(),
        b"{\"command\":\"stop\"}\n".to_vec(),
        b"\xff\xfe\n".to_vec(),
        deep("[").into_bytes(),
        deep("{\"command\":").into_bytes(),
        vec![b' '; 200_000],
    ];
    for bytes in &table {
        let answer = ask(&init, bytes);
        // A request that is far too long may find the connection closed.
        assert!(answer.contains("\"error\"") || bytes.len() > 100_000, "{answer:?}");
    }
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig { cases: 100, ..ProptestConfig::default() });
    let lines = proptest::collection::vec(any::<u8>(), 0..200);
    runner
        .run(&lines, |bytes| {
            prop_assert!(ask(&init, &bytes).contains("\"error\""));
            Ok(())
        })
        .unwrap();
    assert_eq!(init.status().unwrap(), before);
}

#[test]
fn too_many_guests_are_turned_away_and_come_in_later() {
    let init = Init::start(&shell("exit 1"));
    init.wait_phase(Phase::Held);
    let silent: Vec<UnixStream> = (0..40).map(|_| connect(&init)).collect();
    let asked = Client::connect(&init.directory).and_then(|mut client| client.status());
    assert!(asked.is_err(), "{asked:?}");
    drop(silent);
    eventually("an answer", || Client::connect(&init.directory).and_then(|mut client| client.status()).ok());
}

#[test]
fn whoever_finds_no_descriptor_left_costs_no_time() {
    let init = Init::start_after("ulimit -n 30", &shell("exit 1"));
    init.wait_phase(Phase::Held);
    // Each takes two of them. Those that find none wait, and are there all the time.
    let silent: Vec<UnixStream> = (0..32).map(|_| connect(&init)).collect();
    std::thread::sleep(Duration::from_millis(200));
    let before = ticks(init.pid());
    std::thread::sleep(Duration::from_secs(1));
    let taken = ticks(init.pid()) - before;
    assert!(taken < 10, "{taken} of the 100 that a second has");
    drop(silent);
    eventually("an answer", || Client::connect(&init.directory).and_then(|mut client| client.status()).ok());
}
