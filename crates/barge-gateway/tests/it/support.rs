//! A gateway, instances behind it, and clients before it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use barge_gateway::{AcceptError, Gateway, GatewayConfig, Put, PutState, Table};
use barge_model::{InstanceId, ServiceKey, Timestamp};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

/// The host name under which the tests' service is asked for.
pub(crate) const HOST: &str = "greeter.test.localhost";
/// No wait in these tests is longer.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) fn key() -> ServiceKey {
    ServiceKey::new("test".parse().unwrap(), "greeter".parse().unwrap())
}

pub(crate) fn uid(number: u32) -> InstanceId {
    InstanceId::from_parts(Timestamp::from_millis(1), u128::from(number))
}

pub(crate) fn put(address: SocketAddr, generation: u64, state: PutState) -> Put {
    Put { address, generation, epoch: 0, state, weight: 1, meta: BTreeMap::new() }
}

pub(crate) fn address(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// A running gateway.
pub(crate) struct Rig {
    pub(crate) table: Arc<Table>,
    pub(crate) address: SocketAddr,
    pub(crate) shutdown: CancellationToken,
    serving: JoinHandle<Result<(), AcceptError>>,
}

impl Rig {
    pub(crate) async fn start() -> Self {
        Self::with(Table::in_memory(), GatewayConfig::default()).await
    }

    pub(crate) async fn with(table: Table, config: GatewayConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (table, shutdown) = (Arc::new(table), CancellationToken::new());
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(Gateway::new(Arc::clone(&table), config).serve(listener, shutdown.clone()));
        Self { table, address, shutdown, serving }
    }

    pub(crate) fn online(&self, number: u32, address: SocketAddr) {
        self.table.put(&key(), &uid(number), put(address, 1, PutState::Online)).unwrap();
    }

    pub(crate) fn terminal(&self, number: u32, address: SocketAddr) {
        self.table.put(&key(), &uid(number), put(address, 2, PutState::Terminal)).unwrap();
    }

    pub(crate) fn in_flight(&self, number: u32) -> u64 {
        self.table.traffic(&key(), &uid(number)).unwrap().in_flight
    }

    pub(crate) async fn get(&self, path: &str) -> Answered {
        answered(ask(self.address, request(Method::GET, path, "")).await).await
    }

    pub(crate) async fn send(&self, method: Method, path: &str, body: &str) -> Answered {
        answered(ask(self.address, request(method, path, body)).await).await
    }

    /// Waits for the gateway's end.
    pub(crate) async fn ended(self) {
        tokio::time::timeout(DEADLINE, self.serving).await.expect("the gateway ends").unwrap().unwrap();
    }
}

/// An answer that came in full.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

pub(crate) fn request(method: Method, path: &str, body: &str) -> Request<Full<Bytes>> {
    let body = Full::new(Bytes::from(body.to_owned()));
    Request::builder().method(method).uri(path).header("host", HOST).body(body).unwrap()
}

/// Sends one request over a connection of its own.
pub(crate) async fn ask<B>(gateway: SocketAddr, request: Request<B>) -> Response<Incoming>
where
    B: Body<Data = Bytes, Error: std::error::Error + Send + Sync> + Send + 'static,
{
    let stream = TcpStream::connect(gateway).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection.with_upgrades());
    tokio::time::timeout(DEADLINE, sender.send_request(request)).await.expect("an answer in time").unwrap()
}

pub(crate) async fn answered(response: Response<Incoming>) -> Answered {
    let (parts, body) = response.into_parts();
    let bytes = tokio::time::timeout(DEADLINE, body.collect()).await.expect("the body in time").unwrap().to_bytes();
    Answered { status: parts.status, headers: parts.headers, text: String::from_utf8_lossy(&bytes).into_owned() }
}

/// Sends bytes as they are, and reads until the other side closes.
pub(crate) async fn raw(gateway: SocketAddr, text: &str) -> String {
    let mut stream = TcpStream::connect(gateway).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A reset after the answer is as good as an end.
    let _ = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answer)).await.expect("the end in time");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Waits until `condition` holds.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < DEADLINE, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// An instance; its process is dead, with all of its connections, when this is dropped.
pub(crate) struct Instance {
    pub(crate) address: SocketAddr,
    /// Connections that it has taken.
    pub(crate) connections: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

impl Instance {
    pub(crate) async fn serve(router: Router) -> Self {
        Self::raw(move |stream, _| {
            let service = TowerToHyperService::new(router.clone());
            async move {
                let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                let _ = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
            }
        })
        .await
    }

    /// An instance that treats each connection with `script`, which is told how many there were before.
    pub(crate) async fn raw<F>(script: impl Fn(TcpStream, usize) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        let accepting = tokio::spawn(async move {
            // Dropped with this task, and its connections with it.
            let mut tasks = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                tasks.spawn(script(stream, counted.fetch_add(1, Ordering::SeqCst)));
            }
        });
        Self { address, connections, accepting }
    }

    /// An instance that says its name.
    pub(crate) async fn named(name: &'static str) -> Self {
        Self::serve(Router::new().fallback(move || async move { name })).await
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Reads one request's head from `stream`; none when the other side has closed.
pub(crate) async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8_lossy(&head).into_owned())
}
