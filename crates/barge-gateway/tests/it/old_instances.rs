//! Instances that speak HTTP/1.0, where an answer without a length ends with its connection.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{DEADLINE, HOST, Instance, Rig, read_head, until};

/// Reads until `end` has come.
async fn read_to(stream: &mut TcpStream, end: &[u8]) -> String {
    let mut text = Vec::new();
    let reading = async {
        while !text.ends_with(end) {
            text.push(stream.read_u8().await.expect("more of it"));
        }
    };
    tokio::time::timeout(DEADLINE, reading).await.expect("its end in time");
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn an_answer_of_http_1_0_that_is_reset_in_the_middle_is_not_passed_off_as_whole() {
    let (seen, half_seen) = tokio::sync::watch::channel(false);
    let instance = Instance::raw(move |mut stream, _| {
        let mut half_seen = half_seen.clone();
        async move {
            let _ = read_head(&mut stream).await;
            stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nhalf").await.unwrap();
            half_seen.wait_for(|seen| *seen).await.unwrap();
            stream.set_zero_linger().unwrap();
        }
    })
    .await;
    let rig = Rig::start().await;
    rig.online(1, instance.address);
    let mut client = TcpStream::connect(rig.address).await.unwrap();
    client.write_all(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes()).await.unwrap();
    let begin = read_to(&mut client, b"half").await;
    seen.send_replace(true);
    let mut rest = String::new();
    let _ = tokio::time::timeout(DEADLINE, client.read_to_string(&mut rest)).await.expect("an end in time");
    assert!(begin.starts_with("HTTP/1.1 200") && begin.contains("transfer-encoding: chunked"), "{begin}");
    assert!(!rest.contains("0\r\n\r\n"), "{rest:?}");
    until("nothing is in flight", || rig.in_flight(1) == 0).await;
}

#[tokio::test]
async fn an_answer_of_http_1_0_that_ends_well_is_whole_and_the_client_keeps_its_connection() {
    let instance = Instance::raw(|mut stream, _| async move {
        let _ = read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nwhole").await.unwrap();
    })
    .await;
    let rig = Rig::start().await;
    rig.online(1, instance.address);
    let mut client = TcpStream::connect(rig.address).await.unwrap();
    for method in ["GET", "POST", "GET"] {
        let head = format!("{method} / HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
        client.write_all(head.as_bytes()).await.unwrap();
        let answer = read_to(&mut client, b"whole\r\n0\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}
