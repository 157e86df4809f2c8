//! Planned ends: no request is lost, and what is in flight is seen until its end.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use barge_gateway::{GatewayConfig, Table};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::Method;
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::support::{DEADLINE, HOST, Instance, Rig, answered, ask, key, request, uid, until};

/// An instance whose answer is what the test sends, piece by piece.
async fn streaming() -> (Instance, mpsc::Sender<&'static str>) {
    let (sender, receiver) = mpsc::channel::<&'static str>(1);
    let receiver = Arc::new(tokio::sync::Mutex::new(receiver));
    let router = Router::new().fallback(move || {
        let mut receiver = Arc::clone(&receiver).try_lock_owned().expect("one request");
        let stream = futures_util::stream::poll_fn(move |context| {
            receiver.poll_recv(context).map(|piece| piece.map(|piece| Ok::<_, Infallible>(Bytes::from(piece))))
        });
        async { Body::from_stream(stream) }
    });
    (Instance::serve(router).await, sender)
}

#[tokio::test]
async fn an_answer_under_way_arrives_whole_after_terminal_and_is_in_flight_until_then() {
    let rig = Rig::start().await;
    let (old, pieces) = streaming().await;
    rig.online(1, old.address);
    let mut answer = ask(rig.address, request(Method::GET, "/", "")).await.into_body();
    rig.terminal(1, old.address);
    assert_eq!(rig.in_flight(1), 1);
    assert_eq!(rig.get("/").await.status, 503, "nothing new goes there");
    for piece in ["one", "two"] {
        pieces.send(piece).await.unwrap();
        assert_eq!(answer.frame().await.unwrap().unwrap().into_data().unwrap(), piece);
        assert_eq!(rig.in_flight(1), 1);
    }
    drop(pieces);
    assert!(answer.frame().await.is_none());
    until("the answer has ended", || rig.in_flight(1) == 0).await;
    assert_eq!(rig.table.traffic(&key(), &uid(1)).unwrap().total, 1);
}

#[tokio::test]
async fn a_request_counts_from_the_moment_in_which_its_instance_is_chosen() {
    let rig = Rig::start().await;
    // It takes the connection and says nothing, so the request is between being sent and being answered.
    let release = Arc::new(tokio::sync::Notify::new());
    let released = Arc::clone(&release);
    let router = Router::new().fallback(move || {
        let released = Arc::clone(&released);
        async move {
            released.notified().await;
            "done"
        }
    });
    let instance = Instance::serve(router).await;
    rig.online(1, instance.address);
    let (gateway, ask_it) = (rig.address, request(Method::POST, "/", "x"));
    let asked = tokio::spawn(async move { answered(ask(gateway, ask_it).await).await });
    until("the request is in flight", || rig.in_flight(1) == 1).await;
    rig.terminal(1, instance.address);
    assert_eq!(rig.in_flight(1), 1);
    release.notify_one();
    assert_eq!(asked.await.unwrap().text, "done");
    until("it is over", || rig.in_flight(1) == 0).await;
}

#[tokio::test]
async fn a_client_that_goes_away_is_not_in_flight_for_ever() {
    let rig = Rig::start().await;
    let (instance, _pieces) = streaming().await;
    rig.online(1, instance.address);
    let answer = ask(rig.address, request(Method::GET, "/", "")).await;
    assert_eq!(rig.in_flight(1), 1);
    drop(answer);
    until("the gateway has noticed", || rig.in_flight(1) == 0).await;
}

#[tokio::test]
async fn at_shutdown_an_answer_under_way_arrives_whole_and_nothing_new_is_taken() {
    let rig = Rig::start().await;
    let (instance, pieces) = streaming().await;
    rig.online(1, instance.address);
    let mut answer = ask(rig.address, request(Method::GET, "/", "")).await.into_body();
    let idle = TcpStream::connect(rig.address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(idle)).await.unwrap();
    tokio::spawn(connection);
    rig.shutdown.cancel();
    let gateway = rig.address;
    until("the gateway does not listen any more", || std::net::TcpStream::connect(gateway).is_err()).await;
    assert!(sender.send_request(request(Method::GET, "/", "")).await.is_err(), "idle connections are closed");
    pieces.send("late").await.unwrap();
    assert_eq!(answer.frame().await.unwrap().unwrap().into_data().unwrap(), "late");
    drop(pieces);
    assert!(answer.frame().await.is_none());
    rig.ended().await;
}

