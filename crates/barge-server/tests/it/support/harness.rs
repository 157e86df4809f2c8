//! The server in process, called through its routes.

use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use barge_model::EnvironmentName;
use barge_server::{Environment, Retention, Server, ServerConfig, StoreError};
use barge_testkit::FakeEngine;
use futures_util::StreamExt;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::schema;

/// The path of the service that most tests are about.
pub(crate) const SERVICE: &str = "/api/v1/environments/test/services/greeter";

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| serde_json::to_value(barge_server::openapi()).unwrap());

/// A server that runs.
pub(crate) struct Harness {
    pub(crate) directory: TempDir,
    pub(crate) engine: Arc<FakeEngine>,
    pub(crate) router: Router,
    pub(crate) admin: String,
    pub(crate) server_tokens: barge_server::Tokens,
    shutdown: CancellationToken,
    run: JoinHandle<()>,
}

/// What a caller got.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: axum::http::HeaderMap,
    pub(crate) text: String,
    pub(crate) json: Value,
}

impl Answer {
    /// A header as text.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Status and code of a problem.
    #[track_caller]
    pub(crate) fn problem(&self) -> (u16, &str) {
        assert_eq!(self.header("content-type"), "application/problem+json", "{}", self.text);
        assert_eq!(self.json["status"], self.status, "{}", self.text);
        assert_eq!(self.json["type"], "about:blank");
        assert!(!self.json["title"].as_str().unwrap().is_empty() && !self.json["detail"].as_str().unwrap().is_empty());
        (self.status, self.json["code"].as_str().unwrap())
    }
}

fn environment(name: &str, engine: &Arc<FakeEngine>) -> Environment {
    Environment {
        name: EnvironmentName::new(name).unwrap(),
        engine: Arc::clone(engine) as Arc<dyn barge_engine::Engine>,
        engine_name: "fake".to_owned(),
        registry: "127.0.0.1:7401".to_owned(),
        gateway: Some("127.0.0.1:7402".to_owned()),
        domain: "localhost".to_owned(),
        gate: barge_api::GatePolicy::default(),
        bases: barge_api::Bases::default(),
    }
}

impl Harness {
    /// A server with a new database and the environments `test` and `product`.
    pub(crate) async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self::open(directory, FakeEngine::new(), &["test", "product"], None).await
    }

    /// A server over what is there; without `admin`, one is made.
    pub(crate) async fn open(
        directory: TempDir,
        engine: Arc<FakeEngine>,
        environments: &[&str],
        admin: Option<String>,
    ) -> Self {
        let shutdown = CancellationToken::new();
        let server = Self::server(directory.path(), &engine, environments, &shutdown).await.unwrap();
        let admin = match admin {
            Some(admin) => admin,
            None => server.admin_token("ann").await.unwrap().secret,
        };
        let (router, server_tokens) = (server.router(), server.tokens());
        Self { directory, engine, router, admin, server_tokens, shutdown, run: tokio::spawn(server.run()) }
    }

    /// Opens the database in `directory`.
    pub(crate) async fn server(
        directory: &Path,
        engine: &Arc<FakeEngine>,
        environments: &[&str],
        shutdown: &CancellationToken,
    ) -> Result<Server, StoreError> {
        let environments = environments.iter().map(|name| environment(name, engine)).collect();
        // A sample of a database grows older than any audit that somebody keeps.
        let retention = Retention { audit_days: 50 * 365, ..Retention::default() };
        let config = ServerConfig { database: directory.join("server.sqlite"), environments, retention };
        Server::open(config, shutdown.clone()).await
    }

    /// Stops the server, as a restart does.
    pub(crate) async fn stop(self) -> (TempDir, Arc<FakeEngine>, String) {
        self.shutdown.cancel();
        drop(self.router);
        tokio::time::timeout(Duration::from_secs(10), self.run).await.expect("the server stops").unwrap();
        (self.directory, self.engine, self.admin)
    }

    /// Stops the server and starts it again over the same database and engine.
    pub(crate) async fn restart(self) -> Self {
        self.restart_with(&["test", "product"]).await
    }

    /// The same with other environments.
    pub(crate) async fn restart_with(self, environments: &[&str]) -> Self {
        let (directory, engine, admin) = self.stop().await;
        Self::open(directory, engine, environments, Some(admin)).await
    }

    /// Tells the server to stop, and goes on calling it.
    pub(crate) fn cancel(&self) {
        self.shutdown.cancel();
    }

    /// Makes a token; the result is its secret.
    pub(crate) async fn token(&self, new: Value) -> String {
        let answer = self.post("/api/v1/tokens", &new).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        answer.json["secret"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &self.admin, &[], None).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.call("POST", path, &self.admin, &[], Some(body)).await
    }

    /// Posts with headers.
    pub(crate) async fn post_with(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        self.call("POST", path, &self.admin, headers, Some(body)).await
    }

    /// Calls with a bearer token, an empty one for none.
    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        token: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Answer {
        let mut request = axum::http::Request::builder().method(method).uri(path);
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        self.send(request.body(body).unwrap()).await
    }

    /// Sends any request; a loopback Host is added where there is none.
    pub(crate) async fn send(&self, mut request: axum::http::Request<Body>) -> Answer {
        let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
        request.headers_mut().entry("host").or_insert_with(|| "127.0.0.1:7400".parse().unwrap());
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let endless = parts.headers.get("content-type").is_some_and(|kind| kind == "text/event-stream");
        let bytes = if endless { axum::body::Bytes::new() } else { body.collect().await.unwrap().to_bytes() };
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let json = serde_json::from_str(&text).unwrap_or_default();
        let answer = Answer { status: parts.status.as_u16(), headers: parts.headers, text, json };
        check_documented(&method, &path, &answer);
        answer
    }

    /// Opens a stream of server-sent events; each item is the data of one.
    pub(crate) async fn events(&self, path: &str) -> futures_util::stream::BoxStream<'static, String> {
        self.events_as(path, &self.admin).await
    }

    pub(crate) async fn events_as(&self, path: &str, token: &str) -> futures_util::stream::BoxStream<'static, String> {
        let request = axum::http::Request::builder()
            .uri(path)
            .header("host", "127.0.0.1:7400")
            .header("authorization", format!("Bearer {token}"));
        let response = self.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let data = |bytes: Result<axum::body::Bytes, axum::Error>| async move {
            let text = String::from_utf8(bytes.unwrap().to_vec()).unwrap();
            text.strip_prefix("data: ").map(|data| data.trim_end().to_owned())
        };
        response.into_body().into_data_stream().filter_map(data).boxed()
    }

    /// Makes release `letter` and approves it; the result is its id.
    pub(crate) async fn released(&self, letter: &str) -> String {
        let id = self.posted(letter).await;
        let answer = self.approve(&id, letter).await;
        assert_eq!(answer.status, 202, "{}", answer.text);
        id
    }

    /// Makes release `letter`; the result is its id.
    pub(crate) async fn posted(&self, letter: &str) -> String {
        let answer = self.post(&format!("{SERVICE}/releases"), &release(letter)).await;
        assert_eq!(answer.status, 202, "{}", answer.text);
        answer.json["release"].as_str().unwrap().to_owned()
    }

    /// The id of release 1; it is made where it is missing.
    pub(crate) async fn posted_once(&self) -> String {
        let list = self.get(&format!("{SERVICE}/releases")).await.json;
        match list["releases"][0]["id"].as_str() {
            Some(id) => id.to_owned(),
            None => self.posted("a").await,
        }
    }

    pub(crate) async fn approve(&self, id: &str, letter: &str) -> Answer {
        self.post(&format!("{SERVICE}/releases/{id}/approval"), &json!({ "digest": digest(letter) })).await
    }

    pub(crate) async fn status(&self) -> Value {
        let answer = self.get(&format!("{SERVICE}/status")).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json
    }

    /// The id of the first instance.
    pub(crate) async fn instance(&self) -> String {
        self.status().await["instances"][0]["id"].as_str().unwrap().to_owned()
    }

    /// The actions in the audit, oldest first, each with its actor.
    pub(crate) async fn audit(&self) -> Vec<String> {
        let answer = self.get("/api/v1/audit?limit=1000").await;
        let told =
            |entry: &Value| format!("{} {}", entry["actor"].as_str().unwrap(), entry["action"].as_str().unwrap());
        answer.json["entries"].as_array().unwrap().iter().rev().map(told).collect()
    }
}

