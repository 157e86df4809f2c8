//! Requests in which two servers could see different ones. Each is refused, or reaches an instance once and in one meaning: what
//! counts is what the instance was really sent.

use crate::recorder::{Recorder, Seen};
use crate::support::{HOST, Rig, raw};

/// A body that is a request to whoever does not take it for a body.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: greeter.test.localhost\r\n\r\n";

/// The bytes that a row stands for: `HOST` is the service's host, every line ends with CR LF, and a few signs stand for single bytes.
fn bytes(text: &str) -> String {
    text.replace("HOST", HOST)
        .replace('\n', "\r\n")
        .replace('␊', "\n")
        .replace('␍', "\r")
        .replace('␀', "\0")
        .replace('␋', "\x0b")
}

async fn rig() -> (Rig, Recorder) {
    let (rig, recorder) = (Rig::start().await, Recorder::start().await);
    rig.online(1, recorder.instance.address);
    (rig, recorder)
}

/// Sends the bytes over one connection; the answer's status, and what the instance has seen.
async fn send(text: &str) -> (u16, Vec<Seen>) {
    let (rig, recorder) = rig().await;
    let answer = raw(rig.address, text).await;
    assert_eq!(
        answer.lines().filter(|line| line.starts_with("HTTP/1.")).count(),
        1,
        "one answer to {text:?}: {answer}"
    );
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("no answer to {text:?}: {answer}")), recorder.requests().await)
}

async fn refused(text: &str) {
    let text = bytes(text);
    let (status, seen) = send(&text).await;
    assert_eq!((status, seen), (400, Vec::new()), "{text:?}");
}

async fn once(text: &str, body: &str) -> Seen {
    let text = bytes(text);
    let (status, seen) = send(&text).await;
    let [one] = seen.as_slice() else { panic!("{text:?} became {seen:#?}") };
    assert_eq!((status, one.body.as_str()), (200, body), "{text:?}");
    assert_eq!(one.values("host"), [HOST], "{text:?}");
    one.clone()
}

#[tokio::test]
async fn a_length_that_is_not_one_number_is_refused() {
    for length in ["+3", "-3", "0x3", "3.0", "3 3", "3,3", "3, 4", "three", "", "99999999999999999999"] {
        refused(&format!("POST / HTTP/1.1\nHost: HOST\nContent-Length: {length}\n\nabc")).await;
    }
    refused("POST / HTTP/1.1\nHost: HOST\nContent-Length: 3\nContent-Length: 0\n\nabc").await;
    refused("POST / HTTP/1.1\nHost: HOST\nContent-Length: 0\nContent-Length: 3\n\nabc").await;
}

#[tokio::test]
async fn a_length_that_is_said_twice_is_one_length() {
    let length = HIDDEN.len();
    let text = format!(
        "POST / HTTP/1.1\nHost: HOST\nConnection: close\nContent-Length: {length}\nContent-Length: {length}\n\n{}",
        HIDDEN.replace("\r\n", "\n")
    );
    once(&text, HIDDEN).await;
}

#[tokio::test]
async fn a_coding_that_is_not_chunked_alone_is_refused() {
    for coding in [
        "identity",
        "gzip",
        "chunked, identity",
        "identity, chunked",
        "gzip, chunked",
        "chunked, chunked",
        "chunked,",
        "chunked;q=1",
        "\"chunked\"",
        "xchunked",
        "chunkedx",
        "chunked\nTransfer-Encoding: chunked",
        "chunked\nTransfer-Encoding: identity",
        "identity\nTransfer-Encoding: chunked",
        "chunked\nTransfer-Encoding:",
        "\n chunked",
        "\n\tchunked",
        "chunked\n x: y",
        "␋chunked",
        "chunked␀",
        "␍chunked",
    ] {
        refused(&format!("POST / HTTP/1.1\nHost: HOST\nTransfer-Encoding: {coding}\n\n3\nabc\n0\n\n")).await;
    }
    for name in
        ["Transfer-Encoding ", "Transfer-Encoding\t", " Transfer-Encoding", "Transfer-Encoding␀", "Transfer Encoding"]
    {
        refused(&format!("POST / HTTP/1.1\nHost: HOST\n{name}: chunked\n\n3\nabc\n0\n\n")).await;
    }
    refused("POST / HTTP/1.0\nHost: HOST\nTransfer-Encoding: chunked\n\n3\nabc\n0\n\n").await;
}

