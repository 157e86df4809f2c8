//! Registries of the tests' own: one that records HTTP requests and answers as it is told, and those that never answer.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A request, as it arrived.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    /// The verb and the path.
    pub(super) line: String,
    pub(super) head: String,
    pub(super) body: String,
    pub(super) at: Instant,
}

impl Asked {
    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{:?}: {error}", self.body))
    }
}

/// Answers requests, and remembers them.
#[derive(Clone)]
pub(super) struct Recorder {
    pub(super) address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Recorder {
    /// `answer` makes status and body of a request.
    pub(super) fn start(answer: impl Fn(&Asked) -> (u16, String) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let recorder = Self { address: listener.local_addr().unwrap(), asked: Arc::default() };
        let asked = Arc::clone(&recorder.asked);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let Some(request) = read(&mut stream) else { continue };
                asked.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
                let (status, body) = answer(&request);
                let length = body.len();
                let _ = write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n\r\n{body}");
            }
        });
        recorder
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The requests' verbs and paths, without queries.
    pub(super) fn lines(&self) -> Vec<String> {
        let line = |asked: Asked| asked.line.split('?').next().unwrap().to_owned();
        self.asked().into_iter().map(line).collect()
    }
}

fn read(stream: &mut TcpStream) -> Option<Asked> {
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).ok()?;
    let line = head.lines().next().unwrap().trim_end_matches(" HTTP/1.1").to_owned();
    Some(Asked { line, head, body: String::from_utf8(body).unwrap(), at: Instant::now() })
}

/// Accepts whoever comes, and says nothing.
pub(super) fn silent() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for stream in listener.incoming() {
            kept.push(stream.unwrap());
        }
    });
    address
}

/// Accepts whoever comes, and says a letter now and then without an end.
pub(super) fn drips() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                // The length of a message that never ends, for those who look for one.
                let _ = stream.write_all(b"\0\0\x10");
                while stream.write_all(b"\0").is_ok() {
                    std::thread::sleep(Duration::from_millis(100));
                }
            });
        }
    });
    address
}

/// Accepts whoever comes, says `bytes`, and closes.
pub(super) fn says(bytes: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            // What was asked is read first, or the answer may be lost with the connection.
            stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(bytes);
        }
    });
    address
}

/// Passes on what comes, until the two sides are parted.
pub(super) struct Proxy {
    pub(super) address: SocketAddr,
    parted: Arc<AtomicBool>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
}

impl Proxy {
    pub(super) fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (parted, streams) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let proxy = Self { address: listener.local_addr().unwrap(), parted, streams };
        let (parted, streams) = (Arc::clone(&proxy.parted), Arc::clone(&proxy.streams));
        std::thread::spawn(move || {
            for near in listener.incoming() {
                let near = near.unwrap();
                // Whoever is parted is let in, and hears nothing.
                let far = if parted.load(Ordering::SeqCst) { None } else { TcpStream::connect(target).ok() };
                let mut kept = streams.lock().unwrap_or_else(PoisonError::into_inner);
                kept.push(near.try_clone().unwrap());
                let Some(far) = far else { continue };
                kept.push(far.try_clone().unwrap());
                copy(near.try_clone().unwrap(), far.try_clone().unwrap());
                copy(far, near);
            }
        });
        proxy
    }

    /// Ends what passes and keeps it from passing, or lets it pass again.
    pub(super) fn part(&self, parted: bool) {
        self.parted.store(parted, Ordering::SeqCst);
        for stream in self.streams.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
    });
}
