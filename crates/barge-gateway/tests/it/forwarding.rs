//! What an instance sees of a request, and a client of an answer.

use std::convert::Infallible;

use axum::Router;
use axum::body::Body;
use axum::extract::Request as AxumRequest;
use axum::extract::ws::{Message as AxumMessage, WebSocketUpgrade};
use axum::routing::{any, get};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{Method, Request, StatusCode, Version};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};

use crate::support::{DEADLINE, HOST, Instance, Rig, answered, ask, raw, read_head, request, until};

/// Answers with what it was asked.
async fn mirror(request: AxumRequest) -> String {
    let (parts, body) = request.into_parts();
    let mut text = format!("{} {}\n", parts.method, parts.uri);
    for (name, value) in &parts.headers {
        text.push_str(&format!("{name}: {}\n", value.to_str().unwrap()));
    }
    let body = body.collect().await.unwrap().to_bytes();
    text.push_str(&format!("\n{}", String::from_utf8_lossy(&body)));
    text
}

async fn sized(body: Body) -> String {
    body.collect().await.unwrap().to_bytes().len().to_string()
}

async fn rig() -> (Rig, Instance) {
    let router = Router::new()
        .route("/mirror", any(mirror))
        .route("/size", any(sized))
        .route("/echo", any(|request: AxumRequest| async { Body::from_stream(request.into_body().into_data_stream()) }))
        .route("/big", get(|| async { vec![7u8; 10 << 20] }))
        .route("/fixed", get(|| async { "12345" }))
        .route(
            "/hops",
            get(|| async { ([("keep-alive", "timeout=5"), ("x-own", "1"), ("proxy-connection", "x")], "") }),
        )
        .route("/missing", get(|| async { (StatusCode::NOT_FOUND, "not here") }))
        .route("/ws", any(|upgrade: WebSocketUpgrade| async { upgrade.on_upgrade(echo_messages) }));
    let (rig, instance) = (Rig::start().await, Instance::serve(router).await);
    rig.online(1, instance.address);
    (rig, instance)
}

