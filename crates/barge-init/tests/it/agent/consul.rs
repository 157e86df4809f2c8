//! What is said to Consul, word for word.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use barge_init::agent::Secret;
use serde_json::json;

use super::fakes::Recorder;
use super::{ID, agent, consul, start, wait_state};
use crate::support::eventually;

const REGISTER: &str = "PUT /v1/agent/service/register";

fn pass() -> String {
    format!("PUT /v1/agent/check/pass/service:{ID}")
}

fn fail() -> String {
    format!("PUT /v1/agent/check/fail/service:{ID}")
}

fn deregister() -> String {
    format!("PUT /v1/agent/service/deregister/{ID}")
}

#[test]
fn an_instance_is_registered_with_all_that_the_plan_says() {
    let fake = Recorder::start(|_| (200, String::new()));
    let mut plan = agent(consul(fake.address), 3000);
    plan.tags = vec!["blue".to_owned()];
    plan.meta = [("zone".to_owned(), "a \"b\"".to_owned())].into();
    plan.token = Some(Secret::from("t0ken".to_owned()));
    let (handle, told) = start(&plan);
    handle.ready(true, "");
    let place = format!("passing in Consul at {}", fake.address);
    assert_eq!(wait_state(&handle, "passing"), place);
    let asked = fake.asked();
    assert_eq!(asked[0].line, REGISTER);
    assert!(asked[0].head.contains("\r\nX-Consul-Token: t0ken\r\n"), "{}", asked[0].head);
    let expected = json!({
        "ID": ID, "Name": "greeter", "Port": 8080, "Tags": ["blue"], "Meta": {"zone": "a \"b\""},
        "Check": {
            "CheckID": format!("service:{ID}"), "Name": "readiness", "Notes": "told by barge-init",
            "TTL": "3000ms", "Status": "passing", "DeregisterCriticalServiceAfter": "60000ms",
        },
    });
    assert_eq!(asked[0].json(), expected);
    assert_eq!(told.lines(), [place]);
}

#[test]
fn an_instance_that_listens_everywhere_has_its_nodes_address() {
    let fake = Recorder::start(|_| (200, String::new()));
    let handle = agent(consul(fake.address), 3000).start(ID, Some(([0, 0, 0, 0], 8080).into()), |_| {}).unwrap();
    handle.ready(true, "");
    wait_state(&handle, "passing");
    let body = fake.asked()[0].json();
    assert_eq!((body.get("Address"), &body["Port"]), (None, &json!(8080)), "{body}");
}

#[test]
fn readiness_passes_and_fails_the_check_and_a_leave_is_the_last_word() {
    let fake = Recorder::start(|_| (200, String::new()));
    let (handle, told) = start(&agent(consul(fake.address), 1000));
    handle.ready(true, "");
    wait_state(&handle, "passing");
    eventually("a heartbeat", || fake.lines().contains(&pass()).then_some(()));
    handle.ready(false, "GET /up: 503 & more");
    wait_state(&handle, "failing");
    let last = fake.asked().last().unwrap().line.clone();
    assert_eq!(last, format!("{}?note=GET%20%2Fup:%20503%20%26%20more", fail()));
    let before = fake.asked().len();
    eventually("heartbeats that fail", || (fake.asked().len() > before).then_some(()));
    let how = handle.leave(Duration::from_secs(5));
    assert_eq!(how, format!("deregistered from Consul at {}", fake.address));
    std::thread::sleep(Duration::from_millis(1200));
    handle.ready(true, "");
    let lines = fake.lines();
    assert_eq!(lines.iter().position(|line| *line == deregister()), Some(lines.len() - 1), "{lines:?}");
    let at = format!("Consul at {}", fake.address);
    let expected = [
        format!("passing in {at}"),
        format!("failing in {at}: GET /up: 503 & more"),
        format!("not deregistered from {at} yet"),
        how,
    ];
    assert_eq!(told.lines(), expected);
}

#[test]
fn an_instance_that_begins_not_ready_fails_from_the_start_and_says_why() {
    let fake = Recorder::start(|_| (200, String::new()));
    let (handle, _) = start(&agent(consul(fake.address), 3000));
    handle.ready(false, "starting");
    wait_state(&handle, "failing");
    assert_eq!(fake.lines(), [REGISTER.to_owned(), fail()]);
    assert_eq!(fake.asked()[0].json()["Check"]["Status"], "critical");
}