/// A release of image `letter`, two instances.
pub(crate) fn release(letter: &str) -> Value {
    let config = json!({ "kind": "web", "command": ["./greeter"], "replicas": 2, "start_deadline": "1m" });
    json!({ "image": "127.0.0.1:7401/greeter", "digest": digest(letter), "config": config, "reason": "because" })
}

fn digest(letter: &str) -> String {
    format!("sha256:{}", letter.repeat(64))
}

/// Waits until `reached` gives something, for at most ten seconds.
pub(crate) async fn eventually<T>(what: &str, mut reached: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(found) = reached().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Every operation of the document: method, path, and its description.
pub(crate) fn operations() -> Vec<(String, String, Value)> {
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let of_path = |(path, methods): (&String, &Value)| {
        let methods = methods.as_object().unwrap().clone();
        let path = path.clone();
        methods.into_iter().map(move |(method, operation)| (method.to_uppercase(), path.clone(), operation))
    };
    paths.iter().flat_map(of_path).collect()
}

/// Whether an answer is one that the document knows.
fn check_documented(method: &str, path: &str, answer: &Answer) {
    let matches = |template: &str| {
        let (template, path): (Vec<&str>, Vec<&str>) = (template.split('/').collect(), path.split('/').collect());
        template.len() == path.len()
            && template.iter().zip(path).all(|(wanted, given)| wanted.starts_with('{') || *wanted == given)
    };
    let found = operations().into_iter().find(|(known, template, _)| known == method && matches(template));
    let Some((_, template, operation)) = found else { return };
    let response = &operation["responses"][answer.status.to_string()];
    assert!(response.is_object(), "{method} {template} answers {}, which is not in the document", answer.status);
    let kind = answer.header("content-type").split(';').next().unwrap();
    match response["content"].as_object() {
        None => assert_eq!(answer.text, "", "{method} {template} has a body that is not in the document"),
        Some(content) => {
            let schema =
                &content.get(kind).unwrap_or_else(|| panic!("{method} {template} answers with {kind}"))["schema"];
            if kind.ends_with("json")
                && let Some(why) = schema::mismatch(&DOCUMENT, schema, &answer.json, "answer")
            {
                panic!("{method} {template}: {why}");
            }
        }
    }
}
