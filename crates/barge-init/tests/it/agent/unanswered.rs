//! A registry that is not there, or not what it should be: it costs nothing but the registration.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use barge_init::agent::{Registry, Secret};

use super::fakes::{Recorder, drips, says, silent};
use super::{agent, consul, protocol, start, wait_state, zookeeper};

/// How long one call may take with a time to live of nine seconds; whoever waits for one waits as long.
const CALL: Duration = Duration::from_secs(2);

/// Every kind of registry, at this address.
fn kinds(address: SocketAddr) -> [Registry; 3] {
    [consul(address), zookeeper(&[address]), protocol(address)]
}

/// Nobody listens there: no test can bind the lowest port by chance.
fn nowhere() -> SocketAddr {
    ([127, 0, 0, 1], 1).into()
}

#[test]
fn a_registry_that_was_never_there_costs_nothing() {
    for registry in kinds(nowhere()) {
        let begin = Instant::now();
        let (handle, told) = start(&agent(registry, 9000));
        handle.ready(true, "");
        handle.ready(false, "503");
        handle.ready(true, "");
        assert!(begin.elapsed() < CALL, "it was waited for: {:?}", begin.elapsed());
        let state = wait_state(&handle, "nobody listens there");
        assert!(state.starts_with("not registered in "), "{state}");
        // Many tries are one change.
        std::thread::sleep(Duration::from_millis(1500));
        assert_eq!(told.lines().len(), 1, "{:?}", told.lines());

        let begin = Instant::now();
        let how = handle.leave(Duration::from_secs(60));
        assert!(how.starts_with("never registered in "), "{how}");
        assert!(begin.elapsed() < CALL, "a stop had to wait for it: {:?}", begin.elapsed());
    }
}

#[test]
fn a_leave_before_anything_was_registered_is_over_at_once() {
    for registry in kinds(silent()) {
        let (handle, _) = start(&agent(registry, 3000));
        let how = handle.leave(Duration::from_secs(60));
        assert!(how.starts_with("never registered in "), "{how}");
        // And a second one has nothing to wait for.
        assert_eq!(handle.leave(Duration::from_secs(60)), how);
    }
}

#[test]
fn a_registry_that_accepts_and_says_nothing_is_bounded() {
    for registry in kinds(silent()).into_iter().chain(kinds(drips())) {
        let begin = Instant::now();
        let (handle, _) = start(&agent(registry, 9000));
        handle.ready(true, "");
        assert!(begin.elapsed() < CALL, "it was waited for: {:?}", begin.elapsed());
        let state = wait_state(&handle, "no answer in time");
        assert!(begin.elapsed() < Duration::from_secs(10), "a call has no limit: {state}");

        let begin = Instant::now();
        let how = handle.leave(Duration::from_millis(700));
        assert!(begin.elapsed() < CALL, "a stop has no limit: {:?}", begin.elapsed());
        assert!(how.contains("registered"), "{how}");
    }
}

#[test]
fn a_registry_that_says_something_else_is_told_of() {
    let long = b"\x7f\xff\xff\xff and more";
    for (answer, words) in [
        (b"".as_slice(), "closed without an answer"),
        (b"+PONG\r\n".as_slice(), "does not speak"),
        (long.as_slice(), "does not speak"),
        (b"\0\0\0\x02ab".as_slice(), "does not speak"),
    ] {
        for registry in kinds(says(answer)) {
            let (handle, _) = start(&agent(registry, 3000));
            handle.ready(true, "");
            let state = wait_state(&handle, words);
            assert!(state.starts_with("not registered in "), "{state}");
        }
    }
}

#[test]
fn a_dropped_handle_ends_the_heartbeats() {
    let fake = Recorder::start(|_| (200, String::new()));
    let (handle, _) = start(&agent(consul(fake.address), 1000));
    handle.ready(true, "");
    wait_state(&handle, "passing");
    drop(handle);
    std::thread::sleep(Duration::from_millis(100));
    let asked = fake.asked().len();
    std::thread::sleep(Duration::from_millis(800));
    assert_eq!(fake.asked().len(), asked);
    assert!(!fake.lines().iter().any(|line| line.contains("deregister")), "{:?}", fake.lines());
}

#[test]
fn a_token_is_never_shown() {
    const TOKEN: &str = "s3cret-t0ken";
    // A registry that repeats all it was told.
    for status in [403, 500, 409] {
        let fake = Recorder::start(move |asked| (status, asked.head.replace("\r\n", " ")));
        for registry in [consul(fake.address), protocol(fake.address)] {
            let mut plan = agent(registry, 3000);
            plan.token = Some(Secret::from(TOKEN.to_owned()));
            assert!(!format!("{plan:?}").contains(TOKEN), "{plan:?}");
            let (handle, told) = start(&plan);
            handle.ready(true, "");
            wait_state(&handle, &status.to_string());
            let how = handle.leave(Duration::from_millis(300));
            let shown = format!("{} {how} {:?} {handle:?}", handle.state(), told.lines());
            assert!(!shown.contains(TOKEN), "{shown}");
            assert!(fake.asked().iter().all(|asked| asked.head.contains(TOKEN)));
        }
    }
}

#[test]
fn a_token_is_read_from_a_file_each_time_and_not_shown_when_it_is_wrong() {
    let directory = tempfile::TempDir::new().unwrap();
    let file = directory.path().join("token");
    let fake = Recorder::start(|_| (200, String::new()));
    let mut plan = agent(consul(fake.address), 1000);
    plan.token_file = Some(file.clone());
    let (handle, _) = start(&plan);
    handle.ready(true, "");
    wait_state(&handle, "the token cannot be read from");
    std::fs::write(&file, "two\nlines\n").unwrap();
    let state = wait_state(&handle, "letters that no token has");
    assert!(!state.contains("two"), "{state}");
    std::fs::write(&file, "first\n").unwrap();
    wait_state(&handle, "passing");
    std::fs::write(&file, "second\n").unwrap();
    crate::support::eventually("the new token", || {
        fake.asked().iter().any(|asked| asked.head.contains("X-Consul-Token: second\r\n")).then_some(())
    });
    assert!(fake.asked().first().unwrap().head.contains("X-Consul-Token: first\r\n"));
}
