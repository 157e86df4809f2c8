//! Upgraded connections have a limit of their own.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::routing::any;
use barge_gateway::{GatewayConfig, Table};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::support::{DEADLINE, HOST, Instance, Rig, raw, read_head, until};

const LIMIT: usize = 3;

async fn rig() -> (Rig, Instance) {
    let config = GatewayConfig { max_connections: LIMIT, ..GatewayConfig::default() };
    let silent = |upgrade: WebSocketUpgrade| async {
        upgrade.on_upgrade(|mut socket| async move { while let Some(Ok(_)) = socket.recv().await {} })
    };
    let router = Router::new().route("/ws", any(silent)).route("/", any(|| async { "hello" }));
    let (rig, instance) = (Rig::with(Table::in_memory(), config).await, Instance::serve(router).await);
    rig.online(1, instance.address);
    (rig, instance)
}

async fn open(rig: &Rig) -> WebSocketStream<TcpStream> {
    let stream = TcpStream::connect(rig.address).await.unwrap();
    let request = format!("ws://{HOST}/ws").into_client_request().unwrap();
    client_async(request, stream).await.unwrap().0
}

/// Asks for an upgrade over a connection that is closed if that comes to nothing.
async fn ask_for_upgrade(rig: &Rig, path: &str) -> String {
    let head =
        format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close, upgrade\r\nUpgrade: websocket\r\n\r\n");
    raw(rig.address, &head).await
}

#[tokio::test]
async fn no_more_are_carried_than_the_limit_and_others_are_served() {
    let (rig, instance) = rig().await;
    let mut sockets = Vec::new();
    for _ in 0..LIMIT {
        sockets.push(open(&rig).await);
    }
    let asked = instance.connections.load(Ordering::SeqCst);
    let refused = ask_for_upgrade(&rig, "/ws").await;
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    assert!(refused.contains("the gateway carries no more upgraded connections"), "{refused}");
    assert_eq!(instance.connections.load(Ordering::SeqCst), asked, "the instance is not asked for nothing");
    // They count as none of the connections that may be open.
    for _ in 0..=LIMIT {
        assert_eq!(rig.get("/").await.text, "hello");
    }
    drop(sockets.pop());
    until("the gateway has noticed", || rig.in_flight(1) == LIMIT as u64 - 1).await;
    sockets.push(open(&rig).await);
}

#[tokio::test]
async fn an_upgrade_that_comes_to_nothing_takes_no_place() {
    let (rig, _instance) = rig().await;
    for _ in 0..=2 * LIMIT {
        let answer = ask_for_upgrade(&rig, "/").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    open(&rig).await;
}

#[tokio::test]
async fn a_protocol_that_nobody_asked_for_is_not_carried() {
    let rig = Rig::start().await;
    let answer = Arc::new(std::sync::Mutex::new("h2c"));
    let next = Arc::clone(&answer);
    let instance = Instance::raw(move |mut stream, _| {
        let protocol = *next.lock().unwrap();
        async move {
            let _ = read_head(&mut stream).await;
            let head =
                format!("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: {protocol}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            let _ = read_head(&mut stream).await;
        }
    })
    .await;
    rig.online(1, instance.address);
    let upgrade = "Connection: close, upgrade\r\nUpgrade: websocket\r\n";
    for (protocol, asks) in
        [("h2c", upgrade), ("HTTP/2.0", upgrade), ("websocket, h2c", upgrade), ("websocket", "Connection: close\r\n")]
    {
        *answer.lock().unwrap() = protocol;
        let seen = raw(rig.address, &format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{asks}\r\n")).await;
        assert!(seen.starts_with("HTTP/1.1 502"), "{protocol}: {seen}");
    }
}

/// How long one side may say nothing more here, once the other one has ended.
const STALL: Duration = Duration::from_millis(400);

const SWITCHING: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: words\r\n\r\n";

/// A gateway before `instance`, and a client whose connection is upgraded already.
async fn upgraded(instance: &Instance) -> (Rig, TcpStream) {
    let config = GatewayConfig { stall_limit: STALL, ..GatewayConfig::default() };
    let rig = Rig::with(Table::in_memory(), config).await;
    rig.online(1, instance.address);
    let mut client = TcpStream::connect(rig.address).await.unwrap();
    let head = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: upgrade\r\nUpgrade: words\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
    let answer = tokio::time::timeout(DEADLINE, read_head(&mut client)).await.expect("an answer").unwrap();
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    (rig, client)
}

#[tokio::test]
async fn a_side_that_never_answers_the_end_of_the_other_one_holds_no_place() {
    for instance_ends in [true, false] {
        let instance = Instance::raw(move |mut stream, _| async move {
            let _ = read_head(&mut stream).await;
            stream.write_all(SWITCHING).await.unwrap();
            if !instance_ends {
                std::future::pending::<()>().await;
            }
        })
        .await;
        let (rig, mut client) = upgraded(&instance).await;
        if !instance_ends {
            client.shutdown().await.unwrap();
        }
        until("it is not in flight any more", || rig.in_flight(1) == 0).await;
        drop(client);
    }
}

#[tokio::test]
async fn a_connection_with_one_end_goes_on_while_something_comes_and_may_be_silent_with_both() {
    let instance = Instance::raw(|mut stream, _| async move {
        let _ = read_head(&mut stream).await;
        stream.write_all(SWITCHING).await.unwrap();
        let mut asked = String::new();
        stream.read_to_string(&mut asked).await.unwrap();
        for _ in 0..12 {
            tokio::time::sleep(STALL / 4).await;
            stream.write_all(asked.as_bytes()).await.unwrap();
        }
    })
    .await;
    let (rig, mut client) = upgraded(&instance).await;
    tokio::time::sleep(3 * STALL).await;
    assert_eq!(rig.in_flight(1), 1, "nobody has ended");
    client.write_all(b"word").await.unwrap();
    client.shutdown().await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(DEADLINE, client.read_to_string(&mut answer)).await.expect("the end in time").unwrap();
    assert_eq!(answer, "word".repeat(12), "it took longer than anybody may stand still");
    until("it is not in flight any more", || rig.in_flight(1) == 0).await;
}
