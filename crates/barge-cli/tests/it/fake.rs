//! A server that plays a part: it has the API's routes and a real registry, notes every request, and shows the statuses that a test
//! gives it, one after the other.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use barge_api::{ExecFrame, ReleaseView, ServiceStatus};
use futures_util::stream;
use serde_json::{Value, json};

/// The server; it ends with the test.
pub(crate) struct Fake {
    pub(crate) address: String,
    state: Shared,
    runtime: tokio::runtime::Runtime,
    _storage: tempfile::TempDir,
}

type Shared = Arc<Mutex<Part>>;

/// What the server shows and has seen.
#[derive(Default)]
struct Part {
    registry: String,
    status: Option<Value>,
    /// What the status stream shows after the status of now.
    later: VecDeque<Value>,
    releases: Vec<Value>,
    seen: Vec<Seen>,
    sizes: Vec<(u16, u16)>,
    /// The connection of the next change breaks after it was made.
    breaks: bool,
}

/// A request that changed something.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) line: String,
    pub(crate) body: Value,
    pub(crate) key: Option<String>,
}

/// An id that ends with `last`.
pub(crate) fn id(last: &str) -> String {
    format!("01HF7YAT00{last:0>16}")
}

/// A time so many seconds after the story's beginning, which is an hour and a half ago.
pub(crate) fn at(seconds: i64) -> i64 {
    static BEGIN: std::sync::OnceLock<i64> = std::sync::OnceLock::new();
    *BEGIN.get_or_init(|| jiff::Timestamp::now().as_millisecond() - 5_400_000) + seconds * 1000
}

/// A release.
pub(crate) fn release(number: u32, state: &str) -> Value {
    json!({
        "id": id(&format!("R{number}")), "number": number, "service": "greeter", "environment": "test", "state": state,
        "image": "registry/greeter", "digest": format!("sha256:{number:064x}"),
        "config": { "kind": "web", "command": ["./greeter"], "start_deadline": "5m" },
        "origin": { "kind": "deploy" }, "created_at": at(0), "created_by": "admin", "reason": null, "approval": null,
        "finished": null, "failure": null,
    })
}

/// An instance of release `number`.
pub(crate) fn instance(last: &str, number: u32, role: &str, phase: &str) -> Value {
    json!({
        "id": id(last), "release": id(&format!("R{number}")), "role": role, "phase": phase, "online": phase == "ready",
        "address": format!("127.1.0.{number}:8080"), "restarts": 0, "created_at": at(0), "reason": null, "ended": null,
        "probes": [], "timeline": [], "limits_not_enforced": null,
    })
}

/// A status with release 1 stable and two of its instances; `change` is merged into it.
pub(crate) fn status(change: Value) -> Value {
    let mut status = json!({
        "service": "greeter", "environment": "test", "kind": "web", "url": "http://greeter.test.localhost:7402",
        "replicas": 2, "available": 2, "stable": id("R1"), "candidate": null, "waiting_on": { "on": "nothing" },
        "sentence": "everything runs as it should", "finished": [], "version": 1, "settled": true,
        "instances": [instance("AAAAAA", 1, "stable", "ready"), instance("BBBBBB", 1, "stable", "ready")],
    });
    merge(&mut status, change);
    // What the API's types do not accept is a mistake of the test.
    serde_json::from_value::<ServiceStatus>(status.clone()).unwrap();
    status
}

/// The change that puts release 2 into `phase`.
pub(crate) fn candidate(phase: &str) -> Value {
    let digest = release(2, "candidate")["digest"].clone();
    let mut view = json!({ "release": id("R2"), "digest": digest, "phase": phase, "since": at(10) });
    if phase == "progressing" {
        merge(&mut view, json!({ "batch": 0 }));
    }
    view
}

