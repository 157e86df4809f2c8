//! Answers that stand still, because the instance says nothing more or the client takes nothing more; and those that are only slow.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request as AxumRequest;
use barge_gateway::{GatewayConfig, Table};
use bytes::Bytes;
use futures_util::StreamExt;
use http::{Method, Request};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::{DEADLINE, HOST, Instance, Rig, answered, ask, key, read_head, request, uid, until};

/// How long an answer may stand still here, and the pause between two pieces of one that is only slow.
const STALL: Duration = Duration::from_millis(400);
const PAUSE: Duration = Duration::from_millis(50);
/// So many pieces take much longer than an answer may stand still.
const PIECES: usize = 30;

async fn rig(max_connections: usize) -> Rig {
    let config = GatewayConfig { stall_limit: STALL, max_connections, ..GatewayConfig::default() };
    let rig = Rig::with(Table::in_memory(), config).await;
    // Connections inherit from a listener that is looked after, which the first answer shows.
    rig.get("/").await;
    rig
}

/// `count` pieces with a pause before each.
fn pieces(count: usize) -> impl futures_util::Stream<Item = Result<Bytes, Infallible>> + Send {
    futures_util::stream::iter(0..count).then(|_| async {
        tokio::time::sleep(PAUSE).await;
        Ok::<_, Infallible>(Bytes::from_static(b"x"))
    })
}

/// An instance that streams: `/endless` without an end, `/slow` in pieces, `/hello` at once.
async fn streaming() -> Instance {
    let endless = || async {
        let chunk = Bytes::from(vec![7; 64 * 1024]);
        Body::from_stream(futures_util::stream::repeat_with(move || Ok::<_, Infallible>(chunk.clone())))
    };
    let router = Router::new()
        .route("/endless", axum::routing::get(endless))
        .route("/slow", axum::routing::get(|| async { Body::from_stream(pieces(PIECES)) }))
        .route("/hello", axum::routing::get(|| async { "hello" }));
    Instance::serve(router).await
}

/// An instance that sends the begin of an answer, and nothing more for as long as its connection is open.
async fn hangs(begin: &'static str) -> Instance {
    Instance::raw(move |mut stream, _| async move {
        let _ = read_head(&mut stream).await;
        stream.write_all(begin.as_bytes()).await.unwrap();
        let _ = stream.read_u8().await;
    })
    .await
}

#[tokio::test]
async fn an_answer_whose_instance_hangs_is_broken_off_and_no_longer_in_flight() {
    for begin in [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "HTTP/1.1 200 OK\r\n\r\nhalf",
    ] {
        let rig = rig(100).await;
        let instance = hangs(begin).await;
        rig.online(1, instance.address);
        let answer = ask(rig.address, request(Method::GET, "/", "")).await;
        let body = tokio::time::timeout(DEADLINE, answer.into_body().collect()).await.expect("an end in time");
        assert!(body.is_err(), "half an answer is not passed off as a whole one: {begin:?}");
        until("it is not in flight any more", || rig.in_flight(1) == 0).await;
    }
}