#[tokio::test]
async fn at_shutdown_what_does_not_end_is_cut_off_at_the_limit() {
    let config = GatewayConfig { drain_limit: Duration::from_millis(100), ..GatewayConfig::default() };
    let rig = Rig::with(Table::in_memory(), config).await;
    let echo = |upgrade: axum::extract::ws::WebSocketUpgrade| async {
        upgrade.on_upgrade(|mut socket| async move { while let Some(Ok(_)) = socket.recv().await {} })
    };
    let sockets = Instance::serve(Router::new().fallback(echo)).await;
    rig.online(1, sockets.address);
    let stream = TcpStream::connect(rig.address).await.unwrap();
    let upgrade = format!("ws://{HOST}/ws").into_client_request().unwrap();
    let (mut socket, _) = tokio_tungstenite::client_async(upgrade, stream).await.unwrap();
    socket.send("hello".into()).await.unwrap();
    rig.terminal(1, sockets.address);
    let (stuck, _pieces) = streaming().await;
    rig.online(2, stuck.address);
    let answer = ask(rig.address, request(Method::GET, "/", "")).await;
    rig.shutdown.cancel();
    rig.ended().await;
    assert!(answer.into_body().collect().await.is_err());
    let next = tokio::time::timeout(DEADLINE, socket.next()).await.expect("the WebSocket ends");
    assert!(!matches!(next, Some(Ok(_))), "{next:?}");
}

#[tokio::test]
async fn a_gateway_without_room_still_stops() {
    let config = GatewayConfig { max_connections: 1, ..GatewayConfig::default() };
    let rig = Rig::with(Table::in_memory(), config).await;
    let instance = Instance::named("hello").await;
    rig.online(1, instance.address);
    let full = TcpStream::connect(rig.address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(full)).await.unwrap();
    tokio::spawn(connection);
    answered(sender.send_request(request(Method::GET, "/", "")).await.unwrap()).await;
    rig.shutdown.cancel();
    rig.ended().await;
}

/// An instance that answers after a moment, with what it was sent.
async fn worker() -> Instance {
    let router = Router::new().fallback(|body: Bytes| async move {
        tokio::time::sleep(Duration::from_millis(u64::from(body.first().copied().unwrap_or(0) % 4))).await;
        body
    });
    Instance::serve(router).await
}

/// Replaces the only instance again and again as a release does: the new one online, the old one terminal, quiet, stopped.
async fn replace_until(rig: &Rig, done: &AtomicBool) -> u32 {
    let mut old = worker().await;
    rig.online(0, old.address);
    let mut number = 0;
    while !done.load(Ordering::SeqCst) {
        let new = worker().await;
        rig.online(number + 1, new.address);
        rig.terminal(number, old.address);
        let quiet =
            || rig.table.traffic(&key(), &uid(number)).is_some_and(|now| now.in_flight == 0 && now.quiet_ms >= 5);
        until("the old instance is quiet", quiet).await;
        // Dropped: its process and all of its connections are gone at once.
        drop(std::mem::replace(&mut old, new));
        number += 1;
    }
    number
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_is_lost_while_instances_are_replaced_under_load() {
    const CLIENTS: usize = 16;
    const EACH: usize = 125;
    let rig = Arc::new(Rig::start().await);
    let (done, lost) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let replacing = tokio::spawn({
        let (rig, done) = (Arc::clone(&rig), Arc::clone(&done));
        async move { replace_until(&rig, &done).await }
    });
    until("the first instance is online", || !rig.table.list(&key()).1.is_empty()).await;
    let clients = (0..CLIENTS).map(|client| {
        let (gateway, lost) = (rig.address, Arc::clone(&lost));
        tokio::spawn(async move {
            let stream = TcpStream::connect(gateway).await.unwrap();
            let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            for number in 0..EACH {
                let method = if (client + number) % 2 == 0 { Method::GET } else { Method::POST };
                let body = if method == Method::GET { String::new() } else { format!("{client} {number}") };
                sender.ready().await.unwrap();
                let answer = answered(sender.send_request(request(method, "/", &body)).await.unwrap()).await;
                if answer.status != 200 || answer.text != body {
                    lost.fetch_add(1, Ordering::SeqCst);
                    eprintln!("lost: {body:?} {} {}", answer.status, answer.text);
                }
            }
        })
    });
    for client in futures_util::future::join_all(clients).await {
        client.unwrap();
    }
    done.store(true, Ordering::SeqCst);
    let replaced = tokio::time::timeout(DEADLINE, replacing).await.expect("the replacing ends").unwrap();
    assert!(replaced >= 5, "{replaced} instances were replaced meanwhile");
    assert_eq!(lost.load(Ordering::SeqCst), 0, "lost requests, over {replaced} replacements");
}