/// Release 2 at its gate.
pub(crate) fn gate() -> Value {
    status(json!({
        "candidate": candidate("gate"), "sentence": "waiting for approval",
        "waiting_on": { "on": "approval", "release": id("R2"), "since": at(10) },
        "instances": [
            instance("AAAAAA", 1, "stable", "ready"),
            instance("BBBBBB", 1, "stable", "ready"),
            instance("CCCCCC", 2, "candidate", "ready"),
        ],
    }))
}

/// Release 2 has replaced release 1.
pub(crate) fn complete() -> Value {
    status(json!({
        "stable": id("R2"), "finished": [{ "release": id("R2"), "outcome": "promoted", "at": at(20) }],
        "instances": [instance("CCCCCC", 2, "stable", "ready"), instance("DDDDDD", 2, "stable", "ready")],
    }))
}

/// Changes a document; objects are not merged any deeper.
pub(crate) fn merge(document: &mut Value, change: Value) {
    let (Value::Object(document), Value::Object(change)) = (document, change) else { panic!("objects only") };
    document.extend(change);
}

impl Fake {
    /// A server that knows no service.
    pub(crate) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let storage = tempfile::tempdir().unwrap();
        let state = Shared::default();
        state.lock().unwrap().registry = host.clone();
        let registry = barge_registry::Storage::open(storage.path().to_owned(), 1 << 30).unwrap();
        let allowed = |headers: &HeaderMap, _: &barge_registry::Operation<'_>| match headers.get("authorization") {
            Some(value) if !value.is_empty() => barge_registry::Verdict::Granted,
            _ => barge_registry::Verdict::Unknown,
        };
        let routes = routes(state.clone()).merge(barge_registry::router(registry, Arc::new(allowed)));
        runtime.spawn(async move { axum::serve(listener, routes).await });
        Self { address: format!("http://{host}"), state, runtime, _storage: storage }
    }

    /// Another registry, by host and port, is the one of every environment.
    pub(crate) fn use_registry(&self, registry: &str) {
        self.state.lock().unwrap().registry = registry.to_owned();
    }

    /// Serves something beside the server, for as long; the result is its host and port.
    pub(crate) fn serve(&self, routes: Router) -> String {
        let listener = self.runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let host = listener.local_addr().unwrap().to_string();
        self.runtime.spawn(async move { axum::serve(listener, routes).await });
        host
    }

    /// A server on which release 1 of greeter runs.
    pub(crate) fn with_greeter() -> Self {
        let fake = Self::new();
        fake.show([status(json!({}))]);
        fake.releases([release(1, "stable")]);
        fake
    }

    /// Shows the first status now, and the others to whoever watches.
    pub(crate) fn show(&self, statuses: impl IntoIterator<Item = Value>) {
        let mut part = self.state.lock().unwrap();
        let mut statuses = statuses.into_iter();
        part.status = statuses.next();
        part.later = statuses.collect();
    }

    /// The releases, newest first.
    pub(crate) fn releases(&self, releases: impl IntoIterator<Item = Value>) {
        let releases: Vec<Value> = releases.into_iter().collect();
        for release in &releases {
            serde_json::from_value::<ReleaseView>(release.clone()).unwrap();
        }
        self.state.lock().unwrap().releases = releases;
    }

    /// The requests that changed something, in their order.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.lock().unwrap().seen.clone()
    }

    /// The connection of the next change breaks after it was made.
    pub(crate) fn break_next_change(&self) {
        self.state.lock().unwrap().breaks = true;
    }

    /// The terminal's sizes, as they were told.
    pub(crate) fn sizes(&self) -> Vec<(u16, u16)> {
        self.state.lock().unwrap().sizes.clone()
    }
}

fn routes(state: Shared) -> Router {
    const SERVICE: &str = "/api/v1/environments/{environment}/services/{service}";
    let of_service = |rest: &str| format!("{SERVICE}/{rest}");
    Router::new()
        .route("/api/v1/whoami", get(whoami))
        .route("/api/v1/environments", get(environments))
        .route("/api/v1/services", get(services))
        .route(&of_service("status"), get(show_status))
        .route(&of_service("status/stream"), get(stream_status))
        .route(&of_service("releases"), get(list_releases).post(change))
        .route(&of_service("releases/{release}"), get(show_release))
        .route(&of_service("releases/{release}/{verb}"), post(change))
        .route(&of_service("instances/{instance}/logs/stream"), get(logs))
        .route(&of_service("instances/{instance}/exec"), get(exec))
        .route(&of_service("{verb}"), post(change))
        .route("/api/{*rest}", any(nothing))
        .with_state(state)
}

