//! What is asked of another instance, and what must not be.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use barge_gateway::{GatewayConfig, Table};
use bytes::Bytes;
use http::{Method, Request};
use http_body::Frame;
use http_body_util::StreamBody;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{DEADLINE, HOST, Instance, Rig, answered, ask, read_head, until};

/// An address where nothing listens.
async fn closed_port() -> std::net::SocketAddr {
    let address = Instance::named("gone").await.address;
    until("the port is closed", || std::net::TcpStream::connect(address).is_err()).await;
    address
}

/// An instance that takes a whole request and closes without an answer; it counts what it got.
async fn breaks_off() -> (Instance, Arc<AtomicUsize>) {
    let got = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&got);
    let instance = Instance::raw(move |mut stream, _| {
        let counter = Arc::clone(&counter);
        async move {
            if let Some(head) = read_head(&mut stream).await {
                let length =
                    head.to_lowercase().split("content-length: ").nth(1).map_or(0, |rest| {
                        rest.split("\r\n").next().and_then(|length| length.parse().ok()).unwrap_or(0)
                    });
                let _ = stream.read_exact(&mut vec![0; length]).await;
                counter.fetch_add(1, Ordering::SeqCst);
            }
        }
    })
    .await;
    (instance, got)
}

#[tokio::test]
async fn a_refused_connection_leads_to_another_instance_for_every_method() {
    let rig = Rig::start().await;
    for number in 1..5 {
        rig.online(number, closed_port().await);
    }
    let alive = Instance::named("alive").await;
    rig.online(9, alive.address);
    for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
        for _ in 0..3 {
            let answer = rig.send(method.clone(), "/", "body").await;
            assert_eq!((answer.status.as_u16(), answer.text.as_str()), (200, "alive"), "{method}");
        }
    }
}

#[tokio::test]
async fn a_connection_that_closes_before_an_answer_costs_a_get_nothing_and_a_post_502() {
    for (method, body, expected) in [
        (Method::GET, "", 200),
        (Method::HEAD, "", 200),
        (Method::DELETE, "", 200),
        (Method::PUT, "", 200),
        (Method::POST, "", 502),
        (Method::POST, "body", 502),
        (Method::PATCH, "body", 502),
        // What was read of a body is gone, so it cannot be sent again, however harmless the method.
        (Method::PUT, "body", 502),
        (Method::DELETE, "body", 502),
    ] {
        let rig = Rig::start().await;
        let (broken, got) = breaks_off().await;
        rig.online(1, broken.address);
        let alive = Instance::named("alive").await;
        let mut statuses = Vec::new();
        rig.online(2, alive.address);
        for _ in 0..2 {
            statuses.push(rig.send(method.clone(), "/", body).await.status.as_u16());
        }
        statuses.sort_unstable();
        assert_eq!(statuses, [200, expected], "{method} with {body:?}");
        let reached = got.load(Ordering::SeqCst);
        assert!(reached >= 1 && (expected == 200 || reached == 1), "{method} with {body:?} reached it {reached} times");
    }
}

#[tokio::test]
async fn a_request_that_breaks_instances_is_not_tried_on_all_of_them() {
    let rig = Rig::start().await;
    let mut instances = Vec::new();
    for number in 0..5 {
        let (instance, got) = breaks_off().await;
        rig.online(number, instance.address);
        instances.push((instance, got));
    }
    assert_eq!(rig.get("/").await.status, 502);
    let reached: usize = instances.iter().map(|(_, got)| got.load(Ordering::SeqCst)).sum();
    assert_eq!(reached, 2);
}

#[tokio::test]
async fn what_an_instance_worked_before_it_broke_off_is_no_part_of_the_search() {
    let config = GatewayConfig { search_limit: Duration::from_millis(100), ..GatewayConfig::default() };
    let rig = Rig::with(Table::in_memory(), config).await;
    let broken = Instance::raw(|mut stream, _| async move {
        let _ = read_head(&mut stream).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    })
    .await;
    rig.online(1, broken.address);
    let alive = Instance::named("alive").await;
    rig.online(2, alive.address);
    for _ in 0..2 {
        let answer = rig.get("/").await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (200, "alive"));
    }
    assert!(broken.connections.load(Ordering::SeqCst) > 0, "it was asked first at least once");
}

