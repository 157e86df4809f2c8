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
    get_over(stream, &address.to_string(), path, token, deadline)
}

/// Asks for a path over a connection that was made for it, until `deadline`.
///
/// # Errors
/// The connection, or the time running out.
pub(crate) fn get_over(
    stream: TcpStream,
    host: &str,
    path: &str,
    token: Option<&str>,
    deadline: Instant,
) -> io::Result<Answer> {
    let authorization = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: barge-init\r\nAccept: */*\r\n{authorization}Connection: close\r\n\r\n"
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

/// Whether a body has arrived whose end can be seen; other bodies end with the connection.
fn complete_answer(bytes: &[u8]) -> bool {
    let Some((head, body)) = split(last_answer(bytes)) else { return false };
    match field(&head, "content-length").and_then(|length| length.parse::<usize>().ok()) {
        _ if is_chunked(&head) => body.ends_with(b"0\r\n\r\n"),
        Some(length) => body.len() >= length,
        None => false,
    }
}

/// The answer after those that only tell that one will come (RFC 9110, 15.2).
fn last_answer(mut bytes: &[u8]) -> &[u8] {
    while status(&String::from_utf8_lossy(bytes)).is_some_and(|status| (100..200).contains(&status) && status != 101)
        && let Some((_, rest)) = split(bytes)
    {
        bytes = rest;
    }
    bytes
}

/// The head in lower case, and what follows it.
fn split(bytes: &[u8]) -> Option<(String, &[u8])> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    Some((String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase(), &bytes[end + 4..]))
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

fn is_chunked(head: &str) -> bool {
    field(head, "transfer-encoding").is_some_and(|encoding| encoding.ends_with("chunked"))
}

/// A body in chunks (RFC 9112, 7.1), as far as it has come.
fn joined(mut chunks: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = chunks.windows(2).position(|window| window == b"\r\n") {
        let line = String::from_utf8_lossy(&chunks[..end]);
        let length = line.split(';').next().and_then(|length| usize::from_str_radix(length.trim(), 16).ok());
        let rest = &chunks[end + 2..];
        let Some(length) = length.filter(|length| *length > 0) else { break };
        body.extend_from_slice(&rest[..length.min(rest.len())]);
        chunks = length.checked_add(2).and_then(|skipped| rest.get(skipped..)).unwrap_or_default();
    }
    body
}

fn status(text: &str) -> Option<u16> {
    text.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()
}

fn parse(bytes: &[u8]) -> Answer {
    let bytes = last_answer(bytes);
    match status(&String::from_utf8_lossy(bytes)) {
        Some(status) => {
            let body = match split(bytes) {
                Some((head, body)) if is_chunked(&head) => joined(body),
                Some((_, body)) => body.to_vec(),
                None => Vec::new(),
            };
            Answer::Http { status, body: String::from_utf8_lossy(&body).chars().take(4096).collect() }
        }
        None if bytes.is_empty() => Answer::Nothing,
        None => Answer::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A text, whether it is complete, and the answer that it is.
    type Row = (&'static str, bool, Option<(u16, &'static str)>);

    #[test]
    fn an_answer_is_understood_however_it_is_framed() {
        let rows: [Row; 9] = [
            ("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine", true, Some((200, "fine"))),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfine", false, Some((200, "fine"))),
            ("HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\nfine", false, Some((200, "fine"))),
            ("HTTP/1.0 503 No\r\n\r\nbecause", false, Some((503, "because"))),
            (
                "HTTP/1.1 409 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{\"a\r\n4;x=y\r\n\":1}\r\n0\r\n\r\n",
                true,
                Some((409, "{\"a\":1}")),
            ),
            ("HTTP/1.1 409 No\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{\"a", false, Some((409, "{\"a"))),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nab\r\n",
                false,
                Some((200, "ab\r\n")),
            ),
            (
                "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No\r\nContent-Length: 0\r\n\r\n",
                true,
                Some((204, "")),
            ),
            ("+PONG\r\n\r\n", false, None),
        ];
        for (text, complete, expected) in rows {
            let expected =
                expected.map_or(Answer::Other, |(status, body)| Answer::Http { status, body: body.to_owned() });
            assert_eq!((complete_answer(text.as_bytes()), parse(text.as_bytes())), (complete, expected), "{text}");
        }
    }
}