#[tokio::test]
async fn chunked_is_understood_in_every_spelling_that_is_allowed() {
    let chunked = format!("{:x}\n{}\n0\n\n", HIDDEN.len(), HIDDEN.replace("\r\n", "\n"));
    for coding in ["chunked", "cHUNKED", "  \t chunked \t", "chunked\nContent-Length: 3", "chunked\nContent-Length: 0"]
    {
        let text = format!("POST / HTTP/1.1\nHost: HOST\nConnection: close\nTransfer-Encoding: {coding}\n\n{chunked}");
        let seen = once(&text, HIDDEN).await;
        assert!(seen.values("content-length").is_empty(), "{coding:?}: {seen:?}");
    }
    let length_first =
        "POST / HTTP/1.1\nHost: HOST\nConnection: close\nContent-Length: 3\nTransfer-Encoding: chunked\n\n";
    once(&format!("{length_first}{chunked}"), HIDDEN).await;
}

#[tokio::test]
async fn a_body_that_is_not_in_chunks_as_it_should_be_never_becomes_a_whole_request() {
    for chunks in [
        "+3\nabc\n0\n\n",
        "-3\nabc\n0\n\n",
        "0x3\nabc\n0\n\n",
        " 3\nabc\n0\n\n",
        "\nabc\n0\n\n",
        "g\nabc\n0\n\n",
        "3 3\nabc\n0\n\n",
        "10000000000000003\nabc\n0\n\n",
        "FFFFFFFFFFFFFFFFF\nabc\n0\n\n",
        "3␊abc\n0\n\n",
        "3␍abc\n0\n\n",
        "3;a␊b\nabc\n0\n\n",
        "2\nabc\n0\n\n",
        "3\nabc␊0\n\n",
        "3\nabc0\n\n",
        "3\nabc\n0␊\n",
    ] {
        refused(&format!("POST / HTTP/1.1\nHost: HOST\nTransfer-Encoding: chunked\n\n{chunks}")).await;
    }
}

#[tokio::test]
async fn what_is_allowed_around_chunks_does_not_go_on() {
    for chunks in ["0003\nabc\n0\n\n", "3 \nabc\n0\n\n", "3;name=value\nabc\n0;x\n\n", "3\nabc\n000\n\n"] {
        once(&format!("POST / HTTP/1.1\nHost: HOST\nConnection: close\nTransfer-Encoding: chunked\n\n{chunks}"), "abc")
            .await;
    }
    for announced in ["", "Trailer: Content-Length, Host, X\n"] {
        let text = format!(
            "POST / HTTP/1.1\nHost: HOST\nConnection: close\n{announced}Transfer-Encoding: chunked\n\n3\nabc\n0\n\
             Content-Length: 9\nHost: evil\nTransfer-Encoding: chunked\n\n"
        );
        let seen = once(&text, "abc").await;
        assert!(seen.values("content-length").is_empty());
    }
}

#[tokio::test]
async fn a_head_that_is_not_one_is_refused() {
    for head in [
        "GET / HTTP/1.1\nHost : HOST\n\n",
        "GET / HTTP/1.1\nHost: HOST\nX\n\n",
        "GET / HTTP/1.1\nHost: HOST\n: x\n\n",
        "GET / HTTP/1.1\nHost: HOST\nX: a␀b\n\n",
        "GET / HTTP/1.1\nHost: HOST\nX: a␍b\n\n",
        "GET / HTTP/1.1\nHost: HOST\nX: a\n b\n\n",
        "GET / HTTP/1.1\n Host: HOST\n\n",
        "GET  / HTTP/1.1\nHost: HOST\n\n",
        "GET /a b HTTP/1.1\nHost: HOST\n\n",
        "GET /␀ HTTP/1.1\nHost: HOST\n\n",
        "GET / HTTP/1.1 \nHost: HOST\n\n",
        "GET / http/1.1\nHost: HOST\n\n",
        "GET / HTTP/3.0\nHost: HOST\n\n",
        "CONNECT HOST:80 HTTP/1.1\nHost: HOST:80\n\n",
    ] {
        refused(head).await;
    }
}

