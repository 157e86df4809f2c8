//! The client against answers of all kinds.

use barge_api::{ApiError, Client};
use barge_model::{EnvironmentName, InstanceId, ServiceName};
use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A client of a listener that answers one request with `answer`, in `pieces`.
async fn client_of(answer: &str, pieces: usize) -> Client {
    barge_runtime::choose_cryptography();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::new(&format!("http://{}/", listener.local_addr().unwrap()), "barge_secret").unwrap();
    let answer = answer.to_owned().into_bytes();
    tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.windows(4).any(|window| window == b"\r\n\r\n") {
            let mut piece = [0; 1024];
            let count = connection.read(&mut piece).await.unwrap();
            request.extend_from_slice(&piece[..count]);
        }
        assert!(String::from_utf8_lossy(&request).contains("authorization: Bearer barge_secret"));
        for piece in answer.chunks(answer.len().div_ceil(pieces)) {
            connection.write_all(piece).await.unwrap();
            connection.flush().await.unwrap();
            tokio::task::yield_now().await;
        }
    });
    client
}

fn response(status: &str, kind: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test]
async fn answers_are_read_and_fields_that_are_new_do_no_harm() {
    let body = r#"{"name":"ann","role":"admin","service":null,"environment":null,"server":"9.9","mood":"good"}"#;
    let who = client_of(&response("200 OK", "application/json", body), 1).await.whoami().await.unwrap();
    assert_eq!((who.name.as_str(), who.server.as_str()), ("ann", "9.9"));
}

#[tokio::test]
async fn each_way_to_fail_is_told_from_the_others() {
    let problem = r#"{"type":"about:blank","title":"Conflict","status":409,"detail":"not now","code":"not_at_gate","hint":"wait","more":1}"#;
    let refused = client_of(&response("409 Conflict", "application/problem+json", problem), 1).await.whoami().await;
    match refused {
        Err(error @ ApiError::Problem(_)) => assert_eq!(error.to_string(), "not now"),
        other => panic!("{other:?}"),
    }
    let page = client_of(&response("502 Bad Gateway", "text/html", "<h1>proxy</h1>"), 1).await.whoami().await;
    assert!(matches!(page, Err(ApiError::NotBarge { status: 502, .. })), "{page:?}");
    let strange = client_of(&response("200 OK", "application/json", "[]"), 1).await.whoami().await;
    assert!(matches!(strange, Err(ApiError::Answer(..))), "{strange:?}");
    let cut = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{";
    assert!(matches!(client_of(cut, 1).await.whoami().await, Err(ApiError::Unreachable { .. })));
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let nobody = Client::new(&format!("http://{nobody}"), "x").unwrap().whoami().await;
    assert!(matches!(nobody, Err(ApiError::Unreachable { .. })), "{nobody:?}");
}

#[tokio::test]
async fn events_are_put_together_however_they_are_cut() {
    let long = "x".repeat(100_000);
    let body = format!(
        ":\n\ndata: one\n\ndata:two\r\n\r\nevent: other\ndata: {long}\n\n:heartbeat\n\ndata: \n\ndata: cut off"
    );
    for pieces in [1, 7, 1000] {
        let client = client_of(&response("200 OK", "text/event-stream", &body), pieces).await;
        let (environment, service) = (EnvironmentName::new("test").unwrap(), ServiceName::new("greeter").unwrap());
        let instance = InstanceId::new("01HF7YAT000000000000000000").unwrap();
        let lines = client.logs(&environment, &service, &instance, 5, true).await.unwrap();
        let lines: Vec<String> = lines.map(Result::unwrap).collect().await;
        assert_eq!(lines, ["one", "two", &long, ""], "in {pieces} pieces; what was cut off is not told as whole");
    }
}

#[test]
fn a_token_is_not_printed_with_its_client() {
    barge_runtime::choose_cryptography();
    let client = Client::new("http://127.0.0.1:7400", "barge_secret").unwrap();
    assert_eq!(format!("{client:?}"), "Client { address: \"http://127.0.0.1:7400\", .. }");
}
