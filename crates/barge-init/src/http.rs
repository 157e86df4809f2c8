//! The smallest HTTP client that readiness checks and registrations need: one GET or PUT, bounded in time and size.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// An HTTP answer with this status and the first bytes of its body.
    Http {
        /// The status code.
        status: u16,
        /// At most 4 KiB of what followed the head.
        body: String,
    },
    /// The port accepts and speaks something else than HTTP.
    Other,
    /// The port accepts and closes without a word.
    Nothing,
}

const MAX_ANSWER: usize = 8 * 1024;

/// Asks `address` for `path`, within `limit` altogether.
///
/// # Errors
/// The connection, or the time running out.
pub fn get(address: SocketAddr, path: &str, token: Option<&str>, limit: Duration) -> io::Result<Answer> {
    let deadline = Instant::now() + limit;
    let stream = TcpStream::connect_timeout(&address, limit)?;
    let authorization = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: barge-init\r\nAccept: */*\r\n{authorization}Connection: close\r\n\r\n"
    );
    exchange(stream, head.as_bytes(), deadline)
}

/// Puts a JSON body at `path` over a connection that was made for it, until `deadline`. A header must not have line ends.
///
/// # Errors
/// The connection, or the time running out.
pub(crate) fn put(
    stream: TcpStream,
    host: &str,
    path: &str,
    header: Option<(&str, &str)>,
    body: &str,
    deadline: Instant,
) -> io::Result<Answer> {
    let header = header.map(|(name, value)| format!("{name}: {value}\r\n")).unwrap_or_default();
    let length = body.len();
    let request = format!(
        "PUT {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: barge-init\r\nAccept: */*\r\n{header}\
         Content-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    exchange(stream, request.as_bytes(), deadline)
}

fn exchange(mut stream: TcpStream, request: &[u8], deadline: Instant) -> io::Result<Answer> {
    let left = || deadline.checked_duration_since(Instant::now()).ok_or(io::ErrorKind::TimedOut);
    stream.set_write_timeout(Some(left()?.max(Duration::from_millis(1))))?;
    stream.write_all(request)?;
    let mut bytes = Vec::with_capacity(1024);
    let mut buffer = [0u8; 1024];
    while bytes.len() < MAX_ANSWER {
        stream.set_read_timeout(Some(left()?.max(Duration::from_millis(1))))?;
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Part of an answer is an answer: the status line is what counts.
            Err(_) if complete_head(&bytes) => break,
            Err(error) => return Err(error),
        }
        if complete_answer(&bytes) {
            break;
        }
    }
    Ok(parse(&bytes))
}

fn complete_head(bytes: &[u8]) -> bool {
    bytes.windows(4).any(|window| window == b"\r\n\r\n")
}

/// Whether a body of known length has arrived; other bodies end with the connection.
fn complete_answer(bytes: &[u8]) -> bool {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")).and_then(|n| n.trim().parse().ok());
    length.is_some_and(|length: usize| bytes.len() >= end + 4 + length)
}

fn parse(bytes: &[u8]) -> Answer {
    let text = String::from_utf8_lossy(bytes);
    let status = text.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)).and_then(|code| code.parse::<u16>().ok());
    match status {
        Some(status) => {
            let body = text.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
            Answer::Http { status, body: body.chars().take(4096).collect() }
        }
        None if bytes.is_empty() => Answer::Nothing,
        None => Answer::Other,
    }
}