fn problem(status: u16, code: &str, detail: &str) -> Response {
    let body = json!({ "type": "about:blank", "title": code, "status": status, "detail": detail, "code": code });
    (StatusCode::from_u16(status).unwrap(), Json(body)).into_response()
}

async fn nothing(method: Method, uri: Uri) -> Response {
    problem(404, "not_found", &format!("there is no {method} {uri}"))
}

async fn whoami(headers: HeaderMap) -> Response {
    match headers.get("authorization").and_then(|value| value.to_str().ok()) {
        Some("Bearer secret") => Json(json!({
            "name": "admin", "role": "admin", "service": null, "environment": null, "server": "0.1.0"
        }))
        .into_response(),
        _ => problem(401, "unauthenticated", "the token is not valid"),
    }
}

async fn environments(State(state): State<Shared>) -> Json<Value> {
    let registry = state.lock().unwrap().registry.clone();
    let environment = |name: &str| json!({ "name": name, "engine": "local", "registry": registry, "gateway": null });
    // Two on clusters, of which one has something to run Java programs with.
    let cluster = |name: &str, bases: Value| json!({ "name": name, "engine": "kubernetes", "registry": registry, "gateway": null, "bases": bases });
    let java = cluster("cluster", json!({ "java": format!("{registry}/bases/jre:21") }));
    Json(json!({ "environments": [environment("test"), environment("uat"), java, cluster("bare", json!({}))] }))
}

async fn services(State(state): State<Shared>) -> Json<Value> {
    let status = state.lock().unwrap().status.clone();
    let summary = |mut status: Value| {
        let candidate = status["candidate"]["release"].clone();
        merge(&mut status, json!({ "candidate": candidate }));
        status
    };
    let list: Vec<Value> = status.into_iter().map(summary).collect();
    Json(json!({ "services": list }))
}

async fn show_status(State(state): State<Shared>, Path((_, service)): Path<(String, String)>) -> Response {
    match state.lock().unwrap().status.clone() {
        Some(status) if service == "greeter" => Json(status).into_response(),
        _ => problem(404, "not_found", &format!("test/{service} was never released")),
    }
}

async fn stream_status(State(state): State<Shared>) -> Response {
    let (first, later) = {
        let part = state.lock().unwrap();
        (part.status.clone(), part.later.clone())
    };
    // The last one stays what it is: the stream is open and nothing comes.
    let events =
        first.into_iter().chain(later).map(|status| Ok::<_, Infallible>(Event::default().data(status.to_string())));
    let open = futures_util::StreamExt::chain(stream::iter(events.collect::<Vec<_>>()), stream::pending());
    Sse::new(open).into_response()
}

async fn list_releases(State(state): State<Shared>) -> Json<Value> {
    Json(json!({ "releases": state.lock().unwrap().releases.clone() }))
}

async fn show_release(State(state): State<Shared>, Path((_, _, wanted)): Path<(String, String, String)>) -> Response {
    let releases = state.lock().unwrap().releases.clone();
    match releases.into_iter().find(|release| release["id"] == wanted.as_str()) {
        Some(release) => Json(release).into_response(),
        None => problem(404, "not_found", &format!("there is no release {wanted}")),
    }
}