#[tokio::test]
async fn lines_that_end_with_a_bare_line_feed_leave_as_whole_lines() {
    let text = "POST / HTTP/1.1␊Host: HOST␊Connection: close␊X: y␊Content-Length: 3␊␊abc";
    assert_eq!(once(text, "abc").await.values("x"), ["y"]);
    once("\n\nGET / HTTP/1.1\nHost: HOST\nConnection: close\n\n", "").await;
}

#[tokio::test]
async fn a_host_that_is_none_is_refused_also_where_another_header_names_the_service() {
    let named = "barge-service: greeter\nbarge-environment: test\n";
    for host in [
        "user@HOST",
        "user:password@HOST",
        "HOST/path",
        "HOST?q",
        "HOST#f",
        "HOST:x",
        "HOST:80:81",
        "a b",
        "HOST, evil",
        ":80",
        "[::1",
        "é",
    ] {
        refused(&format!("GET / HTTP/1.1\nHost: {host}\n{named}\n")).await;
    }
    refused(&format!("GET / HTTP/1.1\n{named}\n")).await;
    refused(&format!("GET / HTTP/1.1\nHost: HOST\nHost: HOST\n{named}\n")).await;
    refused(&format!("GET http://HOST/ HTTP/1.1\nHost: HOST\nhost: evil\n{named}\n")).await;
}

#[tokio::test]
async fn the_host_of_the_target_is_the_one_that_everybody_sees() {
    for target in ["http://HOST/a", "http://user:password@HOST/a", "http://evil.test.localhost@HOST/a"] {
        let text = format!("GET {target} HTTP/1.1\nHost: evil.test.localhost\nConnection: close\n\n");
        let seen = once(&text, "").await;
        assert_eq!(seen.head[0], "GET /a HTTP/1.1");
        assert_eq!(seen.values("x-forwarded-host"), [HOST]);
    }
}

#[tokio::test]
async fn connection_cannot_name_what_everybody_has_to_know() {
    let seen = once("GET / HTTP/1.1\nHost: HOST\nConnection: close, Host, X-Own\nX-Own: 1\n\n", "").await;
    assert!(seen.values("x-own").is_empty());
    let length = "POST / HTTP/1.1\nHost: HOST\nConnection: close, Content-Length, host\nContent-Length: 3\n\nabc";
    assert_eq!(once(length, "abc").await.values("content-length"), ["3"]);
    let chunked = "POST / HTTP/1.1\nHost: HOST\nConnection: close, Transfer-Encoding\nTransfer-Encoding: chunked\n\n3\nabc\n0\n\n";
    once(chunked, "abc").await;
    once("GET / HTTP/1.1\nHost: HOST\nConnection: close, Content-Length\nContent-Length: 3\n\nabc", "abc").await;
}

#[tokio::test]
async fn a_header_that_some_servers_take_for_another_one_stays_here() {
    let text = "POST / HTTP/1.1\nHost: HOST\nConnection: close\nContent_Length: 40\nTransfer_Encoding: chunked\n\
                Content-Length: 3\n\nabc";
    let seen = once(text, "abc").await;
    assert!(!seen.head.iter().any(|line| line.contains('_')), "{seen:?}");
}

#[tokio::test]
async fn nobody_speaks_another_http_with_an_instance_past_the_gateway() {
    for protocol in ["h2c", "H2C", "h2", "HTTP/2.0", "h2c, http/1.1"] {
        let text = format!(
            "GET / HTTP/1.1\nHost: HOST\nConnection: close, Upgrade, HTTP2-Settings\nUpgrade: {protocol}\n\
             HTTP2-Settings: AAMAAABkAAQAAP__\n\n"
        );
        let seen = once(&text, "").await;
        assert!(seen.values("upgrade").is_empty() && seen.values("http2-settings").is_empty(), "{seen:?}");
    }
    let both = "GET / HTTP/1.1\nHost: HOST\nConnection: close, Upgrade\nUpgrade: h2c, websocket\nUpgrade: h2\n\n";
    assert_eq!(once(both, "").await.values("upgrade"), ["websocket"]);
}
