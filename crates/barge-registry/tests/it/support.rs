//! A registry in a temporary directory, asked without a network where that is enough.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use barge_registry::{Storage, Verdict, router};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tower::ServiceExt;

/// No wait in these tests is longer.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";

pub(crate) struct Registry {
    pub(crate) directory: TempDir,
    pub(crate) storage: Storage,
    pub(crate) router: Router,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The specification's code of an error.
    pub(crate) fn code(&self) -> String {
        self.json()["errors"][0]["code"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Registry {
    pub(crate) fn new() -> Self {
        Self::with_limit(1 << 30)
    }

    pub(crate) fn with_limit(limit: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let storage = Storage::open(directory.path().join("registry"), limit).unwrap();
        let router = router(storage.clone(), Arc::new(|_, _| Verdict::Granted));
        Self { directory, storage, router }
    }

    /// Serves on a port of this machine until the test ends.
    pub(crate) async fn listen(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = self.router.clone();
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    /// The routes of the same registry under other settings.
    pub(crate) fn router_of(&self, storage: Storage) -> Router {
        router(storage, Arc::new(|_, _| Verdict::Granted))
    }

    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        call(&self.router, method, path, headers, body.into()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &[], Body::empty()).await
    }

    /// Pushes a blob in one request; the result is its digest.
    pub(crate) async fn blob(&self, repository: &str, content: &str) -> String {
        let digest = digest(content.as_bytes());
        let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        assert_eq!(self.call("POST", &path, &[], content.to_owned()).await.status, StatusCode::CREATED);
        digest
    }

    /// Pushes an image of one layer; the result is the manifest's digest.
    pub(crate) async fn image(&self, repository: &str, tag: &str, content: &str) -> String {
        let config = self.blob(repository, "{}").await;
        let layer = self.blob(repository, content).await;
        let manifest = manifest(&config, &[(&layer, content.len())]);
        let by = if tag.is_empty() { digest(manifest.as_bytes()) } else { tag.to_owned() };
        let path = format!("/v2/{repository}/manifests/{by}");
        let answer = self.call("PUT", &path, &[("content-type", MANIFEST)], manifest).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        answer.header("docker-content-digest").to_owned()
    }

    /// Begins an upload; the result is its location.
    pub(crate) async fn begin(&self, repository: &str) -> String {
        let answer = self.call("POST", &format!("/v2/{repository}/blobs/uploads/"), &[], Body::empty()).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED);
        answer.header("location").to_owned()
    }

    /// The file of the upload at `location`.
    pub(crate) fn upload_file(&self, location: &str) -> PathBuf {
        let id = location.rsplit('/').next().unwrap();
        let entries = std::fs::read_dir(self.directory.path().join("registry/uploads")).unwrap();
        let mut paths = entries.map(|entry| entry.unwrap().path());
        paths.find(|path| path.file_name().unwrap().to_str().unwrap().starts_with(id)).unwrap()
    }

    /// The file of a blob.
    pub(crate) fn blob_file(&self, digest: &str) -> PathBuf {
        self.directory.path().join("registry/blobs").join(&digest[7..])
    }

    /// How many files a part of the directory holds.
    pub(crate) fn files(&self, part: &str) -> usize {
        std::fs::read_dir(self.directory.path().join("registry").join(part)).unwrap().count()
    }
}

pub(crate) async fn call(router: &Router, method: &str, path: &str, headers: &[(&str, &str)], body: Body) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = router.clone().oneshot(request.body(body).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    Answer { status: parts.status, headers: parts.headers, body }
}

pub(crate) fn digest(content: &[u8]) -> String {
    let hex: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

pub(crate) fn manifest(config: &str, layers: &[(&str, usize)]) -> String {
    let layers: Vec<Value> = layers
        .iter()
        .map(|(digest, size)| {
            json!({ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": size })
        })
        .collect();
    let config = json!({ "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2 });
    json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers }).to_string()
}
