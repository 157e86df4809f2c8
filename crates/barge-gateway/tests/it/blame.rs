//! Whom an answer of the gateway's own names for a request that came to nothing.

use std::sync::atomic::Ordering;
use std::time::Duration;

use barge_gateway::{GatewayConfig, Table};
use bytes::Bytes;
use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{HOST, Instance, Rig, raw, read_head, until};

#[tokio::test]
async fn an_answer_that_is_no_http_is_told_of_and_nobody_else_is_asked() {
    let long_head = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(1000));
    for (answer, expected) in [
        ("SSH-2.0-OpenSSH_9.6\r\n".to_owned(), "answered what is no HTTP"),
        (long_head, "answered with too long a head"),
    ] {
        let rig = Rig::start().await;
        let mut instances = Vec::new();
        for number in 1..3 {
            let answer = answer.clone();
            let instance = Instance::raw(move |mut stream, _| {
                let answer = answer.clone();
                async move {
                    if read_head(&mut stream).await.is_some() {
                        let _ = stream.write_all(answer.as_bytes()).await;
                        let _ = stream.read_u8().await;
                    }
                }
            })
            .await;
            rig.online(number, instance.address);
            instances.push(instance);
        }
        for (method, body) in [(Method::GET, ""), (Method::POST, ""), (Method::PUT, "body")] {
            let asked = || instances.iter().map(|one| one.connections.load(Ordering::SeqCst)).sum::<usize>();
            let before = asked();
            let told = rig.send(method.clone(), "/", body).await;
            assert_eq!((told.status.as_u16(), asked() - before), (502, 1), "{method}");
            assert!(told.text.contains(expected), "{method}: {}", told.text);
        }
    }
}

/// A gateway that does not wait long for answers.
async fn hasty() -> Rig {
    let config = GatewayConfig { answer_limit: Duration::from_millis(200), ..GatewayConfig::default() };
    Rig::with(Table::in_memory(), config).await
}

#[tokio::test]
async fn a_client_that_stops_in_the_middle_of_its_upload_is_blamed_for_it() {
    let rig = hasty().await;
    let sized = axum::Router::new().fallback(|body: Bytes| async move { body.len().to_string() });
    let instance = Instance::serve(sized).await;
    rig.online(1, instance.address);
    for (method, framing, begin) in [
        ("POST", "Content-Length: 10", "half"),
        ("PUT", "Content-Length: 10", ""),
        ("POST", "Transfer-Encoding: chunked", "4\r\nhalf\r\n"),
    ] {
        let answer =
            raw(rig.address, &format!("{method} / HTTP/1.1\r\nHost: {HOST}\r\n{framing}\r\n\r\n{begin}")).await;
        assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("connection: close"), "{answer}");
        assert!(answer.contains("nothing more of the request's body came from the client within 0.2 s"), "{answer}");
        assert!(!answer.contains("did not answer"), "{answer}");
    }
    until("nothing is in flight", || rig.in_flight(1) == 0).await;
}

#[tokio::test]
async fn an_instance_that_takes_nothing_of_an_upload_is_blamed_for_it() {
    let rig = hasty().await;
    let deaf = Instance::raw(|mut stream, _| async move {
        let _ = read_head(&mut stream).await;
        std::future::pending::<()>().await;
    })
    .await;
    rig.online(1, deaf.address);
    let answer = rig.send(Method::POST, "/", &"x".repeat(64 << 20)).await;
    assert!(answer.status == 504 && answer.text.contains("did not answer within 0.2 s"), "{}", answer.text);
}
