//! An instance that keeps every byte that it is sent, and the requests that a strict server finds in them.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Instance, until};

/// What came over one connection.
#[derive(Debug, Clone, Default)]
struct Heard {
    bytes: Vec<u8>,
    ended: bool,
}

/// A request as the instance understands it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The request line and the headers, a line each.
    pub(crate) head: Vec<String>,
    pub(crate) body: String,
}

impl Seen {
    /// The values of a header.
    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        let values = self.head[1..].iter().filter_map(|line| line.split_once(": "));
        values.filter(|(of, _)| of.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }
}

/// The instance.
pub(crate) struct Recorder {
    pub(crate) instance: Instance,
    heard: Arc<Mutex<Vec<Heard>>>,
}

impl Recorder {
    pub(crate) async fn start() -> Self {
        let heard: Arc<Mutex<Vec<Heard>>> = Arc::default();
        let all = Arc::clone(&heard);
        let instance = Instance::raw(move |mut stream, number| {
            let all = Arc::clone(&all);
            let change = move |change: &dyn Fn(&mut Heard)| {
                let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
                let count = all.len().max(number + 1);
                all.resize_with(count, Heard::default);
                change(&mut all[number]);
                all[number].bytes.clone()
            };
            async move {
                let mut answered = false;
                let mut buffer = [0; 4096];
                change(&|_| {});
                while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                    let bytes = change(&|heard| heard.bytes.extend_from_slice(&buffer[..count]));
                    if !answered && request(&bytes).is_some() {
                        answered = true;
                        // What comes after this request would be a second one.
                        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
                        let _ = stream.write_all(answer).await;
                    }
                }
                change(&|heard| heard.ended = true);
            }
        })
        .await;
        Self { instance, heard }
    }

    /// Every request that came in full, once all connections have ended; what is left over is a request of its own.
    pub(crate) async fn requests(&self) -> Vec<Seen> {
        let heard = || self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone();
        until("the gateway has closed its connections", || heard().iter().all(|heard| heard.ended)).await;
        let mut seen = Vec::new();
        for heard in heard() {
            let mut rest = heard.bytes.as_slice();
            while let Some((request, after)) = request(rest) {
                seen.push(request);
                rest = after;
            }
            assert!(rest.is_empty() || seen.is_empty(), "after the request: {:?}", String::from_utf8_lossy(rest));
        }
        seen
    }
}

/// The first request, and what comes after it; none where it is not there in full.
fn request(bytes: &[u8]) -> Option<(Seen, &[u8])> {
    let end = find(bytes, b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).expect("a head of plain text");
    let head: Vec<String> = head.split("\r\n").map(str::to_owned).collect();
    let rest = &bytes[end + 4..];
    let mut seen = Seen { head, body: String::new() };
    let (lengths, codings) = (seen.values("content-length"), seen.values("transfer-encoding"));
    let (body, rest) = match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => (Vec::new(), rest),
        ([length], []) => {
            let length: usize = length.parse().expect("a length");
            (rest.get(..length)?.to_vec(), &rest[length..])
        }
        ([], ["chunked"]) => chunks(rest)?,
        other => panic!("it is not clear where the body ends: {other:?}"),
    };
    seen.body = String::from_utf8(body).expect("a body of plain text");
    Some((seen, rest))
}

fn chunks(mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut body = Vec::new();
    loop {
        let line = find(rest, b"\r\n")?;
        let size = std::str::from_utf8(&rest[..line]).expect("a size of plain text");
        let size = usize::from_str_radix(size, 16).expect("a size without anything else");
        let data = &rest[line + 2..];
        let chunk = data.get(..size + 2)?;
        assert!(chunk.ends_with(b"\r\n"), "a chunk, or the last one without trailers: {chunk:?}");
        rest = &data[size + 2..];
        if size == 0 {
            return Some((body, rest));
        }
        body.extend_from_slice(&chunk[..size]);
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
