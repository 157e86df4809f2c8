//! A gateway on several threads: they serve as one, share what there is room for, and end together.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use barge_gateway::{Gateway, GatewayConfig, HEADER_INSTANCE, PutState, Table, ThreadsError};
use bytes::Bytes;
use http::Method;
use http_body_util::Full;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::{DEADLINE, Instance, answered, ask, key, put, request, uid, until};

const THREADS: usize = 4;

struct Rig {
    table: Arc<Table>,
    address: SocketAddr,
    shutdown: CancellationToken,
    serving: JoinHandle<Result<(), ThreadsError>>,
}

impl Rig {
    fn start(config: GatewayConfig) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let (table, shutdown) = (Arc::new(Table::in_memory()), CancellationToken::new());
        let address = listener.local_addr().unwrap();
        let (gateway, stop) = (Gateway::new(Arc::clone(&table), config), shutdown.clone());
        let threads = NonZeroUsize::new(THREADS).unwrap();
        let serving = tokio::task::spawn_blocking(move || gateway.serve_on_threads(threads, listener, &stop));
        Self { table, address, shutdown, serving }
    }

    fn online(&self, number: u32, address: SocketAddr) {
        self.table.put(&key(), &uid(number), put(address, 1, PutState::Online)).unwrap();
    }

    /// The answers to so many clients that ask at the same time.
    fn asked_by(&self, clients: usize) -> Vec<JoinHandle<String>> {
        let address = self.address;
        let asked = || async move { answered(ask(address, request(Method::GET, "/", "")).await).await.text };
        (0..clients).map(|_| tokio::spawn(asked())).collect()
    }

    async fn stop(mut self) {
        self.shutdown.cancel();
        tokio::time::timeout(DEADLINE, &mut self.serving).await.expect("all threads end").unwrap().unwrap();
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        // The test's runtime waits for its threads, also when the test fails.
        self.shutdown.cancel();
    }
}

/// A client's connection, which one of the threads takes.
async fn connect(gateway: SocketAddr) -> SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(gateway).await.unwrap();
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

