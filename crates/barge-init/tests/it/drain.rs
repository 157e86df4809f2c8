//! The wait for silence before a stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use barge_init::plan::Stop;
use barge_init::{Phase, Plan, StopRequest, TrafficCheck};

use crate::support::{Init, PROGRAM, ready, serve, shell, timeline};

fn answer(status: u16, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// Stops an instance whose traffic is answered by `respond`; the timeline of its end.
fn drain(limit_ms: u64, respond: impl Fn(&str) -> Vec<u8> + Send + 'static) -> String {
    let address = serve(respond);
    let traffic = TrafficCheck { address, path: "/traffic?of=me".to_owned(), token: "secret".to_owned() };
    stop(Some(traffic), limit_ms)
}

fn stop(traffic: Option<TrafficCheck>, limit_ms: u64) -> String {
    let mut init = Init::start(&ready(shell("sleep 1000")));
    init.wait_phase(Phase::Ready);
    init.stop(StopRequest { traffic, url: None, quiet_ms: 100, limit_ms, grace_ms: 5000 });
    assert_eq!(init.exit().0, 0);
    let steps = timeline(&init.file().unwrap());
    let order =
        ["asked to stop: draining", "drained: ", "told to stop (SIGTERM)"].map(|step| steps.find(step).unwrap());
    assert!(order.is_sorted(), "{steps}");
    steps
}

#[test]
fn an_instance_in_use_is_stopped_once_it_is_quiet() {
    let asked = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&asked);
    let steps = drain(60_000, move |head| {
        assert!(head.starts_with("GET /traffic?of=me ") && head.contains("Authorization: Bearer secret\r\n"), "{head}");
        match count.fetch_add(1, Ordering::SeqCst) {
            0 => answer(200, r#"{"in_flight":1,"quiet_ms":0,"total":9}"#),
            1 => answer(200, r#"{"in_flight":1,"quiet_ms":5000,"total":9}"#),
            2 => answer(200, r#"{"in_flight":0,"quiet_ms":99,"total":9}"#),
            3 => answer(500, "later"),
            _ => answer(200, r#"{"in_flight":0,"quiet_ms":100,"total":9}"#),
        }
    });
    assert!(steps.contains("drained: no request for 100 ms"), "{steps}");
    assert_eq!(asked.load(Ordering::SeqCst), 5);
}

#[test]
fn an_instance_that_stays_in_use_is_stopped_at_the_limit() {
    let steps = drain(300, |_| answer(200, r#"{"in_flight":1,"quiet_ms":0}"#));
    assert!(steps.contains("drained: still in use after 300 ms"), "{steps}");
}

#[test]
fn an_instance_that_the_target_does_not_know_is_stopped_at_once() {
    assert!(drain(600_000, |_| answer(404, "")).contains("does not know the instance"));
}

#[test]
fn a_target_that_answers_nonsense_does_not_hold_a_stop_up_beyond_the_limit() {
    for nonsense in [answer(200, "{}"), answer(200, "[]"), answer(401, ""), b"+PONG\r\n".to_vec(), Vec::new()] {
        assert!(drain(200, move |_| nonsense.clone()).contains("drained: "));
    }
}

#[test]
fn a_target_that_is_silent_does_not_hold_a_stop_up_beyond_the_limit() {
    let steps = drain(300, |_| {
        std::thread::sleep(Duration::from_secs(5));
        Vec::new()
    });
    assert!(steps.contains("drained: "), "{steps}");
}

#[test]
fn without_a_check_a_fixed_time_passes() {
    assert!(stop(None, 100).contains("drained: no zero-traffic check: waited 100 ms"));
}

/// Starts what the plan says, and sends SIGTERM once it is ready: the exit code, and the steps.
fn stopped_by_term(plan: &Plan) -> (i32, String) {
    let mut init = Init::start(plan);
    init.wait_phase(Phase::Ready);
    init.signal(nix::sys::signal::Signal::SIGTERM);
    let (code, _) = init.exit();
    (code, timeline(&init.file().unwrap()))
}

#[test]
fn a_project_may_tell_itself_whether_it_is_in_use() {
    for (busy, quiet) in [("2", "0"), (r#"{"in_flight": 2}"#, r#"{"in_flight": 0}"#)] {
        let asked = AtomicU32::new(0);
        let address = serve(move |head| {
            assert!(head.starts_with("GET /in-flight HTTP"), "{head}");
            if asked.fetch_add(1, Ordering::SeqCst) < 3 { answer(200, busy) } else { answer(200, quiet) }
        });
        let mut plan = ready(shell("sleep 1000"));
        plan.stop.quiet_ms = 60;
        plan.stop.limit_ms = 60_000;
        plan.stop.check = Some(format!("http://{address}/in-flight"));
        let (code, steps) = stopped_by_term(&plan);
        assert_eq!(code, 0);
        assert!(steps.contains("drained: no request for 60 ms"), "{steps}");
    }
}

#[test]
fn a_check_may_be_somewhere_else_by_name_and_name_the_pod() {
    let address = serve(|head| {
        let ours = head.starts_with("GET /v1/traffic/123e4567 HTTP") && head.contains("\r\nHost: LOCALHOST:");
        if ours { answer(200, r#"{"in_flight": 0}"#) } else { answer(404, head) }
    });
    let mut plan = ready(shell("sleep 1000"));
    plan.stop = Stop { quiet_ms: 60, limit_ms: 60_000, ..Stop::default() };
    // In capitals it is a name like any other.
    plan.stop.check = Some(format!("http://LOCALHOST:{}/v1/traffic/$BARGE_POD_UID", address.port()));
    let mut init = Init::start_after("export BARGE_POD_UID=123e4567", &plan);
    init.wait_phase(Phase::Ready);
    init.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(init.exit().0, 0);
    let steps = timeline(&init.file().unwrap());
    assert!(steps.contains("drained: no request for 60 ms"), "{steps}");
}

#[test]
fn a_check_that_cannot_be_found_or_understood_holds_no_stop_up_beyond_the_limit() {
    let refuses = serve(|_| answer(404, "the registrar does not know this pod\n"));
    for host in ["nobody.invalid:80".to_owned(), refuses.to_string()] {
        let mut plan = ready(shell("sleep 1000"));
        plan.stop = Stop { limit_ms: 300, check: Some(format!("http://{host}/v1/traffic/1")), ..Stop::default() };
        let (code, steps) = stopped_by_term(&plan);
        assert_eq!(code, 0);
        assert!(steps.contains("drained: "), "{steps}");
    }
}

#[test]
fn whoever_is_asked_may_be_away_for_as_long_as_the_plan_says() {
    let asked = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&asked);
    let back = serve(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0..4 => answer(503, "not yet"),
        _ => answer(200, "0"),
    });
    // The lowest port, on which nobody listens.
    let rows = [("127.0.0.1:1".to_owned(), 200, "nobody answers"), (back.to_string(), 60_000, "no request for 60 ms")];
    for (host, away_ms, words) in rows {
        let mut plan = ready(shell("sleep 1000"));
        let check = Some(format!("http://{host}/traffic"));
        plan.stop = Stop { quiet_ms: 60, limit_ms: 60_000, check, away_ms, ..Stop::default() };
        let (_, steps) = stopped_by_term(&plan);
        assert!(steps.contains(&format!("drained: {words}")), "{steps}");
    }
    assert!(asked.load(Ordering::SeqCst) > 4);
}

#[test]
fn a_check_that_is_no_address_is_said_and_not_waited_for() {
    let mut plan = ready(shell("sleep 1000"));
    plan.stop.limit_ms = 60_000;
    plan.stop.check = Some("https://example.org/in-flight".to_owned());
    let (_, steps) = stopped_by_term(&plan);
    assert!(steps.contains("is no http URL of a host"), "{steps}");
}

#[test]
fn a_stop_can_be_asked_for_on_the_command_line_and_is_waited_for() {
    let mut plan = ready(shell("trap 'sleep 0.2; exit 0' TERM; sleep 1000 & wait"));
    plan.stop.quiet_ms = 10;
    let mut init = Init::start(&plan);
    init.wait_phase(Phase::Ready);
    let output = std::process::Command::new(PROGRAM).arg("stop").arg(&init.directory).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(init.file().unwrap().phase, Phase::Ended, "it was waited for");
    assert_eq!(init.exit().0, 0);
}
