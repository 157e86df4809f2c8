//! Tests of listeners: for how long clients of HTTP/2 may keep a connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use barge_runtime::listen::{self, AcceptError, Limits};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

/// No wait in these tests is longer.
const DEADLINE: Duration = Duration::from_secs(20);
const LIMIT: Duration = Duration::from_millis(500);

/// A listener whose service answers `/slow` only after three times the limit; it counts its clients.
async fn serving() -> (SocketAddr, Arc<AtomicUsize>, JoinHandle<Result<JoinSet<()>, AcceptError>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let clients = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&clients);
    let serving = tokio::spawn(async move {
        let limits = Limits::new(LIMIT, 10);
        let service = |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            service_fn(|request: Request<Incoming>| async move {
                if request.uri().path() == "/slow" {
                    tokio::time::sleep(3 * LIMIT).await;
                }
                Ok::<_, std::convert::Infallible>(Response::new("hello".to_owned()))
            })
        };
        listen::serve(listener, &limits, &CancellationToken::new(), service).await
    });
    (address, clients, serving)
}

/// A client of HTTP/2, and the task that ends with its connection.
async fn client(address: SocketAddr) -> (SendRequest<String>, JoinHandle<hyper::Result<()>>) {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    (sender, tokio::spawn(connection))
}

async fn get(sender: &mut SendRequest<String>, address: SocketAddr, path: &str) -> StatusCode {
    let request = Request::get(format!("http://{address}{path}")).body(String::new()).unwrap();
    let answer = tokio::time::timeout(DEADLINE, sender.send_request(request)).await.expect("an answer in time");
    answer.unwrap().status()
}

#[tokio::test]
async fn a_client_of_http_2_that_asks_nothing_more_is_sent_away_in_order() {
    let (address, _, serving) = serving().await;
    let (mut sender, connection) = client(address).await;
    let asked = tokio::time::Instant::now();
    assert_eq!(get(&mut sender, address, "/").await, 200);
    let ended = tokio::time::timeout(DEADLINE, connection).await.expect("the connection ends").unwrap();
    assert!(ended.is_ok(), "{ended:?}");
    assert!(asked.elapsed() >= LIMIT, "it was idle for {:?}", asked.elapsed());
    serving.abort();
}

#[tokio::test]
async fn a_client_of_http_2_with_requests_keeps_its_connection_however_long_they_take() {
    let (address, clients, serving) = serving().await;
    let (mut sender, connection) = client(address).await;
    for _ in 0..10 {
        assert_eq!(get(&mut sender, address, "/").await, 200);
        tokio::time::sleep(LIMIT / 3).await;
    }
    for _ in 0..2 {
        assert_eq!(get(&mut sender, address, "/slow").await, 200);
    }
    assert_eq!(clients.load(Ordering::SeqCst), 1);
    assert!(!connection.is_finished());
    serving.abort();
}

#[tokio::test]
async fn a_client_of_http_2_that_does_not_confirm_its_end_is_cut_off() {
    let (address, _, serving) = serving().await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The preface, settings without any, and GET http://a/ in stream 1 (RFC 9113, 4.1 and 6.2; RFC 7541, 6.1 and 6.2).
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let get = [0, 0, 6, 1, 5, 0, 0, 0, 1, 0x82, 0x84, 0x86, 0x41, 1, b'a'];
    let said = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &settings, &get].concat();
    stream.write_all(&said).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answer)).await.expect("the connection ends");
    assert!(read.is_ok(), "{read:?}");
    assert!(answer.windows(5).any(|window| window == b"hello"), "it was answered: {answer:?}");
    serving.abort();
}
