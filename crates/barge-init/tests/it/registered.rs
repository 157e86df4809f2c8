//! An instance in a registry, from its first readiness to its end: barge-init as a whole.

use std::sync::{Arc, Mutex};

use barge_init::Phase;
use barge_init::plan::Checks;
use nix::sys::signal::Signal;

use crate::support::{Init, eventually, ready, serve, shell, timeline};

/// A registry of the registration protocol that takes everything, and notes what it was told.
fn registry() -> (String, Arc<Mutex<Vec<String>>>) {
    let told: Arc<Mutex<Vec<String>>> = Arc::default();
    let noted = Arc::clone(&told);
    let address = serve(move |head| {
        noted.lock().unwrap().push(head.lines().next().unwrap_or_default().to_owned());
        b"HTTP/1.1 200 OK\r\ncontent-length: 14\r\n\r\n{\"revision\":1}".to_vec()
    });
    (address.to_string(), told)
}

fn registered(address: &str) -> barge_init::Plan {
    let mut plan = ready(shell("sleep 1000"));
    plan.instance = "01M8FJ550QCGYNE7621SBHYTC5".to_owned();
    plan.checks = Checks { interval_ms: 50, ..Checks::default() };
    let agent = serde_json::json!({
        "registry": { "kind": "protocol", "address": address, "environment": "test" }, "service": "greeter"
    });
    plan.agent = Some(serde_json::from_value(agent).unwrap());
    plan
}

#[test]
fn an_instance_is_registered_when_it_is_ready_and_leaves_before_it_is_told_to_stop() {
    let (address, told) = registry();
    let mut init = Init::start(&registered(&address));
    init.wait_phase(Phase::Ready);
    let first = eventually("a registration", || told.lock().unwrap().first().cloned());
    assert!(first.starts_with("PUT /v1/services/greeter/instances/01M8FJ550QCGYNE7621SBHYTC5"), "{first}");
    init.wait("the registration in the status", |status| status.registration.is_some());
    init.signal(Signal::SIGTERM);
    assert_eq!(init.exit().0, 0);
    let steps = timeline(&init.file().unwrap());
    let (left, stopped) = (steps.find("drained: ").unwrap(), steps.find("told to stop (SIGTERM)").unwrap());
    assert!(left < stopped, "{steps}");
    assert!(told.lock().unwrap().len() >= 2, "it was taken out: {told:?}");
}

#[test]
fn a_registry_that_is_not_there_costs_nothing() {
    let mut init = Init::start(&registered("127.0.0.1:1"));
    init.wait_phase(Phase::Ready);
    init.wait("words about it", |status| status.registration.is_some());
    init.signal(Signal::SIGTERM);
    assert_eq!(init.exit().0, 0);
}

#[test]
fn a_registration_that_makes_no_sense_is_a_start_that_has_failed() {
    let mut plan = registered("127.0.0.1:1");
    plan.agent.as_mut().unwrap().ttl_ms = 1;
    let status = Init::start(&plan).wait_phase(Phase::Held);
    assert!(status.reason.as_deref().unwrap().contains("a time to live of 1 ms"), "{:?}", status.reason);
}
