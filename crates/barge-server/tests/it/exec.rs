//! Programs in instances, over a WebSocket on a real port.

use std::time::Duration;

use barge_api::{ApiError, Client, ExecConnection, ExecFrame, ExecOpen};
use barge_model::{EnvironmentName, InstanceId, ServiceName};
use serde_json::json;
use tokio::net::TcpListener;

use crate::support::{Harness, eventually};

struct Remote {
    harness: Harness,
    client: Client,
    instance: String,
}

impl Remote {
    async fn start() -> Self {
        barge_runtime::choose_cryptography();
        let harness = Harness::start().await;
        harness.released("a").await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let router = harness.router.clone();
        tokio::spawn(async move { axum::serve(listener, router).await });
        let (client, instance) = (Client::new(&address, &harness.admin).unwrap(), harness.instance().await);
        Self { harness, client, instance }
    }

    async fn open(&self, command: &str, terminal: Option<(u16, u16)>) -> Result<ExecConnection, ApiError> {
        self.open_at(&self.client, &self.instance, command, terminal).await
    }

    async fn open_at(
        &self,
        client: &Client,
        instance: &str,
        command: &str,
        terminal: Option<(u16, u16)>,
    ) -> Result<ExecConnection, ApiError> {
        let command = command.split_whitespace().map(str::to_owned).collect();
        let (environment, service) = (EnvironmentName::new("test").unwrap(), ServiceName::new("greeter").unwrap());
        let instance = InstanceId::new(instance).unwrap();
        client.exec(&environment, &service, &instance, &ExecOpen { command, terminal }).await
    }

    /// What comes until the end, for a program that needs no input.
    async fn run(&self, command: &str) -> Vec<ExecFrame> {
        let mut connection = self.open(command, None).await.unwrap();
        let mut frames = Vec::new();
        while let Some(frame) = connection.receive().await.unwrap() {
            frames.push(frame);
        }
        frames
    }
}

#[tokio::test]
async fn a_program_ends_with_its_exit_code() {
    let remote = Remote::start().await;
    for code in [0, 7, 255, -1] {
        assert_eq!(remote.run(&format!("exit {code}")).await, [ExecFrame::Exit(code)]);
    }
}

#[tokio::test]
async fn a_program_that_cannot_be_run_says_why_and_nothing_of_the_inside() {
    let remote = Remote::start().await;
    let failed = |why: &str| vec![ExecFrame::Failed(why.to_owned())];
    let missing = "run \"missing\" in the instance: No such file or directory (os error 2)";
    assert_eq!(remote.run("missing").await, failed(missing));
    assert_eq!(remote.run("unreachable").await, failed("reach the instance"));
}

#[tokio::test(flavor = "multi_thread")]
async fn large_input_and_output_go_both_ways_at_once() {
    let remote = Remote::start().await;
    let connection = remote.open("cat", None).await.unwrap();
    let (mut sender, mut receiver) = connection.split();
    // More than all buffers on the way hold together: whoever waited for one direction would never see the other.
    let piece = vec![b'x'; 128 * 1024];
    let pieces = 200;
    let send = async {
        for _ in 0..pieces {
            sender.send(&ExecFrame::Stdin(piece.clone())).await.unwrap();
        }
        sender.send(&ExecFrame::StdinEnd).await.unwrap();
    };
    let receive = async {
        let mut bytes = 0;
        loop {
            match receiver.receive(Duration::from_secs(20)).await.unwrap() {
                Some(ExecFrame::Stdout(data)) => bytes += data.len(),
                Some(ExecFrame::Exit(0)) => break bytes,
                other => panic!("{other:?}"),
            }
        }
    };
    let ((), bytes) = tokio::join!(send, receive);
    assert_eq!(bytes, pieces * piece.len());
}

#[tokio::test]
async fn sizes_and_signals_reach_the_program_and_other_messages_do_not() {
    let remote = Remote::start().await;
    let mut connection = remote.open("notes", Some((24, 80))).await.unwrap();
    for frame in [
        ExecFrame::Resize(50, 120),
        ExecFrame::Stdout(b"not for programs".to_vec()),
        ExecFrame::Signal(2),
        ExecFrame::StdinEnd,
    ] {
        connection.send(&frame).await.unwrap();
    }
    let mut told = String::new();
    loop {
        match connection.receive().await.unwrap() {
            Some(ExecFrame::Stderr(bytes)) => told.push_str(std::str::from_utf8(&bytes).unwrap()),
            other => {
                assert_eq!(other, Some(ExecFrame::Exit(0)));
                break;
            }
        }
    }
    assert_eq!(told, "Resize(WindowSize { rows: 50, columns: 120 })\nSignal(2)\n");
}

#[tokio::test]
async fn a_program_ends_when_its_caller_leaves() {
    let remote = Remote::start().await;
    let connection = remote.open("wait", None).await.unwrap();
    let mut programs = remote.harness.engine.programs.subscribe();
    programs.wait_for(|count| *count == 1).await.unwrap();
    drop(connection);
    let ended = tokio::time::timeout(Duration::from_secs(10), programs.wait_for(|count| *count == 0));
    ended.await.expect("the program ends").unwrap();
}

