//! Clients that go before they have their answer: whoever works for them is told, and nothing is in flight any more.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, mpsc};

use crate::support::{DEADLINE, HOST, Instance, Rig, read_head, until};

/// An instance that sends the begin of an answer, and tells when its connection has ended instead of more.
async fn working(begin: &'static str) -> (Instance, mpsc::UnboundedReceiver<()>) {
    let (tell, told) = mpsc::unbounded_channel();
    let instance = Instance::raw(move |mut stream, _| {
        let tell = tell.clone();
        async move {
            read_head(&mut stream).await.unwrap();
            stream.write_all(begin.as_bytes()).await.unwrap();
            // A body may come before.
            while stream.read_u8().await.is_ok() {}
            tell.send(()).unwrap();
        }
    });
    (instance.await, told)
}

#[tokio::test]
async fn the_instance_is_told_that_nobody_waits_any_more() {
    for begin in ["", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"] {
        for method in ["GET", "POST"] {
            let rig = Rig::start().await;
            let (instance, mut told) = working(begin).await;
            rig.online(1, instance.address);
            let mut client = TcpStream::connect(rig.address).await.unwrap();
            let request = format!("{method} / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 0\r\n\r\n");
            client.write_all(request.as_bytes()).await.unwrap();
            until("the request is on its way", || rig.in_flight(1) == 1).await;
            if !begin.is_empty() {
                read_head(&mut client).await.unwrap();
            }
            drop(client);
            tokio::time::timeout(DEADLINE, told.recv()).await.unwrap_or_else(|_| panic!("{method}, {begin:?}"));
            until("it is not in flight any more", || rig.in_flight(1) == 0).await;
        }
    }
}

#[tokio::test]
async fn who_has_sent_a_large_body_is_missed_as_well() {
    const BODY: usize = 3 << 20;
    let rig = Rig::start().await;
    let (tell, mut told) = mpsc::unbounded_channel();
    let instance = Instance::raw(move |mut stream, _| {
        let tell = tell.clone();
        async move {
            read_head(&mut stream).await.unwrap();
            stream.read_exact(&mut vec![0; BODY]).await.unwrap();
            tell.send("the whole body").unwrap();
            assert!(stream.read_u8().await.is_err());
            tell.send("the end").unwrap();
        }
    });
    let instance = instance.await;
    rig.online(1, instance.address);
    let mut client = TcpStream::connect(rig.address).await.unwrap();
    let head = format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {BODY}\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
    client.write_all(&vec![7; BODY]).await.unwrap();
    let mut next = async || tokio::time::timeout(DEADLINE, told.recv()).await.expect("word in time");
    assert_eq!(next().await, Some("the whole body"));
    drop(client);
    assert_eq!(next().await, Some("the end"));
    until("it is not in flight any more", || rig.in_flight(1) == 0).await;
}

#[tokio::test]
async fn who_sends_the_next_request_early_has_not_gone() {
    let rig = Rig::start().await;
    let instance = Instance::named("one").await;
    rig.online(1, instance.address);
    let mut client = TcpStream::connect(rig.address).await.unwrap();
    let request = |more: &str| format!("GET /name HTTP/1.1\r\nHost: {HOST}\r\n{more}\r\n");
    let two = format!("{}{}", request(""), request("Connection: close\r\n"));
    client.write_all(two.as_bytes()).await.unwrap();
    let mut answers = String::new();
    tokio::time::timeout(DEADLINE, client.read_to_string(&mut answers)).await.unwrap().unwrap();
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2, "{answers}");
}

#[tokio::test]
async fn who_sends_the_next_request_while_the_first_one_is_worked_on_gets_both_answers() {
    let rig = Rig::start().await;
    let (go, went) = mpsc::unbounded_channel();
    let went = Arc::new(Mutex::new(went));
    let instance = Instance::raw(move |mut stream, before| {
        let went = Arc::clone(&went);
        async move {
            while read_head(&mut stream).await.is_some() {
                if before == 0 {
                    went.lock().await.recv().await.unwrap();
                }
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await.unwrap();
            }
        }
    });
    let instance = instance.await;
    rig.online(1, instance.address);
    let mut client = TcpStream::connect(rig.address).await.unwrap();
    let request = |more: &str| format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{more}\r\n");
    client.write_all(request("").as_bytes()).await.unwrap();
    until("the first is on its way", || rig.in_flight(1) == 1).await;
    client.write_all(request("Connection: close\r\n").as_bytes()).await.unwrap();
    // Another connection's request takes as long as the gateway takes to see what came on this one.
    rig.get("/").await;
    go.send(()).unwrap();
    go.send(()).unwrap();
    let mut answers = String::new();
    tokio::time::timeout(DEADLINE, client.read_to_string(&mut answers)).await.unwrap().unwrap();
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2, "{answers}");
}
