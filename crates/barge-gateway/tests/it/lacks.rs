//! What the gateway lacks itself is no instance's fault.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use http::Method;
use http_body_util::Full;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::net::TcpStream;

use crate::support::{Answered, DEADLINE, Instance, Rig, answered, request};

/// Says to a process of these tests that it runs one of them alone.
const ALONE: &str = "BARGE_TEST_ALONE";

/// A client that keeps its connection.
struct Client(SendRequest<Full<bytes::Bytes>>);

impl Client {
    async fn of(gateway: SocketAddr) -> Self {
        let stream = TcpStream::connect(gateway).await.unwrap();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    async fn ask(&mut self, method: Method) -> Answered {
        self.0.ready().await.unwrap();
        let answer = self.0.send_request(request(method, "/", ""));
        answered(tokio::time::timeout(DEADLINE, answer).await.expect("an answer in time").unwrap()).await
    }
}

#[test]
fn a_gateway_without_descriptors_says_so_and_goes_on_asking_its_instances() {
    if std::env::var_os(ALONE).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        return runtime.block_on(without_descriptors());
    }
    // In a process of its own: all tests of this one share their descriptors.
    let name = "lacks::a_gateway_without_descriptors_says_so_and_goes_on_asking_its_instances";
    let mut alone = std::process::Command::new(std::env::current_exe().unwrap());
    let output = alone.args(["--exact", name, "--nocapture"]).env(ALONE, "1").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "{:?}", output.stdout);
}

async fn without_descriptors() {
    let rig = Rig::start().await;
    let (one, two) = (Instance::named("one").await, Instance::named("two").await);
    rig.online(1, one.address);
    let mut client = Client::of(rig.address).await;
    assert_eq!(client.ask(Method::GET).await.text, "one");
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    // What is open stays open, and nothing more will be.
    setrlimit(Resource::RLIMIT_NOFILE, 3, hard).unwrap();
    let answer = client.ask(Method::POST).await;
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    assert_eq!(answer.status, 503);
    assert!(answer.text.contains("\"the gateway has no more descriptors\""), "{}", answer.text);
    rig.online(2, two.address);
    let mut answers = BTreeSet::new();
    for _ in 0..4 {
        answers.insert(client.ask(Method::POST).await.text);
    }
    assert_eq!(answers.len(), 2, "none is left alone: {answers:?}");
}