#[tokio::test]
async fn a_program_ends_with_the_server_and_with_its_callers_token() {
    let remote = Remote::start().await;
    let ended = [ExecFrame::Failed("the server ends this session".to_owned())];
    let secret = remote.harness.token(json!({ "name": "bob", "role": "developer" })).await;
    let bob = Client::new(remote.client.address(), &secret).unwrap();
    let mut own = remote.open("wait", None).await.unwrap();
    let mut bobs = remote.open_at(&bob, &remote.instance, "wait", None).await.unwrap();
    let mut programs = remote.harness.engine.programs.subscribe();
    programs.wait_for(|count| *count == 2).await.unwrap();
    let list = remote.harness.get("/api/v1/tokens").await.json;
    let path = format!("/api/v1/tokens/{}", list["tokens"][1]["id"].as_str().unwrap());
    assert_eq!(remote.harness.call("DELETE", &path, &remote.harness.admin, &[], None).await.status, 204);
    assert_eq!(bobs.receive().await.unwrap().as_slice(), ended);
    programs.wait_for(|count| *count == 1).await.unwrap();
    remote.harness.cancel();
    assert_eq!(own.receive().await.unwrap().as_slice(), ended);
    programs.wait_for(|count| *count == 0).await.unwrap();
}

#[tokio::test]
async fn every_terminal_is_recorded_before_it_is_opened() {
    let remote = Remote::start().await;
    remote.run("missing").await;
    remote.run("exit 0").await;
    let entries = remote.harness.get("/api/v1/audit?limit=2").await.json;
    let details: Vec<&str> =
        entries["entries"].as_array().unwrap().iter().map(|entry| entry["detail"].as_str().unwrap()).collect();
    assert_eq!(details, [format!("{}: exit 0", remote.instance), format!("{}: missing", remote.instance)]);

    // What cannot be recorded is not done.
    let file = remote.harness.directory.path().join("server.sqlite");
    let connection = sea_orm::Database::connect(format!("sqlite://{}", file.display())).await.unwrap();
    sea_orm::ConnectionTrait::execute_unprepared(&connection, "DROP TABLE audit").await.unwrap();
    assert_eq!(remote.run("wait").await, [ExecFrame::Failed("the audit cannot be written".to_owned())]);
    assert_eq!(*remote.harness.engine.programs.borrow(), 0);
}

#[tokio::test]
async fn a_refusal_comes_before_the_connection_as_a_problem() {
    let remote = Remote::start().await;
    let problem = async |client: &Client, instance: &str| match remote.open_at(client, instance, "exit 0", None).await {
        Err(ApiError::Problem(problem)) => (problem.status, problem.code.clone()),
        other => panic!("{other:?}"),
    };
    let missing = "01HF7YAT000000000000000000";
    assert_eq!(problem(&remote.client, missing).await, (404, "not_found".to_owned()));
    let none = Client::new(remote.client.address(), "nothing").unwrap();
    assert_eq!(problem(&none, &remote.instance).await, (401, "unauthenticated".to_owned()));
    let secret = remote.harness.token(json!({ "name": "viewer", "role": "viewer" })).await;
    let viewer = Client::new(remote.client.address(), &secret).unwrap();
    assert_eq!(problem(&viewer, &remote.instance).await, (403, "forbidden".to_owned()));
    let plain = format!("{}/instances/{}/exec", crate::support::SERVICE, remote.instance);
    assert_eq!(remote.harness.get(&plain).await.problem(), (400, "invalid"), "not a WebSocket");
}

#[tokio::test]
async fn a_first_message_that_says_nothing_is_answered() {
    let remote = Remote::start().await;
    // The frame instead of what to run: a client of its own making.
    let mut connection = raw(&remote).await;
    use futures_util::{SinkExt, StreamExt};
    connection.send(tokio_tungstenite::tungstenite::Message::binary(vec![0, 1])).await.unwrap();
    let answer = connection.next().await.unwrap().unwrap().into_data();
    assert_eq!(
        ExecFrame::decode(&answer),
        Some(ExecFrame::Failed("the first message must say what to run".to_owned()))
    );
    let mut connection = raw(&remote).await;
    connection.send(tokio_tungstenite::tungstenite::Message::text("{\"command\": 7}")).await.unwrap();
    let answer = connection.next().await.unwrap().unwrap().into_data();
    assert!(
        matches!(ExecFrame::decode(&answer), Some(ExecFrame::Failed(why)) if why.starts_with("the first message is not valid"))
    );
    eventually("no program", async || (*remote.harness.engine.programs.borrow() == 0).then_some(())).await;
}

async fn raw(
    remote: &Remote,
) -> tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>> {
    use tokio_tungstenite::tungstenite::client::IntoClientRequest;
    let path = format!("{}/instances/{}/exec", crate::support::SERVICE, remote.instance);
    let mut request =
        format!("{}{path}", remote.client.address().replacen("http", "ws", 1)).into_client_request().unwrap();
    let value = format!("Bearer {}", remote.harness.admin).parse().unwrap();
    request.headers_mut().insert("authorization", value);
    tokio_tungstenite::connect_async(request).await.unwrap().0
}