/// Every change is noted; a new release becomes release 2.
async fn change(State(state): State<Shared>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let mut part = state.lock().unwrap();
    let path = uri.path().strip_prefix("/api/v1/environments/").unwrap().to_owned();
    let key = headers.get("idempotency-key").map(|value| value.to_str().unwrap().to_owned());
    let body: Value = serde_json::from_slice(&body).unwrap();
    if path.ends_with("/releases") && !part.seen.iter().any(|seen| key.is_some() && seen.key == key) {
        let mut made = release(2, "candidate");
        merge(&mut made, json!({ "digest": body["digest"], "config": body["config"], "reason": body["reason"] }));
        part.releases.insert(0, made);
    }
    part.seen.push(Seen { line: path.clone(), body, key });
    if std::mem::take(&mut part.breaks) {
        let broken = std::io::Error::other("the connection breaks");
        return Body::from_stream(stream::iter([Err::<Bytes, _>(broken)])).into_response();
    }
    let release = ["releases", "rollback", "restart"].iter().any(|verb| path.ends_with(verb)).then(|| id("R2"));
    let answer = json!({ "release": release, "message": format!("the server says yes to {path}"), "version": 2 });
    (StatusCode::ACCEPTED, Json(answer)).into_response()
}

async fn logs(Path((_, _, instance)): Path<(String, String, String)>, uri: Uri) -> Response {
    let query = uri.query().unwrap_or_default().to_owned();
    let lines = [format!("hello from {}", &instance[20..]), query];
    let events = lines.map(|line| Ok::<_, Infallible>(Event::default().data(line)));
    Sse::new(stream::iter(events)).into_response()
}

async fn exec(
    State(state): State<Shared>,
    Path(path): Path<(String, String, String)>,
    upgrade: WebSocketUpgrade,
) -> Response {
    if path.2 == id("AAAAAA") {
        return problem(403, "forbidden", "this token may not open terminals");
    }
    upgrade.on_upgrade(async move |mut socket| {
        play(&mut socket, state).await;
        // What is still unread when a connection is closed resets it, and what was sent last is lost.
        while let Some(Ok(_)) = socket.recv().await {}
    })
}

/// Programs that the server knows: `exit CODE`, `cat`, `sizes` (until it was told two), `wait` (until a signal, with its number).
async fn play(socket: &mut WebSocket, state: Shared) {
    let Some(Ok(Message::Text(open))) = socket.recv().await else { return };
    let open: Value = serde_json::from_str(&open).unwrap();
    let command: Vec<String> = serde_json::from_value(open["command"].clone()).unwrap();
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    if let Ok((rows, columns)) = serde_json::from_value(open["terminal"].clone()) {
        state.lock().unwrap().sizes.push((rows, columns));
    }
    match words.as_slice() {
        ["exit", code] => {
            send(socket, ExecFrame::Stdout(b"out\n".to_vec())).await;
            send(socket, ExecFrame::Stderr(b"err\n".to_vec())).await;
            send(socket, ExecFrame::Exit(code.parse().unwrap())).await;
        }
        ["cat" | "sizes" | "wait"] => {
            send(socket, ExecFrame::Stdout(b"begun\n".to_vec())).await;
            let code = converse(socket, words[0], &state).await;
            send(socket, ExecFrame::Exit(code)).await;
        }
        _ => send(socket, ExecFrame::Failed(format!("{command:?}: no such program"))).await,
    }
}

async fn converse(socket: &mut WebSocket, program: &str, state: &Shared) -> i32 {
    while let Some(Ok(message)) = socket.recv().await {
        let Message::Binary(bytes) = message else { continue };
        match ExecFrame::decode(&bytes).unwrap() {
            ExecFrame::Stdin(data) if program == "cat" => send(socket, ExecFrame::Stdout(data)).await,
            ExecFrame::StdinEnd if program == "cat" => return 0,
            ExecFrame::Resize(rows, columns) if program == "sizes" => {
                state.lock().unwrap().sizes.push((rows, columns));
                return 0;
            }
            ExecFrame::Signal(number) if program == "wait" => return i32::from(number),
            _ => {}
        }
    }
    1
}

async fn send(socket: &mut WebSocket, frame: ExecFrame) {
    socket.send(Message::Binary(frame.encode().into())).await.unwrap();
}
