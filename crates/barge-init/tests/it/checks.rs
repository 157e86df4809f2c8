//! Readiness by a command, and by whatever a process listens on; and readiness for others to ask.

use std::io::{Read, Write};
use std::net::SocketAddr;

use barge_init::plan::{Checks, Readiness};
use barge_init::{HttpAnswer, Phase, Plan, Probe};
use nix::sys::signal::Signal;

use crate::support::{Init, at_once, children, eventually, plan, shell, timeline};

fn by_command(script: &str, check: &str) -> Plan {
    let command = ["/bin/sh", "-c", check].map(str::to_owned).to_vec();
    Plan { probe: Probe::Command { command }, ..shell(script) }
}

#[test]
fn a_command_decides() {
    let directory = tempfile::tempdir().unwrap();
    let flag = directory.path().join("ready");
    let mut plan = by_command("sleep 1000", &format!("test -e {} || exit 5", flag.display()));
    plan.checks = Checks { interval_ms: 20, failures: 2, ..Checks::default() };
    let init = Init::start(&plan);
    let status = init.wait("a check", |status| status.reason.is_some());
    assert!(status.reason.as_deref().unwrap().ends_with("exit code 5"), "{:?}", status.reason);
    std::fs::write(&flag, "").unwrap();
    init.wait_phase(Phase::Ready);
    std::fs::remove_file(&flag).unwrap();
    init.wait_phase(Phase::NotReady);
    assert!(children(init.pid()).iter().all(|(_, state)| state != "Z"), "checks leave no zombies");
}

#[test]
fn a_command_that_hangs_is_ended_with_all_that_it_has_started() {
    let mut plan = by_command("sleep 1000", "sleep 4242 & sleep 4242");
    plan.checks.timeout_ms = 100;
    let init = Init::start(&plan);
    let status = init.wait("a check that took too long", |status| {
        status.reason.as_deref().is_some_and(|reason| reason.contains("not done within 100 ms"))
    });
    assert_eq!(status.phase, Phase::Starting);
    init.stop(at_once(1000));
    let left = || {
        let all = std::fs::read_dir("/proc").unwrap().flatten();
        let of_ours = |path: std::path::PathBuf| {
            let environment = std::fs::read(path.join("environ")).unwrap_or_default();
            String::from_utf8_lossy(&environment).contains(&plan.instance)
        };
        all.filter(|entry| of_ours(entry.path())).count()
    };
    eventually("nothing to be left", || (left() == 0).then_some(()));
}

#[test]
fn a_check_that_cannot_be_started_says_so() {
    let plan = Plan { probe: Probe::Command { command: vec!["/no/such/check".to_owned()] }, ..shell("sleep 1000") };
    let init = Init::start(&plan);
    init.wait("a reason", |status| status.reason.as_deref().is_some_and(|reason| reason.contains("/no/such/check")));
}

#[test]
fn a_check_does_not_take_what_the_process_is_to_read() {
    let mut plan = by_command("sleep 0.3; cat; sleep 1000", "cat >/dev/null");
    plan.main.inherit_stdin = true;
    let temporary = tempfile::tempdir().unwrap();
    let input = temporary.path().join("input");
    std::fs::write(&input, "for the process\n").unwrap();
    let init = Init::start_after(&format!("exec <{}", input.display()), &plan);
    init.wait_phase(Phase::Ready);
    init.wait_output("for the process\n");
}

#[test]
fn what_a_process_listens_on_is_found() {
    // A child of a child listens, on every address, on a port that nobody knows before.
    let script = "import http.server,sys\nserver = http.server.HTTPServer(('', 0), http.server.SimpleHTTPRequestHandler)\nprint(server.server_port, flush=True)\nserver.serve_forever()";
    let mut plan = shell("(python3 -c \"$SCRIPT\"; true) & wait");
    plan.main.env.insert("SCRIPT".to_owned(), script.to_owned());
    plan.main.env.insert("PATH".to_owned(), std::env::var("PATH").unwrap());
    plan.probe = Probe::Auto { path: None };
    let init = Init::start(&plan);
    let status = init.wait_phase(Phase::Ready);
    let port = init.output().lines().next().unwrap().to_owned();
    assert_eq!(status.address, Some(format!("127.0.0.1:{port}")));
    assert!(timeline(&status).contains("ready: GET /healthcheck: 404"), "{}", timeline(&status));
}

#[test]
fn a_process_that_listens_nowhere_is_not_ready() {
    let init = Init::start(&Plan { probe: Probe::Auto { path: None }, ..shell("sleep 1000") });
    init.wait("a reason", |status| status.reason.as_deref() == Some("its processes listen on no port"));
}

#[test]
fn without_a_check_a_process_is_ready_when_it_runs() {
    let init = Init::start(&Plan { probe: Probe::None, ..shell("sleep 1000") });
    init.wait_phase(Phase::Ready);
    let mut ends = Init::start(&Plan { probe: Probe::None, ..plan(&["/bin/sh", "-c", "exit 6"]) });
    assert_eq!(ends.exit().0, 6, "it is no start failure");
}

fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn ask(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    match barge_init::http_get(address, path, None, std::time::Duration::from_secs(2)) {
        Ok(HttpAnswer::Http { status, body }) => Some((status, body)),
        _ => None,
    }
}

