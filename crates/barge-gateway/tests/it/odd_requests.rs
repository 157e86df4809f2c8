//! Requests that two servers could understand differently, and clients that take their time.

use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use barge_gateway::{GatewayConfig, Table};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{DEADLINE, HOST, Instance, Rig, raw};

async fn status(rig: &Rig, head: &str) -> String {
    let text = head.replace("HOST", HOST).replace('\n', "\r\n");
    raw(rig.address, &text).await.split(' ').nth(1).unwrap_or("closed").to_owned()
}

#[tokio::test]
async fn what_could_smuggle_a_second_request_is_refused() {
    let rig = Rig::start().await;
    let instance = Instance::named("hello").await;
    rig.online(1, instance.address);
    let cases = [
        ("200", "GET / HTTP/1.1\nHost: HOST\nConnection: close\n\n"),
        ("400", "POST / HTTP/1.1\nHost: HOST\nContent-Length: 3\nContent-Length: 4\n\nabcd"),
        ("400", "POST / HTTP/1.1\nHost: HOST\nContent-Length: 3, 4\n\nabcd"),
        ("400", "POST / HTTP/1.1\nHost: HOST\nContent-Length: +3\n\nabc"),
        ("400", "POST / HTTP/1.1\nHost: HOST\nContent-Length: -1\n\n"),
        ("400", "POST / HTTP/1.1\nHost: HOST\nTransfer-Encoding: chunked, identity\n\n0\n\n"),
        ("400", "POST / HTTP/1.0\nHost: HOST\nTransfer-Encoding: chunked\n\n0\n\n"),
        ("400", "GET / HTTP/1.1\nHost: HOST\nHost: HOST\n\n"),
        (
            "400",
            "GET / HTTP/1.1\nHost: HOST\nHost: other.test.localhost\nbarge-service: greeter\nbarge-environment: test\n\n",
        ),
        ("400", "GET / HTTP/1.1\nbarge-service: greeter\nbarge-environment: test\n\n"),
        ("400", "GET / HTTP/1.1\nHost : HOST\n\n"),
        ("400", "GET / HTTP/1.1\nHost: HOST\n folded: x\n\n"),
        ("400", "GET / HTTP/1.1\nHost: HOST\nX: a\0b\n\n"),
        ("400", "CONNECT HOST:80 HTTP/1.1\nHost: HOST\n\n"),
    ];
    for (expected, head) in cases {
        assert_eq!(status(&rig, head).await, expected, "{head:?}");
    }
}

#[tokio::test]
async fn a_length_beside_chunks_never_reaches_an_instance() {
    let rig = Rig::start().await;
    let mirror = Router::new().fallback(|request: Request| async {
        let length = request.headers().contains_key("content-length");
        let body = request.into_body().collect().await.unwrap().to_bytes();
        format!("[{length} {}]", String::from_utf8_lossy(&body))
    });
    let instance = Instance::serve(mirror).await;
    rig.online(1, instance.address);
    let orders =
        ["Content-Length: 40\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 40"];
    for order in orders {
        let text =
            format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n{order}\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
        let answer = raw(rig.address, &text).await;
        // Either refused, or understood as chunks alone (RFC 9112, 6.3), by the instance as well.
        assert!(answer.starts_with("HTTP/1.1 400") || answer.ends_with("[false abc]"), "{answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1);
    }
}

#[tokio::test]
async fn the_host_in_the_target_counts_and_the_header_cannot_contradict_it() {
    let rig = Rig::start().await;
    let host = Router::new().fallback(|request: Request| async move {
        format!("{} {}", request.headers()["host"].to_str().unwrap(), request.uri())
    });
    let instance = Instance::serve(host).await;
    rig.online(1, instance.address);
    let text =
        format!("GET http://u:p@{HOST}:81/a?b HTTP/1.1\r\nHost: other.test.localhost\r\nConnection: close\r\n\r\n");
    let answer = raw(rig.address, &text).await;
    assert!(answer.ends_with(&format!("{HOST}:81 /a?b")), "{answer}");
}

#[tokio::test]
async fn the_asterisk_of_options_is_answered_in_some_way() {
    let rig = Rig::start().await;
    let instance = Instance::named("hello").await;
    rig.online(1, instance.address);
    let status = status(&rig, "OPTIONS * HTTP/1.1\nHost: HOST\nConnection: close\n\n").await;
    assert!(["200", "400"].contains(&status.as_str()), "{status}");
}

fn impatient() -> GatewayConfig {
    GatewayConfig { header_limit: Duration::from_millis(150), ..GatewayConfig::default() }
}

async fn is_closed(mut stream: TcpStream) {
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut rest)).await.expect("the gateway closes");
    assert!(!String::from_utf8_lossy(&rest).contains(" 200 "));
}

#[tokio::test]
async fn a_client_that_does_not_get_on_with_its_head_is_cut_off() {
    let rig = Rig::with(Table::in_memory(), impatient()).await;
    let instance = Instance::named("hello").await;
    rig.online(1, instance.address);
    // Nothing; the beginning of HTTP/2's preface; a head without an end.
    for begin in ["", "PRI * HT", "G", "GET / HTTP/1.1\r\nHost: gree"] {
        let mut stream = TcpStream::connect(rig.address).await.unwrap();
        stream.write_all(begin.as_bytes()).await.unwrap();
        is_closed(stream).await;
    }
    // A head that comes byte by byte and would never end; writes fail when the gateway has closed.
    let (mut read, mut write) = TcpStream::connect(rig.address).await.unwrap().into_split();
    let drip = async {
        write.write_all(b"GET / HTTP/1.1\r\nX: ").await.unwrap();
        while write.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let mut rest = Vec::new();
    tokio::select! {
        _ = read.read_to_end(&mut rest) => {}
        () = drip => {}
        () = tokio::time::sleep(DEADLINE) => panic!("the gateway closes"),
    }
}

#[tokio::test]
async fn a_request_that_takes_long_to_answer_is_not_cut_off_by_the_limit_of_heads() {
    let rig = Rig::with(Table::in_memory(), impatient()).await;
    let slow = Router::new().fallback(|| async {
        tokio::time::sleep(Duration::from_millis(400)).await;
        "late"
    });
    let instance = Instance::serve(slow).await;
    rig.online(1, instance.address);
    assert_eq!(rig.get("/").await.text, "late");
}

#[tokio::test]
async fn the_limit_of_heads_counts_from_the_end_of_the_last_answer() {
    let rig = Rig::with(Table::in_memory(), impatient()).await;
    let slow = Router::new().fallback(|| async {
        // Three pieces, each after more than half the limit.
        let pieces = futures_util::stream::unfold(0, |sent| async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            (sent < 3).then_some((Ok::<_, std::convert::Infallible>("piece"), sent + 1))
        });
        axum::body::Body::from_stream(pieces)
    });
    let instance = Instance::serve(slow).await;
    rig.online(1, instance.address);
    let mut stream = TcpStream::connect(rig.address).await.unwrap();
    for _ in 0..2 {
        stream.write_all(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes()).await.unwrap();
        let (mut answer, mut piece) = (Vec::new(), [0; 1024]);
        while !answer.ends_with(b"0\r\n\r\n") {
            let count =
                tokio::time::timeout(DEADLINE, stream.read(&mut piece)).await.expect("the answer goes on").unwrap();
            assert!(count > 0, "cut off after {:?}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&piece[..count]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{:?}", String::from_utf8_lossy(&answer));
    }
    stream.write_all(b"GET / HTTP/1.1\r\nHost: gree").await.unwrap();
    is_closed(stream).await;
}
