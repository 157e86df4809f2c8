//! Files to build from, and a registry that can be made to fail.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use barge_image::build::{BuildRequest, files};
use barge_image::image::Runtime;
use barge_image::{Client, Credentials, Image, Reference, build};
use barge_registry::{Operation, Storage, Verdict};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// No wait in these tests is longer.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Writes files; a name that ends with `*` is executable.
pub(crate) fn tree(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = directory.path().join(name.trim_end_matches('*'));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        let mode = if name.ends_with('*') { 0o755 } else { 0o644 };
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
    }
    directory
}

pub(crate) fn runtime() -> Runtime {
    Runtime {
        command: vec!["./greeter".to_owned(), "--port=8080".to_owned()],
        labels: [("dev.barge.service".to_owned(), "greeter".to_owned())].into(),
        ..Runtime::default()
    }
}

pub(crate) async fn built(path: &Path, base: &str, client: Option<&Client>) -> Image {
    build(BuildRequest::new(vec![files(path, &[]).unwrap()], base, runtime()), client).await.unwrap()
}

/// A small image without a base.
pub(crate) async fn small(content: &str) -> Image {
    let files = tree(&[("greeter*", content)]);
    built(files.path(), "scratch", None).await
}

/// What is answered instead of what is right, so many times.
pub(crate) struct Fault {
    pub(crate) method: &'static str,
    pub(crate) contains: &'static str,
    pub(crate) times: usize,
    pub(crate) answer: fn() -> Response,
}

/// A registry on a port, with a log of what it was asked.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    /// Method and path of each request.
    pub(crate) seen: Arc<Mutex<Vec<String>>>,
    pub(crate) faults: Arc<Mutex<Vec<Fault>>>,
    pub(crate) storage: Storage,
    _directory: TempDir,
}

type Shared = (Arc<Mutex<Vec<String>>>, Arc<Mutex<Vec<Fault>>>);

impl Served {
    pub(crate) async fn start() -> Self {
        Self::with(|_, _| Verdict::Granted).await
    }

    pub(crate) async fn with(access: fn(&HeaderMap, &Operation<'_>) -> Verdict) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let storage = Storage::open(directory.path().to_owned(), 1 << 30).unwrap();
        let shared: Shared = Shared::default();
        let router = barge_registry::router(storage.clone(), Arc::new(access))
            .layer(axum::middleware::from_fn_with_state(shared.clone(), watch));
        let address = listen(router).await;
        Self { address, seen: shared.0, faults: shared.1, storage, _directory: directory }
    }

    pub(crate) fn reference(&self, name: &str) -> Reference {
        format!("{}/{name}", self.address).parse().unwrap()
    }

    pub(crate) fn fail(&self, method: &'static str, contains: &'static str, times: usize, answer: fn() -> Response) {
        self.faults.lock().unwrap().push(Fault { method, contains, times, answer });
    }

    /// What it was asked since the last call, as method and path.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }

    pub(crate) fn count(&self, begins: &str) -> usize {
        self.seen.lock().unwrap().iter().filter(|line| line.starts_with(begins)).count()
    }
}

async fn watch(State((seen, faults)): State<Shared>, request: Request, next: Next) -> Response {
    let line = format!("{} {}", request.method(), request.uri());
    seen.lock().unwrap().push(line);
    let answer = {
        let mut faults = faults.lock().unwrap();
        let path = request.uri().to_string();
        let fault = faults
            .iter_mut()
            .find(|fault| fault.times > 0 && request.method() == fault.method && path.contains(fault.contains));
        fault.map(|fault| {
            fault.times -= 1;
            fault.answer
        })
    };
    match answer {
        Some(answer) => {
            // Read to the end, as a registry behind a proxy would.
            let _ = axum::body::to_bytes(request.into_body(), usize::MAX).await;
            answer()
        }
        None => next.run(request).await,
    }
}

pub(crate) async fn listen(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// When a connection is cut.
#[derive(Clone, Copy)]
pub(crate) struct Cut {
    /// How the request begins that it is cut in.
    pub(crate) begins: &'static str,
    /// So many bytes of it pass, and it has to have more; 0 is none at all.
    pub(crate) after: usize,
    /// So often.
    pub(crate) times: usize,
}

impl Cut {
    /// Whether a request that begins with these bytes is to be cut.
    fn concerns(self, head: &[u8]) -> bool {
        let text = String::from_utf8_lossy(head).to_ascii_lowercase();
        let length = text
            .split_once("\r\ncontent-length: ")
            .and_then(|(_, rest)| rest.split("\r\n").next()?.parse::<usize>().ok());
        head.starts_with(self.begins.as_bytes()) && length.unwrap_or(0) >= self.after
    }
}

/// Stands before a server and cuts the connection when a request that begins with `begins` comes, so many times.
pub(crate) async fn cutter(server: SocketAddr, begins: &'static str, times: usize) -> SocketAddr {
    cutter_inside(server, Cut { begins, after: 0, times }).await
}

/// The same, in the middle of the request.
pub(crate) async fn cutter_inside(server: SocketAddr, cut: Cut) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let left = Arc::new(Mutex::new(cut.times));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(pass(client, server, cut, Arc::clone(&left)));
        }
    });
    address
}

async fn pass(client: TcpStream, server: SocketAddr, cut: Cut, left: Arc<Mutex<usize>>) {
    let server = TcpStream::connect(server).await.unwrap();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let answers = async { tokio::io::copy(&mut from_server, &mut to_client).await };
    let requests = async {
        let mut buffer = vec![0; 64 * 1024];
        // What may still pass of the request that is cut.
        let mut rest = None;
        while let Ok(count) = from_client.read(&mut buffer).await {
            if rest.is_none() && cut.concerns(&buffer[..count]) {
                let mut left = left.lock().unwrap();
                rest = (*left > 0).then_some(cut.after);
                *left = left.saturating_sub(1);
            }
            let passes = rest.map_or(count, |rest| rest.min(count));
            if count == 0 || (passes > 0 && to_server.write_all(&buffer[..passes]).await.is_err()) {
                return;
            }
            rest = rest.map(|rest| rest - passes);
            if rest == Some(0) {
                return;
            }
        }
    };
    tokio::select! {
        _ = answers => {}
        () = requests => {}
    }
}

pub(crate) fn anonymous() -> Client {
    Client::new(HashMap::new()).unwrap()
}

pub(crate) fn client_as(host: &str, username: &str, password: &str) -> Client {
    let credentials = Credentials::Basic { username: username.to_owned(), password: password.to_owned() };
    Client::new([(host.to_owned(), credentials)].into()).unwrap()
}

pub(crate) fn status(code: u16) -> Response {
    (StatusCode::from_u16(code).unwrap(), Body::from("not now")).into_response()
}

/// Text that hardly gets smaller when it is compressed: each number follows from the one before it.
pub(crate) fn incompressible(bytes: usize) -> String {
    let mut number = 1u64;
    let mut text = String::with_capacity(bytes + 16);
    while text.len() < bytes {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.push_str(&format!("{:x}", number >> 16));
    }
    text
}
