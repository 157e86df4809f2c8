//! The same for requests over HTTP/2, in frames that no library would send.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::recorder::{Recorder, Seen};
use crate::support::{DEADLINE, HOST, Rig};

/// What becomes of stream 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Answered with success.
    Answered,
    /// Answered with 400.
    Refused,
    /// Reset, or the whole connection is given up.
    Reset,
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [length[1], length[2], length[3], kind, flags, 0, 0, 0, stream];
    [head.as_slice(), payload].concat()
}

/// Every field as a literal, without any of the compression (RFC 7541, 6.2.2).
fn fields(list: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| [[u8::try_from(text.len()).unwrap()].as_slice(), text.as_bytes()].concat();
    list.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

/// Sends one request; how its stream ended, and what the instance has seen.
async fn send(list: &[(&str, &str)], body: Option<&str>) -> (End, Vec<Seen>) {
    let (rig, recorder) = (Rig::start().await, Recorder::start().await);
    rig.online(1, recorder.instance.address);
    let mut stream = TcpStream::connect(rig.address).await.unwrap();
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[]));
    let end = if body.is_none() { END_STREAM } else { 0 };
    bytes.extend(frame(HEADERS, END_HEADERS | end, 1, &fields(list)));
    if let Some(body) = body {
        bytes.extend(frame(DATA, END_STREAM, 1, body.as_bytes()));
    }
    stream.write_all(&bytes).await.unwrap();
    let end = tokio::time::timeout(DEADLINE, read_end(&mut stream)).await.expect("an end in time");
    drop(stream);
    (end, recorder.requests().await)
}

/// Reads frames up to the one that says what becomes of the request.
async fn read_end(stream: &mut TcpStream) -> End {
    loop {
        let mut head = [0; 9];
        if stream.read_exact(&mut head).await.is_err() {
            return End::Reset;
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).await.unwrap();
        match head[3] {
            // The first field of an answer is its status, of which 200 and 400 have numbers of their own (RFC 7541, A).
            HEADERS if payload[0] == 0x88 => return End::Answered,
            HEADERS if payload[0] == 0x8c => return End::Refused,
            HEADERS => panic!("another status: {payload:?}"),
            RST_STREAM | GOAWAY => return End::Reset,
            _ => {}
        }
    }
}

/// The fields of a sound request, with others behind them.
fn post<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let sound = [(":method", "POST"), (":scheme", "http"), (":authority", HOST), (":path", "/")];
    sound.iter().chain(more).copied().collect()
}

async fn once(list: &[(&str, &str)], body: &str) -> Seen {
    let (end, seen) = send(list, Some(body)).await;
    let [one] = seen.as_slice() else { panic!("{list:?} became {seen:#?}") };
    assert_eq!((end, one.body.as_str()), (End::Answered, body), "{list:?}");
    assert_eq!(one.values("host"), [HOST], "{list:?}");
    one.clone()
}

#[tokio::test]
async fn a_sound_request_arrives_once() {
    let seen = once(&post(&[("x", "y")]), "abc").await;
    assert_eq!((seen.head[0].as_str(), seen.values("x")), ("POST / HTTP/1.1", vec!["y"]));
    assert_eq!(once(&post(&[("content-length", "3")]), "abc").await.values("content-length"), ["3"]);
    once(&post(&[("te", "trailers")]), "abc").await;
}

#[tokio::test]
async fn cookies_that_come_in_several_fields_go_on_as_one() {
    let several = [("cookie", "a=b"), ("x", "y"), ("cookie", "c=d"), ("cookie", "e=f")];
    let seen = once(&post(&several), "abc").await;
    assert_eq!((seen.values("cookie"), seen.values("x")), (vec!["a=b; c=d; e=f"], vec!["y"]));
    assert_eq!(once(&post(&[("cookie", "a=b")]), "abc").await.values("cookie"), ["a=b"]);
}

#[tokio::test]
async fn fields_of_a_connection_have_no_place_in_http_2() {
    for field in [
        ("transfer-encoding", "chunked"),
        ("connection", "close"),
        ("connection", "transfer-encoding"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "close"),
        ("upgrade", "h2c"),
        ("te", "chunked"),
        ("X-Upper", "1"),
        ("x y", "1"),
        ("x:", "1"),
        ("x\r\ntransfer-encoding: chunked\r\ny", "1"),
        ("x", "1\r\ntransfer-encoding: chunked"),
        ("x", "1\n"),
        ("x", "1\0"),
        (":path", "/other"),
        (":unknown", "1"),
        (":status", "200"),
        (":protocol", "websocket"),
    ] {
        assert_eq!(send(&post(&[field]), Some("abc")).await, (End::Reset, Vec::new()), "{field:?}");
    }
}

#[tokio::test]
async fn pseudo_fields_that_would_become_more_than_one_line_do_not() {
    for (name, value) in [
        (":path", "/a b"),
        (":path", "/ HTTP/1.1\r\nx: y"),
        (":path", ""),
        (":method", "GET / HTTP/1.1\r\nx: y"),
        (":method", "G E T"),
        (":authority", "greeter.test.localhost\r\nx: y"),
        (":authority", "greeter.test.localhost/path"),
        (":authority", ""),
        (":scheme", "http\r\n"),
    ] {
        let list: Vec<_> =
            post(&[]).into_iter().map(|(of, before)| (of, if of == name { value } else { before })).collect();
        assert_eq!(send(&list, None).await, (End::Reset, Vec::new()), "{list:?}");
        let without: Vec<_> = post(&[]).into_iter().filter(|(of, _)| *of != name).collect();
        if name != ":authority" {
            assert_eq!(send(&without, None).await, (End::Reset, Vec::new()), "{without:?}");
        }
    }
    assert_eq!(send(&[(":method", "CONNECT"), (":authority", HOST)], None).await, (End::Refused, Vec::new()));
}

#[tokio::test]
async fn a_length_that_is_not_that_of_the_body_makes_no_whole_request() {
    for lengths in [
        vec![("content-length", "2")],
        vec![("content-length", "4")],
        vec![("content-length", "3"), ("content-length", "4")],
        vec![("content-length", "+3")],
        vec![("content-length", "3, 3")],
    ] {
        assert_eq!(send(&post(&lengths), Some("abc")).await, (End::Reset, Vec::new()), "{lengths:?}");
    }
    // Said twice it would be a matter of taste to whoever is next; an empty one as well.
    let twice = post(&[("content-length", "3"), ("content-length", "3")]);
    assert_eq!(send(&twice, Some("abc")).await, (End::Refused, Vec::new()));
    assert_eq!(send(&post(&[("content-length", "")]), None).await, (End::Refused, Vec::new()));
}

#[tokio::test]
async fn the_authority_is_the_host_that_everybody_sees() {
    once(&post(&[("host", "evil.test.localhost")]), "abc").await;
    let user: Vec<_> =
        [(":method", "POST"), (":scheme", "http"), (":authority", "u:p@greeter.test.localhost"), (":path", "/")].into();
    once(&user, "abc").await;
    let header: Vec<_> = [(":method", "POST"), (":scheme", "http"), (":path", "/"), ("host", HOST)].into();
    once(&header, "abc").await;
    for hosts in [vec![("host", HOST), ("host", HOST)], vec![("host", "u:p@greeter.test.localhost")]] {
        assert_eq!(send(&post(&hosts), Some("abc")).await, (End::Refused, Vec::new()), "{hosts:?}");
    }
}
