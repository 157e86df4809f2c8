//! What is said by the registration protocol, word for word.

use std::time::Duration;

use barge_init::agent::{Registry, Secret};
use serde_json::json;

use super::fakes::Recorder;
use super::{ID, agent, protocol, start, wait_state};
use crate::support::eventually;

/// What a registry answers to whoever has ended.
const ENDED: &str = r#"{"generation":40,"terminal":true}"#;

#[test]
fn one_put_says_it_all() {
    let fake = Recorder::start(|_| (200, r#"{"revision":1}"#.to_owned()));
    let registry =
        Registry::Protocol { address: fake.address.to_string(), environment: "te st".to_owned(), epoch: 7, weight: 3 };
    let mut plan = agent(registry, 3000);
    plan.token = Some(Secret::from("t0ken".to_owned()));
    plan.meta = [("zone".to_owned(), "a".to_owned())].into();
    plan.tags = vec!["blue".to_owned(), "fast".to_owned()];
    let (handle, _) = start(&plan);
    handle.ready(true, "");
    assert_eq!(wait_state(&handle, "online"), format!("online in the gateway at {}", fake.address));
    let asked = fake.asked().remove(0);
    assert_eq!(asked.line, format!("PUT /v1/services/greeter/instances/{ID}?environment=te%20st"));
    assert!(asked.head.contains("\r\nAuthorization: Bearer t0ken\r\n"), "{}", asked.head);
    let expected = json!({
        "address": "127.0.0.1:8080", "generation": 1, "epoch": 7, "state": "online", "weight": 3,
        "meta": {"zone": "a", "tags": "blue,fast"},
    });
    assert_eq!(asked.json(), expected);
}

#[test]
fn generations_grow_with_every_change_and_heartbeats_repeat_the_last_one() {
    let fake = Recorder::start(|_| (200, "{}".to_owned()));
    let (handle, _) = start(&agent(protocol(fake.address), 1000));
    handle.ready(true, "");
    wait_state(&handle, "online");
    eventually("a heartbeat", || (fake.asked().len() >= 2).then_some(()));
    handle.ready(false, "503");
    wait_state(&handle, "offline");
    handle.ready(true, "");
    wait_state(&handle, "online");
    handle.leave(Duration::from_secs(5));
    std::thread::sleep(Duration::from_millis(600));
    let mut said: Vec<(u64, String)> = fake
        .asked()
        .iter()
        .map(|asked| (asked.json()["generation"].as_u64().unwrap(), asked.json()["state"].as_str().unwrap().to_owned()))
        .collect();
    said.dedup();
    let expected = [(1, "online"), (2, "offline"), (3, "online"), (4, "terminal")];
    assert_eq!(said, expected.map(|(generation, state)| (generation, state.to_owned())));
}

#[test]
fn a_later_generation_is_passed() {
    let fake = Recorder::start(|asked| {
        if asked.json()["generation"].as_u64().unwrap() <= 40 {
            (409, r#"{"generation":40,"terminal":false}"#.to_owned())
        } else {
            (200, "{}".to_owned())
        }
    });
    let (handle, _) = start(&agent(protocol(fake.address), 3000));
    handle.ready(true, "");
    wait_state(&handle, "online");
    let generations: Vec<_> = fake.asked().iter().map(|asked| asked.json()["generation"].as_u64().unwrap()).collect();
    assert_eq!(generations, [1, 41]);
}

#[test]
fn a_later_epoch_is_told_of() {
    let fake = Recorder::start(|_| (409, r#"{"generation":0,"terminal":false}"#.to_owned()));
    let (handle, _) = start(&agent(protocol(fake.address), 3000));
    handle.ready(true, "");
    wait_state(&handle, "a registrar with a later epoch has registered it");
}

#[test]
fn an_instance_that_somebody_has_ended_is_told_no_more() {
    let fake =
        Recorder::start(
            |asked| {
                if asked.json()["generation"] == 1 { (200, "{}".to_owned()) } else { (409, ENDED.to_owned()) }
            },
        );
    let (handle, _) = start(&agent(protocol(fake.address), 3000));
    handle.ready(true, "");
    wait_state(&handle, "online");
    handle.ready(false, "503");
    let state = wait_state(&handle, "ended by");
    let asked = fake.asked().len();
    handle.ready(true, "");
    assert_eq!(handle.leave(Duration::from_secs(60)), state);
    assert_eq!(fake.asked().len(), asked);
    assert!(fake.asked().iter().all(|asked| asked.line.contains(ID)), "another id");
}

#[test]
fn a_container_that_is_started_again_registers_with_another_id() {
    let fake =
        Recorder::start(|asked| if asked.line.contains(ID) { (409, ENDED.to_owned()) } else { (200, "{}".to_owned()) });
    let (handle, _) = start(&agent(protocol(fake.address), 3000));
    handle.ready(true, "");
    let words = wait_state(&handle, "online");
    assert!(words.contains(" as 01") && words.ends_with(", since a former run with its id has ended"), "{words}");
    handle.leave(Duration::from_secs(60));
    let lines: Vec<String> = fake.asked().into_iter().map(|asked| asked.line).collect();
    let id = lines[1].split(['/', '?']).find(|part| part.starts_with("01")).unwrap();
    assert!(id.parse::<barge_model::InstanceId>().is_ok(), "{id}");
    // The heartbeats and the end are told with the same one.
    assert!(lines.len() >= 3 && lines[1..].iter().all(|line| line.contains(id)), "{lines:?}");
}

#[test]
fn no_third_id_is_tried() {
    let fake = Recorder::start(|_| (409, ENDED.to_owned()));
    let (handle, _) = start(&agent(protocol(fake.address), 1000));
    handle.ready(true, "");
    let state = wait_state(&handle, "ended by");
    assert_eq!(handle.leave(Duration::from_secs(60)), state);
    assert_eq!(fake.asked().len(), 2);
}

#[test]
fn an_instance_that_listens_everywhere_tells_the_address_by_which_it_has_come() {
    let fake = Recorder::start(|_| (200, "{}".to_owned()));
    let handle = agent(protocol(fake.address), 3000).start(ID, Some(([0, 0, 0, 0], 8080).into()), |_| {}).unwrap();
    handle.ready(true, "");
    wait_state(&handle, "online");
    assert_eq!(fake.asked()[0].json()["address"], "127.0.0.1:8080");
}
