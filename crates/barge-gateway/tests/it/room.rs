//! Connections to instances have a limit, however many requests a client of HTTP/2 sends at once.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::routing::any;
use barge_gateway::{GatewayConfig, Table};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::support::{Answered, DEADLINE, HOST, Instance, Rig, answered, until};

/// Twice the connections of clients.
const ROOM: usize = 2;
/// Shorter than the time for which an idle connection is kept.
const SEARCH: Duration = Duration::from_secs(1);

async fn rig() -> Rig {
    let config = GatewayConfig { max_connections: ROOM / 2, search_limit: SEARCH, ..GatewayConfig::default() };
    Rig::with(Table::in_memory(), config).await
}

/// An instance that answers `/hold` once that is allowed, and anything else at once.
async fn holding() -> (Instance, watch::Sender<bool>) {
    let (allow, allowed) = watch::channel(false);
    let hold = move || {
        let mut allowed = allowed.clone();
        async move {
            let _ = allowed.wait_for(|allowed| *allowed).await;
            "held"
        }
    };
    let silent = |upgrade: WebSocketUpgrade| async {
        upgrade.on_upgrade(|mut socket| async move { while let Some(Ok(_)) = socket.recv().await {} })
    };
    let router = Router::new().route("/hold", any(hold)).route("/ws", any(silent));
    (Instance::serve(router.fallback(|| async { "hello" })).await, allow)
}

/// The one client, which may ask as much at once as it likes.
struct Client(SendRequest<Full<Bytes>>);

impl Client {
    async fn of(gateway: SocketAddr) -> Self {
        let stream = TcpStream::connect(gateway).await.unwrap();
        let begun = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
        let (sender, connection) = begun.unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    fn begin(&self, method: Method, path: &str) -> JoinHandle<Answered> {
        let request = Request::builder().method(method).uri(format!("http://{HOST}{path}"));
        let answer = self.0.clone().send_request(request.body(Full::default()).unwrap());
        tokio::spawn(async move {
            answered(tokio::time::timeout(DEADLINE, answer).await.expect("an answer in time").unwrap()).await
        })
    }

    async fn ask(&self, method: Method, path: &str) -> Answered {
        self.begin(method, path).await.unwrap()
    }
}

#[tokio::test]
async fn no_more_connections_to_instances_are_opened_than_there_is_room_for() {
    let (rig, (instance, allow)) = (rig().await, holding().await);
    rig.online(1, instance.address);
    let client = Client::of(rig.address).await;
    let held: Vec<_> = [Method::GET, Method::POST].map(|method| client.begin(method, "/hold")).into();
    until("both are there", || instance.connections.load(Ordering::SeqCst) == ROOM).await;
    for method in [Method::GET, Method::POST] {
        let answer = client.ask(method, "/").await;
        assert_eq!(answer.status, 503);
        assert!(
            answer.text.contains("\"the gateway has no room for more connections to instances\""),
            "{}",
            answer.text
        );
    }
    assert_eq!(instance.connections.load(Ordering::SeqCst), ROOM);
    // Nothing of that is held against the instance, and one that waits gets the place of one that is over.
    let waiting = [Method::GET, Method::POST, Method::GET].map(|method| client.begin(method, "/"));
    until("they wait", || rig.in_flight(1) == 5).await;
    allow.send_replace(true);
    for answer in waiting {
        assert_eq!(answer.await.unwrap().text, "hello");
    }
    for answer in held {
        assert_eq!(answer.await.unwrap().text, "held");
    }
}

#[tokio::test]
async fn idle_connections_are_given_up_for_those_that_are_needed() {
    let (rig, (old, allow)) = (rig().await, holding().await);
    rig.online(1, old.address);
    let client = Client::of(rig.address).await;
    let asked = [(); ROOM].map(|()| client.begin(Method::GET, "/hold"));
    until("all have connections", || old.connections.load(Ordering::SeqCst) == ROOM).await;
    allow.send_replace(true);
    for answer in asked {
        assert_eq!(answer.await.unwrap().text, "held");
    }
    // All places are taken by connections that nobody uses.
    rig.terminal(1, old.address);
    let new = Instance::named("new").await;
    rig.online(2, new.address);
    for method in [Method::GET, Method::POST, Method::GET, Method::POST] {
        let answer = client.ask(method, "/").await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (200, "new"));
    }
}

#[tokio::test]
async fn an_upgraded_connection_takes_its_place_until_its_end() {
    let (rig, (instance, allow)) = (rig().await, holding().await);
    rig.online(1, instance.address);
    let stream = TcpStream::connect(rig.address).await.unwrap();
    let upgrade = format!("ws://{HOST}/ws").into_client_request().unwrap();
    let (socket, _) = tokio_tungstenite::client_async(upgrade, stream).await.unwrap();
    let client = Client::of(rig.address).await;
    let held = client.begin(Method::GET, "/hold");
    until("both are there", || instance.connections.load(Ordering::SeqCst) == ROOM).await;
    assert_eq!(client.ask(Method::GET, "/").await.status, 503);
    drop(socket);
    assert_eq!(client.ask(Method::GET, "/").await.text, "hello");
    allow.send_replace(true);
    assert_eq!(held.await.unwrap().text, "held");
}
