//! A registry that nodes can reach, with barge-init's image and those of a small service.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};

use barge_image::build::BuildRequest;
use barge_image::image::Runtime;
use barge_image::{Client, Reference, build};
use barge_registry::{Storage, Verdict, router};
use barge_testkit::cluster;
use tempfile::TempDir;
use tokio::task::JoinHandle;

/// The registry, for as long as it lives.
pub struct Images {
    _directory: TempDir,
    /// As this machine reaches it.
    here: SocketAddr,
    /// As nodes reach it.
    there: String,
    serving: JoinHandle<()>,
}

impl Drop for Images {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Images {
    /// An empty registry that answers wherever nodes ask.
    pub async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let storage = Storage::open(directory.path().join("registry"), 1 << 30).unwrap();
        let listener = tokio::net::TcpListener::bind("0.0.0.0:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let there = cluster::trusted_registry(port);
        let routes = router(storage, Arc::new(|_, _| Verdict::Granted));
        let serving = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { _directory: directory, here: ([127, 0, 0, 1], port).into(), there, serving }
    }

    /// Builds an image of files and pushes it; the result is its repository and its digest.
    pub async fn push(&self, name: &str, files: &Path, command: &[&str]) -> (String, String) {
        let runtime =
            Runtime { command: command.iter().map(|word| (*word).to_owned()).collect(), ..Runtime::default() };
        let layers = vec![barge_image::build::files(files, &[]).unwrap()];
        let image = build(BuildRequest::new(layers, "scratch", runtime), None).await.unwrap();
        let target: Reference = format!("{}/{name}:latest", self.here).parse().unwrap();
        Client::new(HashMap::new()).unwrap().push(&image, &target, &|_| {}).await.unwrap();
        (format!("{}/{name}", self.there), image.digest)
    }

    /// The registry's name on this machine, and the one that nodes have for it.
    pub fn names(&self) -> (String, &str) {
        (self.here.to_string(), &self.there)
    }

    /// The image with barge-init, by digest.
    pub async fn barge_init(&self) -> String {
        let files = tempfile::tempdir().unwrap();
        barge_entrypoint::place(&files.path().join("barge-init")).unwrap();
        let (image, digest) = self.push("barge-init", files.path(), &["/app/barge-init", "--help"]).await;
        format!("{image}@{digest}")
    }

    /// An image of greeter with a configuration.
    pub async fn greeter(&self, config: &str) -> (String, String) {
        let files = tempfile::tempdir().unwrap();
        std::fs::copy(greeter(), files.path().join("greeter")).unwrap();
        std::fs::write(files.path().join("greeter.conf"), config).unwrap();
        self.push("greeter", files.path(), &["./greeter"]).await
    }
}

/// Greeter as a program that needs nothing of the image that it is in.
pub fn greeter() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let target = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let directory = root.join("target/static");
        let flags = "-Clinker=rust-lld\u{1f}-Clinker-flavor=ld.lld\u{1f}-Clink-self-contained=yes";
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--locked", "-p", "greeter", "--target", &target, "--target-dir"])
            .arg(&directory)
            .current_dir(&root)
            .env("CARGO_ENCODED_RUSTFLAGS", flags)
            .status();
        assert!(built.unwrap().success(), "greeter for {target}; hint: rustup target add {target}");
        directory.join(target).join("debug/greeter")
    })
}