#[test]
fn an_agent_that_has_lost_its_services_is_told_anew_with_the_next_heartbeat() {
    for status in [404, 500] {
        let lost = Arc::new(AtomicU16::new(200));
        let answer = Arc::clone(&lost);
        let fake = Recorder::start(move |asked| {
            if asked.line.starts_with(REGISTER) {
                answer.store(200, Ordering::SeqCst);
            }
            (answer.load(Ordering::SeqCst), "Unknown check".to_owned())
        });
        let (handle, told) = start(&agent(consul(fake.address), 1000));
        handle.ready(true, "");
        wait_state(&handle, "passing");
        lost.store(status, Ordering::SeqCst);
        eventually("a second registration", || {
            (fake.lines().iter().filter(|line| *line == REGISTER).count() == 2).then_some(())
        });
        wait_state(&handle, "passing");
        let lines = fake.lines();
        let at = lines.iter().rposition(|line| line == REGISTER).unwrap();
        assert_eq!(lines[at - 1], pass(), "{lines:?}");
        assert!(told.lines()[1].contains("it has forgotten the instance"), "{:?}", told.lines());

        // The same when it notices at a change.
        lost.store(status, Ordering::SeqCst);
        handle.ready(false, "503");
        wait_state(&handle, "failing");
        eventually("a third registration", || {
            fake.asked().iter().any(|asked| asked.line == REGISTER && asked.body.contains("critical")).then_some(())
        });
    }
}

#[test]
fn a_refusal_is_told_in_consuls_words() {
    let fake = Recorder::start(|_| (403, "Permission denied\nmore".to_owned()));
    let (handle, _) = start(&agent(consul(fake.address), 3000));
    handle.ready(true, "");
    let state = wait_state(&handle, "it answered 403 Permission denied");
    assert_eq!(state, format!("not registered in Consul at {}: it answered 403 Permission denied", fake.address));
}

#[test]
fn a_leave_that_finds_nothing_is_done_and_one_that_fails_says_so() {
    for (status, body) in [(404, ""), (500, "Unknown service \"x\"")] {
        let fake = Recorder::start(move |asked| {
            if asked.line.contains("deregister") { (status, body.to_owned()) } else { (200, String::new()) }
        });
        let (handle, _) = start(&agent(consul(fake.address), 3000));
        handle.ready(true, "");
        wait_state(&handle, "passing");
        let how = handle.leave(Duration::from_secs(5));
        assert!(how.starts_with("deregistered from"), "{how}");
    }
    let fake = Recorder::start(|asked| {
        if asked.line.contains("deregister") { (503, "later".to_owned()) } else { (200, String::new()) }
    });
    let (handle, _) = start(&agent(consul(fake.address), 3000));
    handle.ready(true, "");
    wait_state(&handle, "passing");
    let how = handle.leave(Duration::from_millis(600));
    assert!(
        how.starts_with("not deregistered from") && how.ends_with("it answered 503 later (waited 600 ms)"),
        "{how}"
    );
    let tries = fake.lines().iter().filter(|line| **line == deregister()).count();
    assert!(tries >= 2, "it was not tried again");
    let first = fake.lines().iter().position(|line| *line == deregister()).unwrap();
    assert!(fake.lines()[first..].iter().all(|line| *line == deregister()), "{:?}", fake.lines());
}

#[test]
fn heartbeats_come_three_times_in_a_time_to_live() {
    let fake = Recorder::start(|_| (200, String::new()));
    let (handle, _) = start(&agent(consul(fake.address), 1200));
    handle.ready(true, "");
    let asked = eventually("heartbeats", || Some(fake.asked()).filter(|asked| asked.len() >= 5));
    for pair in asked.windows(2) {
        let pause = pair[1].at - pair[0].at;
        // A slow machine makes them later, never earlier.
        assert!((Duration::from_millis(360)..Duration::from_secs(10)).contains(&pause), "{pause:?}");
    }
    drop(handle);
}