#[tokio::test]
async fn a_client_that_takes_nothing_holds_neither_an_instance_nor_a_connection() {
    // There is room for one client.
    let rig = rig(1).await;
    let instance = streaming().await;
    rig.online(1, instance.address);
    let mut lazy = TcpStream::connect(rig.address).await.unwrap();
    lazy.write_all(format!("GET /endless HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes()).await.unwrap();
    let asked = || rig.table.traffic(&key(), &uid(1)).is_some_and(|traffic| traffic.total == 1);
    until("its request is on its way", asked).await;
    until("it is not in flight any more", || rig.in_flight(1) == 0).await;
    assert_eq!(rig.get("/hello").await.text, "hello", "somebody else has its place");
    drop(lazy);
}

#[tokio::test]
async fn a_client_that_opens_no_window_holds_no_instance() {
    let rig = rig(100).await;
    let instance = streaming().await;
    rig.online(1, instance.address);
    let stream = TcpStream::connect(rig.address).await.unwrap();
    let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(1024);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let endless = Request::get(format!("http://{HOST}/endless")).body(http_body_util::Empty::<Bytes>::new()).unwrap();
    let answer = sender.send_request(endless).await.unwrap();
    assert_eq!(answer.status(), 200);
    // Nobody reads it, so the window stays shut; the connection itself lives on.
    until("it is not in flight any more", || rig.in_flight(1) == 0).await;
    let hello = Request::get(format!("http://{HOST}/hello")).body(http_body_util::Empty::<Bytes>::new()).unwrap();
    assert_eq!(answered(sender.send_request(hello).await.unwrap()).await.text, "hello");
}

#[tokio::test]
async fn a_slow_answer_arrives_whole_byte_by_byte_and_holds_up_nobody() {
    let rig = rig(100).await;
    let instance = streaming().await;
    rig.online(1, instance.address);
    let mut slow = TcpStream::connect(rig.address).await.unwrap();
    let head = format!("GET /slow HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
    slow.write_all(head.as_bytes()).await.unwrap();
    read_head(&mut slow).await.unwrap();
    let mut body = String::new();
    while let Ok(byte) = tokio::time::timeout(DEADLINE, slow.read_u8()).await.expect("the next byte") {
        body.push(char::from(byte));
        assert_eq!(rig.get("/hello").await.text, "hello");
    }
    assert_eq!(
        body,
        format!("{}0\r\n\r\n", "1\r\nx\r\n".repeat(PIECES)),
        "it took longer than an answer may stand still"
    );
}

/// Many times what the client's system takes in for it.
const LARGE: usize = 1024 * 1024;

#[tokio::test]
async fn a_client_that_reads_slowly_gets_its_answer_whole_however_long_it_takes() {
    let rig = rig(100).await;
    let large: Vec<u8> = (0..LARGE).map(|at| u8::try_from(at % 251).unwrap()).collect();
    let sent = Bytes::from(large.clone());
    let router = Router::new().fallback(move || {
        let sent = sent.clone();
        async move { Body::from(sent) }
    });
    let instance = Instance::serve(router).await;
    rig.online(1, instance.address);
    let socket = TcpSocket::new_v4().unwrap();
    // So little that the window shuts and opens again all the time; it is never shut for as long as the limit.
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    let mut slow = socket.connect(rig.address).await.unwrap();
    let head = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
    slow.write_all(head.as_bytes()).await.unwrap();
    assert!(read_head(&mut slow).await.unwrap().starts_with("HTTP/1.1 200"));
    let begin = tokio::time::Instant::now();
    let mut body = Vec::new();
    while let Ok(byte) = tokio::time::timeout(DEADLINE, slow.read_u8()).await.expect("the next byte") {
        body.push(byte);
        // On a busy machine this is several times as long, and must be no stall even then.
        if body.len().is_multiple_of(1024) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    assert!(body == large, "{} of {LARGE} bytes came, or others", body.len());
    assert!(begin.elapsed() > 2 * STALL, "it was not slow enough to say anything: {:?}", begin.elapsed());
}

#[tokio::test]
async fn a_slow_upload_after_the_head_of_the_answer_is_no_stall() {
    let rig = rig(100).await;
    // Its head is there at once; the rest says how much has come, when all has.
    let counts = |request: AxumRequest| async {
        let counted = async {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            Ok::<_, Infallible>(Bytes::from(body.len().to_string()))
        };
        Body::from_stream(futures_util::stream::once(counted))
    };
    let instance = Instance::serve(Router::new().fallback(counts)).await;
    rig.online(1, instance.address);
    let body = StreamBody::new(Box::pin(pieces(PIECES).map(|piece| piece.map(Frame::data))));
    let upload = Request::post("/").header("host", HOST).body(body).unwrap();
    assert_eq!(answered(ask(rig.address, upload).await).await.text, PIECES.to_string());
}

#[tokio::test]
async fn a_client_whose_machine_is_gone_will_be_found_out() {
    let rig = rig(100).await;
    let instance = streaming().await;
    rig.online(1, instance.address);
    let client = TcpStream::connect(rig.address).await.unwrap();
    let (gateway, client_port) = (rig.address.port(), client.local_addr().unwrap().port());
    // The kernel's table (proc_pid_net(5)): addresses end with the port; of the timer, 02 says that it is the one of keepalive.
    let kept_alive = || {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        table.lines().skip(1).any(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            fields[1].ends_with(&format!(":{gateway:04X}"))
                && fields[2].ends_with(&format!(":{client_port:04X}"))
                && fields[5].starts_with("02:")
        })
    };
    until("a timer runs on the gateway's side", kept_alive).await;
    drop(client);
}
