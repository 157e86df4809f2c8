//! Whom an answer of the gateway's own names for a request that came to nothing.

use std::sync::atomic::Ordering;

use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Instance, Rig, read_head};

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