#[test]
fn everybody_may_ask_whether_it_is_ready() {
    let directory = tempfile::tempdir().unwrap();
    let flag = directory.path().join("ready");
    let address = free_address();
    let mut plan = by_command("sleep 1000", &format!("test -e {} || exit 5", flag.display()));
    plan.readiness = Some(Readiness { listen: address, path: "/ready".to_owned() });
    plan.checks = Checks { interval_ms: 20, failures: 1, ..Checks::default() };
    let init = Init::start(&plan);
    let says = |code: u16, words: &str| {
        eventually(words, || ask(address, "/ready").filter(|(status, body)| *status == code && body.contains(words)))
    };
    says(503, "starting: ");
    says(503, "exit code 5");
    std::fs::write(&flag, "").unwrap();
    says(200, "ready");
    assert_eq!(ask(address, "/other").unwrap().0, 404);
    std::fs::remove_file(&flag).unwrap();
    says(503, "not ready any more: ");
    drop(init);
}

#[test]
fn a_start_that_failed_tells_why_to_whoever_asks() {
    let address = free_address();
    let mut plan = shell("echo no database; exit 3");
    plan.readiness = Some(Readiness { listen: address, path: "/ready".to_owned() });
    let init = Init::start(&plan);
    init.wait_phase(Phase::Held);
    let (status, body) = ask(address, "/ready").unwrap();
    assert_eq!(status, 503);
    assert!(body.starts_with("its start failed: the process ended before it was ready: exit code 3"), "{body}");
    assert!(body.contains("no database"), "{body}");
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /ready HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains(&format!("\r\n{}: held\r\n", barge_init::PHASE_HEADER)), "{answer}");
}

/// An instance that is ready, and where it is asked.
fn asked() -> (Init, SocketAddr) {
    let address = free_address();
    let plan = Plan {
        probe: Probe::None,
        readiness: Some(Readiness { listen: address, path: "/ready".to_owned() }),
        ..shell("sleep 1000")
    };
    let init = Init::start(&plan);
    init.wait_phase(Phase::Ready);
    (init, address)
}

#[test]
fn who_asks_and_says_nothing_keeps_nobody_else_from_asking() {
    let (_init, address) = asked();
    // Also where there are more of them than may be there at once.
    let silent: Vec<_> = (0..40).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
    for _ in 0..20 {
        assert_eq!(ask(address, "/ready").unwrap().0, 200);
    }
    drop(silent);
}

#[test]
fn a_question_that_comes_in_pieces_is_answered_whatever_signals_arrive_meanwhile() {
    let (init, address) = asked();
    let mut streams: Vec<_> = (0..10).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
    for stream in &mut streams {
        stream.write_all(b"GET /ready HTTP/1.1\r\n").unwrap();
    }
    std::thread::sleep(std::time::Duration::from_millis(100));
    for _ in 0..100 {
        // The process takes no notice of any of them.
        for signal in [Signal::SIGURG, Signal::SIGWINCH, Signal::SIGCONT] {
            init.signal(signal);
        }
    }
    for stream in &mut streams {
        stream.write_all(b"\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer:?}");
    }
}

/// What a process has, as far as checks could leave something of it behind.
#[derive(Debug)]
struct Held {
    memory_kib: u64,
    files: usize,
    threads: usize,
    children: usize,
}

impl Held {
    fn by(pid: i32) -> Self {
        let count = |what: &str| std::fs::read_dir(format!("/proc/{pid}/{what}")).unwrap().count();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let memory = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        let memory_kib = memory.trim().trim_end_matches(" kB").parse().unwrap();
        Self { memory_kib, files: count("fd"), threads: count("task"), children: children(pid).len() }
    }
}

/// Waits for so many good checks, as long as there are more and more of them.
fn wait_for_checks(init: &Init, wanted: u32) {
    let mut so_far = 0;
    while so_far < wanted {
        let status = init.wait("more checks", |status| status.probes.last().is_some_and(|probe| probe.times > so_far));
        let last = status.probes.last().unwrap();
        assert!(last.ok, "{last:?}");
        so_far = last.times;
    }
}

/// Without a pause between checks, half of `count` of them leave no more behind than the other half.
fn checks_leave_nothing_behind(mut plan: Plan, count: u32) {
    // For a look at more of them: a hundred thousand in CI would leave as many connections in the system for a minute.
    let count = std::env::var("BARGE_CHECKS").map_or(count, |count| count.parse().unwrap());
    plan.checks.interval_ms = 0;
    let init = Init::start(&plan);
    init.wait_phase(Phase::Ready);
    wait_for_checks(&init, count / 2);
    let before = Held::by(init.pid());
    wait_for_checks(&init, count);
    let after = eventually("as few processes, files and threads as before", || {
        let now = Held::by(init.pid());
        let few = now.files <= before.files && now.threads <= before.threads && now.children <= before.children;
        few.then_some(now)
    });
    println!("{count} checks: {before:?} after half of them, {after:?} in the end");
    assert!(after.memory_kib <= before.memory_kib + 128, "{before:?} has become {after:?}");
    assert!(after.memory_kib < 1536, "{after:?}");
}

#[test]
fn many_questions_leave_nothing_behind() {
    let answer = |_: &str| b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfine".to_vec();
    let port = crate::support::serve(answer).port();
    checks_leave_nothing_behind(Plan { probe: Probe::Http { path: None }, port, ..shell("sleep 1000") }, 10_000);
}

#[test]
fn many_commands_leave_nothing_behind() {
    checks_leave_nothing_behind(by_command("sleep 1000", "true"), 2_000);
}

#[test]
fn many_looks_for_ports_leave_nothing_behind() {
    let script = "exec python3 -m http.server --bind 127.0.0.1 0";
    let mut plan = Plan { probe: Probe::Auto { path: Some("/".to_owned()) }, ..shell(script) };
    plan.main.env.insert("PATH".to_owned(), std::env::var("PATH").unwrap());
    checks_leave_nothing_behind(plan, 200);
}
