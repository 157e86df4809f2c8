//! What counts as ready, and what does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use barge_init::{Phase, Probe};

use crate::support::{Init, serve, serve_on, shell, timeline};

fn http(status: u16) -> Vec<u8> {
    format!("HTTP/1.1 {status} X\r\ncontent-length: 7\r\n\r\nbecause").into_bytes()
}

fn web(path: Option<&str>) -> Probe {
    Probe::Http { path: path.map(str::to_owned) }
}

fn start(probe: Probe, answer: &[u8]) -> Init {
    let answer = answer.to_vec();
    let mut plan = shell("sleep 1000");
    plan.probe = probe;
    plan.port = serve(move |_| answer.clone()).port();
    Init::start(&plan)
}

#[track_caller]
fn check_ready(probe: Probe, answer: &[u8], detail: &str) {
    let status = start(probe, answer).wait_phase(Phase::Ready);
    let last = status.probes.last().unwrap();
    assert!(last.ok && last.detail.contains(detail), "{last:?}");
    assert!(status.was_ready && status.reason.is_none() && status.address.is_some(), "{status:?}");
}

#[track_caller]
fn check_not_ready(probe: Probe, answer: &[u8], reason: &str) {
    // Several checks in a row: the first one alone could be before its time.
    let init = start(probe, answer);
    let status =
        init.wait("checks that fail", |status| status.probes.last().is_some_and(|probe| !probe.ok && probe.times >= 3));
    assert_eq!(status.phase, Phase::Starting);
    assert!(status.reason.as_ref().is_some_and(|text| text.contains(reason)), "{:?}", status.reason);
}

#[test]
fn a_path_of_its_own_must_succeed() {
    for code in [200, 204, 302, 399] {
        check_ready(web(Some("/up")), &http(code), &format!("GET /up: {code}"));
    }
    for code in [400, 401, 404, 500, 503] {
        check_not_ready(web(Some("/up")), &http(code), &format!("{code} because"));
    }
    check_not_ready(web(Some("/up")), b"+PONG\r\n", "not an HTTP answer");
}

#[test]
fn without_a_path_any_answer_but_a_failure_is_enough() {
    check_ready(web(None), &http(200), "GET /healthcheck: 200");
    check_ready(web(None), &http(404), "taken as ready");
    check_ready(web(None), &http(401), "taken as ready");
    check_ready(web(None), b"+PONG\r\n", "does not speak HTTP");
    check_not_ready(web(None), &http(500), "500 because");
    check_not_ready(web(None), &http(503), "503 because");
    check_not_ready(web(None), b"", "closed without an answer");
}

#[test]
fn an_rpc_service_is_ready_when_its_port_accepts() {
    check_ready(Probe::Accept, b"", "accepts connections");
}

#[test]
fn nobody_on_the_port_is_said_so() {
    let init = Init::start(&shell("sleep 1000"));
    let status = init.wait("a reason", |status| status.reason.is_some());
    assert!(status.reason.unwrap().contains("nobody listens there"));
}

#[test]
fn a_service_that_listens_on_loopback_whatever_it_is_told_is_found() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let mut plan = shell("sleep 1000");
        let served = serve_on(address, |_| http(200));
        plan.host = "127.77.1.2".to_owned();
        plan.port = served.port();
        plan.probe = web(None);
        let status = Init::start(&plan).wait_phase(Phase::Ready);
        assert_eq!(status.address.unwrap(), served.to_string());
    }
}

#[test]
fn a_ready_process_that_fails_its_checks_is_not_ready_until_it_passes_again() {
    let code = Arc::new(AtomicU16::new(200));
    let answered = Arc::clone(&code);
    let mut plan = shell("sleep 1000");
    plan.probe = web(Some("/up"));
    plan.port = serve(move |_| http(answered.load(Ordering::SeqCst))).port();
    let init = Init::start(&plan);
    init.wait_phase(Phase::Ready);
    code.store(503, Ordering::SeqCst);
    let status = init.wait_phase(Phase::NotReady);
    assert!(status.was_ready && status.reason.unwrap().contains("503"));
    code.store(200, Ordering::SeqCst);
    let status = init.wait_phase(Phase::Ready);
    assert!(status.reason.is_none());
    assert!(timeline(&status).contains("not ready any more"), "{status:?}");
}
