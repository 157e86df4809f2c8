//! A stop while requests are being answered.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::Verdict;
use crate::container::{Container, PATIENCE, eventually, within};
use crate::stage::{Stage, free_port};
use crate::systems::Wanted;

/// How many requests are in flight.
const REQUESTS: usize = 16;
/// How long the TERM may take to arrive before the answers come: supervisord looks once a second. It does not arrive where somebody waits
/// for the answers.
const ARRIVES_WITHIN: Duration = Duration::from_secs(3);

/// The process itself finishes what it has begun.
pub(crate) fn graceful(stage: &Stage<'_>) -> Verdict {
    let port = free_port();
    let wanted = Wanted { command: server(stage, port, "graceful"), ..Wanted::default() };
    stop_under_load(stage, port, stage.start(&wanted))
}

/// The process is over at once with TERM; somebody must know when nothing is in flight, and wait for that.
pub(crate) fn abrupt(stage: &Stage<'_>) -> Verdict {
    let port = free_port();
    let wanted = Wanted { command: server(stage, port, "abrupt"), drain: Some(port), ..Wanted::default() };
    stop_under_load(stage, port, stage.start(&wanted))
}

fn server(stage: &Stage<'_>, port: u16, manner: &str) -> Vec<String> {
    stage.business(&["serve", &port.to_string(), &stage.path("go").display().to_string(), "TOLD", manner])
}

fn stop_under_load(stage: &Stage<'_>, port: u16, mut container: Container) -> Verdict {
    eventually("the server", || get(port, "/in-flight"));
    let requests: Vec<_> = (0..REQUESTS).map(|_| std::thread::spawn(move || get(port, "/work"))).collect();
    eventually("all requests in flight", || {
        get(port, "/in-flight").filter(|count| count.parse() == Ok(REQUESTS)).map(drop)
    });
    container.signal("TERM");
    let _ = within(ARRIVES_WITHIN, || (!stage.told().is_empty() || container.code().is_some()).then_some(()));
    std::fs::write(stage.path("go"), "").unwrap();
    let answers = requests.into_iter().filter_map(|request| request.join().unwrap());
    let lost = REQUESTS - answers.filter(|body| body == "done").count();
    if lost == 0 && container.end(PATIENCE).is_none() {
        return Verdict::No("it does not end".to_owned());
    }
    Verdict::of(lost == 0, || format!("{lost} of {REQUESTS} answers lost"))
}

/// The body of an answer; none where the connection ends without a whole one.
fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    // In one piece: the server reads once.
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n").as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer.split_once("\r\n\r\n")?.1.to_owned()).filter(|body| !body.is_empty())
}