async fn echo_messages(mut socket: axum::extract::ws::WebSocket) {
    while let Some(Ok(AxumMessage::Text(text))) = socket.recv().await {
        if socket.send(AxumMessage::Text(text)).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn an_instance_learns_the_real_client_and_nothing_that_concerns_the_connection() {
    let (rig, _instance) = rig().await;
    let seen = raw(
        rig.address,
        "GET /mirror?a=1&b=%20 HTTP/1.1\r\nHost: greeter.test.localhost:80\r\nConnection: close, X-Private\r\nX-Private: 1\r\n\
         Keep-Alive: timeout=1\r\nTE: trailers\r\nProxy-Connection: close\r\nX-Forwarded-For: 8.8.8.8\r\nX-Real-IP: 8.8.8.8\r\n\
         X_Forwarded_For: 8.8.8.8\r\nForwarded: for=8.8.8.8\r\nX-Forwarded-Prefix: /x\r\nX-Forwarded-Proto: https\r\n\
         X-Own: kept\r\nCookie: a=b\r\n\r\n",
    )
    .await;
    let (_, body) = seen.split_once("\r\n\r\n").unwrap();
    let mut lines: Vec<&str> = body.trim().lines().collect();
    lines[1..].sort_unstable();
    let expected = [
        "GET /mirror?a=1&b=%20",
        "cookie: a=b",
        "host: greeter.test.localhost:80",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-host: greeter.test.localhost:80",
        "x-forwarded-proto: http",
        "x-own: kept",
    ];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn status_and_own_headers_come_back_and_hop_by_hop_headers_do_not() {
    let (rig, _instance) = rig().await;
    let answer = rig.get("/hops").await;
    assert_eq!(answer.headers["x-own"], "1");
    assert!(!answer.headers.contains_key("keep-alive") && !answer.headers.contains_key("proxy-connection"));
    let missing = rig.get("/missing").await;
    assert_eq!((missing.status, missing.text.as_str()), (StatusCode::NOT_FOUND, "not here"));
}

#[tokio::test]
async fn bodies_of_any_method_arrive_whole() {
    let (rig, _instance) = rig().await;
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::GET] {
        assert_eq!(rig.send(method.clone(), "/size", "0123456789").await.text, "10", "{method} with a length");
        let pieces = [Ok::<_, Infallible>(Frame::data(Bytes::from("01234"))), Ok(Frame::data(Bytes::from("56789")))];
        let body = StreamBody::new(futures_util::stream::iter(pieces));
        let chunked = Request::builder().method(method.clone()).uri("/size").header("host", HOST);
        let chunked = chunked.header("transfer-encoding", "chunked").body(body).unwrap();
        assert_eq!(answered(ask(rig.address, chunked).await).await.text, "10", "{method} in chunks");
    }
}

#[tokio::test]
async fn large_bodies_pass_both_ways() {
    let (rig, _instance) = rig().await;
    assert_eq!(rig.send(Method::POST, "/size", &"x".repeat(10 << 20)).await.text, (10 << 20).to_string());
    assert_eq!(rig.get("/big").await.text.len(), 10 << 20);
}

#[tokio::test]
async fn bodies_are_passed_on_piece_by_piece_in_both_directions() {
    let (rig, _instance) = rig().await;
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let body = StreamBody::new(tokio_stream(receiver));
    let request = Request::builder().method("POST").uri("/echo").header("host", HOST).body(body).unwrap();
    let mut answer = ask(rig.address, request).await.into_body();
    for piece in ["one", "two", "three"] {
        sender.send(piece).await.unwrap();
        // The next piece is sent only when this one has come back: nothing on the way waits for more.
        let frame = tokio::time::timeout(DEADLINE, answer.frame()).await.expect("the piece comes back");
        assert_eq!(frame.unwrap().unwrap().into_data().unwrap(), piece);
    }
    drop(sender);
    assert!(answer.frame().await.is_none());
}

fn tokio_stream(
    mut receiver: tokio::sync::mpsc::Receiver<&'static str>,
) -> impl futures_util::Stream<Item = Result<Frame<Bytes>, Infallible>> {
    futures_util::stream::poll_fn(move |context| {
        receiver.poll_recv(context).map(|piece| piece.map(|piece| Ok(Frame::data(Bytes::from(piece)))))
    })
}

#[tokio::test]
async fn the_answer_to_head_has_the_length_and_no_body() {
    let (rig, _instance) = rig().await;
    let text = format!("HEAD /fixed HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
    let answer = raw(rig.address, &text).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200") && head.to_lowercase().contains("content-length: 5"), "{head}");
    assert_eq!(body, "");
}

#[tokio::test]
async fn http_1_0_is_answered_without_chunks() {
    let (rig, _instance) = rig().await;
    let answer =
        raw(rig.address, &format!("POST /echo HTTP/1.0\r\nHost: {HOST}\r\nContent-Length: 3\r\n\r\nabc")).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.0 200") && !head.to_lowercase().contains("transfer-encoding"), "{head}");
    assert_eq!(body, "abc");
}

#[tokio::test]
async fn a_client_that_waits_for_100_continue_gets_it() {
    let (rig, _instance) = rig().await;
    let mut stream = TcpStream::connect(rig.address).await.unwrap();
    let head = format!(
        "POST /size HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 4\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let head = tokio::time::timeout(DEADLINE, read_head(&mut stream)).await.expect("an interim answer").unwrap();
    assert!(head.starts_with("HTTP/1.1 100"), "{head}");
    stream.write_all(b"1234").await.unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert!(rest.starts_with("HTTP/1.1 200") && rest.ends_with("\r\n\r\n4"), "{rest}");
}

#[tokio::test]
async fn a_connection_is_kept_for_the_next_request_on_both_sides() {
    let (rig, instance) = rig().await;
    let stream = TcpStream::connect(rig.address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    for _ in 0..5 {
        sender.ready().await.unwrap();
        let answer = answered(sender.send_request(request(Method::GET, "/fixed", "")).await.unwrap()).await;
        assert_eq!(answer.text, "12345");
    }
    let taken = instance.connections.load(std::sync::atomic::Ordering::SeqCst);
    assert!(taken <= 2, "five requests in turn took {taken} connections to the instance");
}

#[tokio::test]
async fn http_2_is_understood_from_the_first_byte() {
    let (rig, _instance) = rig().await;
    let stream = TcpStream::connect(rig.address).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let requests = (0..20).map(|_| {
        let mut sender = sender.clone();
        async move {
            let body = Full::new(Bytes::from("abc"));
            let request = Request::post(format!("http://{HOST}/mirror")).body(body).unwrap();
            let response = sender.send_request(request).await.unwrap();
            assert_eq!(response.version(), Version::HTTP_2);
            answered(response).await
        }
    });
    for answer in futures_util::future::join_all(requests).await {
        assert_eq!(answer.status, StatusCode::OK);
        assert!(
            answer.text.contains(&format!("host: {HOST}\n")) && answer.text.ends_with("\n\nabc"),
            "{}",
            answer.text
        );
    }
}

#[tokio::test]
async fn a_websocket_passes_and_counts_as_in_flight_while_it_is_open() {
    let (rig, _instance) = rig().await;
    let stream = TcpStream::connect(rig.address).await.unwrap();
    let request = format!("ws://{HOST}/ws").into_client_request().unwrap();
    let (mut socket, answer) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    assert!(answer.headers().contains_key("barge-instance"));
    for text in ["one", "two"] {
        socket.send(Message::text(text)).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(text));
    }
    assert_eq!(rig.in_flight(1), 1);
    socket.close(None).await.unwrap();
    drop(socket);
    until("the closed WebSocket is no longer in flight", || rig.in_flight(1) == 0).await;
}

#[tokio::test]
async fn an_upgrade_that_the_instance_does_not_want_is_an_ordinary_answer() {
    let (rig, _instance) = rig().await;
    let text = format!("GET /fixed HTTP/1.1\r\nHost: {HOST}\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    let mut stream = TcpStream::connect(rig.address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let head = tokio::time::timeout(DEADLINE, read_head(&mut stream)).await.expect("an answer").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
}
