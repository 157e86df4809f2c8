//! Readiness for everybody who asks over HTTP: one path, 200 or 503, and why in the body. So an engine's probe is the same for each project.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::events::Shared;
use crate::status::{Phase, Status};

/// A question takes no longer, from the connection to the answer.
const LIMIT: Duration = Duration::from_secs(2);
/// The longest head of a request, in bytes.
const MAX_HEAD: usize = 8 * 1024;
/// For one more connection at once, the oldest has to go: whoever asks has his answer by then, and whoever only holds connections keeps nobody
/// from asking. An engine that finds no answer would take the instance out of traffic.
const MAX_CONNECTIONS: usize = 16;

/// The header of an answer that says in one word what the instance is doing, as its status does.
pub const PHASE_HEADER: &str = "barge-phase";

/// Answers until the process ends.
pub(crate) fn serve(listener: &TcpListener, path: &str, shared: &Arc<Shared>) {
    let mut open: VecDeque<(JoinHandle<()>, Weak<TcpStream>)> = VecDeque::new();
    for stream in listener.incoming() {
        let Ok(stream) = stream else {
            // No descriptor is left: the next try must not be at once.
            std::thread::sleep(Duration::from_millis(10));
            continue;
        };
        open.retain(|(work, _)| !work.is_finished());
        if open.len() >= MAX_CONNECTIONS
            && let Some((work, oldest)) = open.pop_front()
        {
            // Neither a read nor a write waits then.
            let _ = oldest.upgrade().map(|oldest| oldest.shutdown(Shutdown::Both));
            let _ = work.join();
        }
        let (stream, shared, path) = (Arc::new(stream), Arc::clone(shared), path.to_owned());
        let held = Arc::downgrade(&stream);
        let spawned = std::thread::Builder::new().stack_size(256 * 1024).spawn(move || {
            // Whoever goes away ends his own connection and nothing else.
            let _ = answer(&stream, &path, &shared);
        });
        // Without a thread nobody is left to hold the connection, which ends it.
        if let Ok(work) = spawned {
            open.push_back((work, held));
        }
    }
}

fn answer(mut stream: &TcpStream, path: &str, shared: &Shared) -> std::io::Result<()> {
    let head = read_head(stream)?;
    let mut words = head.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let asked = target.split('?').next().unwrap_or_default();
    let (code, text, phase) = match method {
        "GET" | "HEAD" if asked == path => said(&shared.lock().1),
        "GET" | "HEAD" => ("404 Not Found", format!("readiness is asked at {path}\n"), None),
        _ => ("405 Method Not Allowed", "readiness is asked with GET\n".to_owned(), None),
    };
    // For whoever has to know more than yes or no.
    let phase = phase.map_or_else(String::new, |phase| format!("{PHASE_HEADER}: {phase}\r\n"));
    let body = if method == "HEAD" { "" } else { text.as_str() };
    let length = text.len();
    let answer = format!(
        "HTTP/1.1 {code}\r\ncontent-type: text/plain; charset=utf-8\r\n{phase}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    stream.write_all(answer.as_bytes())
}

fn read_head(mut stream: &TcpStream) -> std::io::Result<String> {
    let deadline = Instant::now() + LIMIT;
    let mut head = Vec::new();
    let mut buffer = [0; 1024];
    stream.set_write_timeout(Some(LIMIT))?;
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        let left = deadline.checked_duration_since(Instant::now()).ok_or(ErrorKind::TimedOut)?;
        stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        match stream.read(&mut buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => head.extend_from_slice(&buffer[..count]),
            // A read with a time limit is not begun again after a signal, whatever its handler was set up with (signal(7)).
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if head.len() > MAX_HEAD {
            return Err(ErrorKind::InvalidData.into());
        }
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

fn said(status: &Status) -> (&'static str, String, Option<&'static str>) {
    let why = status.reason.as_deref();
    let no = |text: String, phase| ("503 Service Unavailable", text, Some(phase));
    match status.phase {
        Phase::Ready => ("200 OK", "ready\n".to_owned(), Some("ready")),
        Phase::Starting => no(format!("starting: {}\n", why.unwrap_or("not asked yet")), "starting"),
        Phase::NotReady => no(format!("not ready any more: {}\n", why.unwrap_or("unknown")), "not_ready"),
        Phase::Held => no(format!("its start failed: {}\n", why.unwrap_or("unknown")), "held"),
        Phase::Stopping | Phase::Ended => no("stopping\n".to_owned(), "stopping"),
    }
}