/// An instance that answers the first request of each connection, and closes the connection when a second one comes: what a client
/// sees of an instance whose idle limit ends in the moment of a request.
async fn closes_idle_connections() -> Instance {
    Instance::raw(|mut stream, _| async move {
        let Some(head) = read_head(&mut stream).await else { return };
        if head.to_lowercase().contains("content-length: 4") {
            stream.read_exact(&mut [0; 4]).await.unwrap();
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
        let _ = read_head(&mut stream).await;
    })
    .await
}

#[tokio::test]
async fn an_idle_connection_that_closes_in_the_same_moment_costs_no_request() {
    let rig = Rig::start().await;
    let instance = closes_idle_connections().await;
    rig.online(1, instance.address);
    for (method, body) in [(Method::GET, ""), (Method::POST, ""), (Method::POST, "body"), (Method::PUT, "body")] {
        for _ in 0..4 {
            // A GET leaves an idle connection behind; the next request must not be lost on it.
            assert_eq!(rig.get("/").await.text, "ok");
            let answer = rig.send(method.clone(), "/", body).await;
            assert_eq!((answer.status.as_u16(), answer.text.as_str()), (200, "ok"), "{method} {body:?}");
        }
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_in_the_middle_is_not_passed_off_as_whole() {
    // The instance breaks off at once, or once the client has the head of its answer.
    for waits in [false, true] {
        let (seen, head_seen) = tokio::sync::watch::channel(!waits);
        let rig = Rig::start().await;
        let instance = Instance::raw(move |mut stream, _| {
            let mut head_seen = head_seen.clone();
            async move {
                let _ = read_head(&mut stream).await;
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf").await.unwrap();
                head_seen.wait_for(|seen| *seen).await.unwrap();
            }
        })
        .await;
        rig.online(1, instance.address);
        let mut client = TcpStream::connect(rig.address).await.unwrap();
        client.write_all(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes()).await.unwrap();
        // Where it breaks off at once, perhaps nothing has gone out yet.
        let mut answer = vec![0; 4096];
        let first = tokio::time::timeout(DEADLINE, client.read(&mut answer)).await.expect("something in time").unwrap();
        seen.send_replace(true);
        let mut rest = Vec::new();
        let _ = tokio::time::timeout(DEADLINE, client.read_to_end(&mut rest)).await.expect("an end in time");
        let answer = [&answer[..first], &rest].concat();
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || (answer.starts_with("HTTP/1.1 200") && answer.ends_with("half")), "{answer}");
        until("nothing is in flight", || rig.in_flight(1) == 0).await;
    }
}

fn hasty() -> GatewayConfig {
    GatewayConfig { answer_limit: Duration::from_millis(200), ..GatewayConfig::default() }
}

#[tokio::test]
async fn an_instance_that_does_not_answer_in_time_is_named_and_nobody_else_is_asked() {
    let rig = Rig::with(Table::in_memory(), hasty()).await;
    let silent = Instance::raw(|mut stream, _| async move { while read_head(&mut stream).await.is_some() {} }).await;
    rig.online(1, silent.address);
    let other = Instance::raw(|_, _| async {}).await;
    for method in [Method::GET, Method::POST] {
        let answer = rig.send(method, "/", "").await;
        assert_eq!(answer.status, 504);
        assert!(answer.text.contains("did not answer within 0.2 s"), "{}", answer.text);
    }
    assert_eq!(other.connections.load(Ordering::SeqCst), 0);
    until("nothing is in flight", || rig.in_flight(1) == 0).await;
}

#[tokio::test]
async fn a_slow_upload_is_no_slow_answer() {
    let rig = Rig::with(Table::in_memory(), hasty()).await;
    let sized = axum::Router::new().fallback(|body: Bytes| async move { body.len().to_string() });
    let instance = Instance::serve(sized).await;
    rig.online(1, instance.address);
    let pieces = futures_util::stream::unfold(0, |count| async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        (count < 10).then(|| (Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from("x"))), count + 1))
    });
    let body = StreamBody::new(Box::pin(pieces));
    let request = Request::builder().method("POST").uri("/").header("host", HOST).body(body).unwrap();
    assert_eq!(answered(ask(rig.address, request).await).await.text, "10", "it took longer than an answer may");
}

#[tokio::test]
async fn an_instance_that_took_no_connection_is_left_alone_for_a_moment() {
    let rig = Rig::start().await;
    rig.online(1, closed_port().await);
    let alive = Instance::named("alive").await;
    rig.online(2, alive.address);
    for _ in 0..10 {
        assert_eq!(rig.get("/").await.status, 200);
    }
    let tried = rig.table.traffic(&crate::support::key(), &crate::support::uid(1)).unwrap().total;
    assert!(tried < 5, "ten requests tried the dead instance {tried} times");
}