#[tokio::test]
async fn many_clients_are_served_whichever_thread_takes_them() {
    let rig = Rig::start(GatewayConfig::default());
    let instance = Instance::named("hello").await;
    rig.online(1, instance.address);
    let clients = (0..64).map(|_| {
        let address = rig.address;
        tokio::spawn(async move {
            let mut sender = connect(address).await;
            for method in [Method::GET, Method::POST, Method::GET] {
                let answer = sender.send_request(request(method, "/", "")).await.unwrap();
                assert_eq!(answered(answer).await.text, "hello");
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        tokio::time::timeout(DEADLINE, client).await.expect("answers in time").unwrap();
    }
    until("no request is in flight", || rig.table.traffic(&key(), &uid(1)).unwrap().in_flight == 0).await;
    assert_eq!(rig.table.traffic(&key(), &uid(1)).unwrap().total, 64 * 3);
    rig.stop().await;
}

/// Connections stay with the thread that has opened them, and clients come to any thread: sooner or later one has to give up for another.
#[tokio::test]
async fn a_thread_gives_up_its_idle_connections_for_another_one() {
    // Shorter than the time for which an idle connection is kept.
    let config = GatewayConfig { max_connections: 1, search_limit: Duration::from_secs(1), ..GatewayConfig::default() };
    let rig = Rig::start(config);
    let mut instances = Vec::new();
    for number in 0..8 {
        instances.push(Instance::named("hello").await);
        rig.online(number, instances[instances.len() - 1].address);
    }
    // Twice as many as clients may be connected to instances, and here these are eight.
    for round in 0..80 {
        let mut asked = request(Method::GET, "/", "");
        asked.headers_mut().insert("connection", "close".parse().unwrap());
        asked.headers_mut().insert(HEADER_INSTANCE, uid(round % 8).as_str().parse().unwrap());
        let answer = answered(ask(rig.address, asked).await).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (200, "hello"), "request {round}");
    }
    rig.stop().await;
}

/// An instance that serves one connection at a time; each of its connections is kept open by whichever thread has used it.
#[tokio::test]
async fn an_instance_with_one_connection_serves_the_clients_of_all_threads() {
    let rig = Rig::start(GatewayConfig::default());
    let one = Arc::new(tokio::sync::Semaphore::new(1));
    let instance = Instance::raw(move |mut stream, _| {
        let one = Arc::clone(&one);
        async move {
            let _one = one.acquire().await;
            while crate::support::read_head(&mut stream).await.is_some() {
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
                if tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    rig.online(1, instance.address);
    let begin = std::time::Instant::now();
    for _ in 0..24 {
        let answer = answered(ask(rig.address, request(Method::GET, "/", "")).await).await;
        assert_eq!(answer.text, "hello");
        // Longer than a connection has to be unused to be given up for another thread.
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    // One idle connection that was waited for would have taken four seconds by itself.
    assert!(begin.elapsed() < Duration::from_millis(24 * 60 + 3500), "{:?}", begin.elapsed());
    rig.stop().await;
}

#[tokio::test]
async fn no_more_clients_are_taken_by_all_threads_than_there_is_room_for() {
    let rig = Rig::start(GatewayConfig { max_connections: 5, ..GatewayConfig::default() });
    let instance = Instance::named("hello").await;
    rig.online(1, instance.address);
    let mut clients = Vec::new();
    for _ in 0..5 {
        let mut client = connect(rig.address).await;
        let answer = tokio::time::timeout(DEADLINE, client.send_request(request(Method::GET, "/", ""))).await;
        assert_eq!(answered(answer.expect("there is room").unwrap()).await.text, "hello");
        clients.push(client);
    }
    let mut late = connect(rig.address).await;
    let mut answer = std::pin::pin!(late.send_request(request(Method::GET, "/", "")));
    let early = tokio::time::timeout(Duration::from_millis(200), answer.as_mut()).await;
    assert!(early.is_err(), "a sixth client was taken: {early:?}");
    clients.pop();
    let answer = tokio::time::timeout(DEADLINE, answer).await.expect("there is room again").unwrap();
    assert_eq!(answered(answer).await.text, "hello");
    drop(clients);
    rig.stop().await;
}

#[tokio::test]
async fn at_a_stop_requests_of_all_threads_come_to_their_end() {
    let rig = Rig::start(GatewayConfig::default());
    let release = Arc::new(Notify::new());
    let held = Arc::clone(&release);
    let hold = move || {
        let held = Arc::clone(&held);
        async move {
            held.notified().await;
            "held"
        }
    };
    let instance = Instance::serve(Router::new().fallback(hold)).await;
    rig.online(1, instance.address);
    let asked = rig.asked_by(16);
    until("all are there", || rig.table.traffic(&key(), &uid(1)).unwrap().in_flight == 16).await;
    rig.shutdown.cancel();
    // Nobody new is taken by any of them: each has closed its listener.
    until("the listener is closed", || std::net::TcpStream::connect(rig.address).is_err()).await;
    // Some of them may have been chosen an instance, and not have come to it yet.
    for answer in asked {
        let told = async {
            let mut answer = answer;
            loop {
                release.notify_waiters();
                if let Ok(text) = tokio::time::timeout(Duration::from_millis(5), &mut answer).await {
                    return text.unwrap();
                }
            }
        };
        assert_eq!(tokio::time::timeout(DEADLINE, told).await.expect("an answer in time"), "held");
    }
    rig.stop().await;
}

/// Many more than a thread admits at once where it has other things to do.
#[tokio::test]
async fn instances_may_be_slow_to_answer_however_many_requests_they_work_on() {
    const CLIENTS: usize = 400;
    let rig = Rig::start(GatewayConfig::default());
    let all = Arc::new(tokio::sync::Barrier::new(CLIENTS));
    let answer = move || {
        let all = Arc::clone(&all);
        async move {
            // None is answered before all have come.
            all.wait().await;
            "hello"
        }
    };
    let instance = Instance::serve(Router::new().fallback(answer)).await;
    rig.online(1, instance.address);
    for client in rig.asked_by(CLIENTS) {
        assert_eq!(tokio::time::timeout(DEADLINE, client).await.expect("an answer in time").unwrap(), "hello");
    }
    rig.stop().await;
}
