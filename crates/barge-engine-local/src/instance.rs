//! One instance's barge-init: written its plan, started, watched, told to stop.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use barge_init::{Plan, Request, Status, StopRequest, files};
use barge_model::InstanceId;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use crate::store::{self, StoreError};

/// Why an instance could not be started or asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InstanceError {
    #[error("write the instance's plan")]
    Plan(#[source] StoreError),
    #[error("write the instance's own log {path}")]
    Log { path: PathBuf, source: std::io::Error },
    #[error("start barge-init")]
    Spawn(#[source] std::io::Error),
}

/// What a watch tells the service's task. `run` counts the starts, so that news of an earlier run is recognised as old.
#[derive(Debug)]
pub(crate) enum News {
    /// barge-init says this.
    Status { id: InstanceId, run: u64, status: Box<Status> },
    /// barge-init is gone; the last status that it wrote, if any.
    Gone { id: InstanceId, run: u64, last: Option<Box<Status>> },
}

/// How long a barge-init that was just started may take to listen.
const LISTEN_LIMIT: Duration = Duration::from_secs(10);

/// Starts barge-init in `directory`. It does not end with us.
pub(crate) fn start(directory: &Path, plan: &Plan, program: &[OsString]) -> Result<(), InstanceError> {
    store::write(&directory.join(files::PLAN), plan).map_err(InstanceError::Plan)?;
    // The status of an earlier run must not be taken for this one's.
    let _ = std::fs::remove_file(directory.join(files::STATUS));
    let path = directory.join("init.log");
    let log = |source| InstanceError::Log { path: path.clone(), source };
    let out = File::options().create(true).append(true).open(&path).map_err(log)?;
    let err = out.try_clone().map_err(log)?;
    let (first, rest) =
        program.split_first().ok_or_else(|| InstanceError::Spawn(std::io::ErrorKind::NotFound.into()))?;
    let mut child = std::process::Command::new(first)
        .arg0(barge_init::PROGRAM)
        .args(rest)
        .arg("run")
        .arg(directory)
        .stdin(std::process::Stdio::null())
        .stdout(out)
        .stderr(err)
        .process_group(0)
        .spawn()
        .map_err(InstanceError::Spawn)?;
    // A thread for each instance only to collect its exit code; it ends with barge-init, or with us.
    std::thread::Builder::new()
        .stack_size(32 * 1024)
        .spawn(move || {
            let _ = child.wait();
        })
        .map_err(InstanceError::Spawn)?;
    Ok(())
}

/// Watches the barge-init in `directory` until it is gone. `fresh` waits for one that was just started.
pub(crate) async fn watch(directory: PathBuf, id: InstanceId, run: u64, fresh: bool, news: mpsc::Sender<News>) {
    if let Some(stream) = connect(&directory, if fresh { LISTEN_LIMIT } else { Duration::ZERO }).await {
        follow(stream, &id, run, &news).await;
    }
    let last = std::fs::read(directory.join(files::STATUS)).ok();
    let last = last.and_then(|bytes| serde_json::from_slice::<Status>(&bytes).ok());
    let last = last.filter(|status| status.instance == id.as_str()).map(Box::new);
    // The service's task ends before its watches; then nobody is left to be told.
    let _ = news.send(News::Gone { id, run, last }).await;
}

async fn follow(mut stream: BufReader<UnixStream>, id: &InstanceId, run: u64, news: &mpsc::Sender<News>) {
    if send(&mut stream, &Request::Watch).await.is_err() {
        return;
    }
    let mut line = String::new();
    loop {
        line.clear();
        match stream.read_line(&mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let Ok(status) = serde_json::from_str::<Status>(&line) else { continue };
        // A directory that was reused could hold somebody else's barge-init.
        if status.instance != id.as_str() {
            return;
        }
        if news.send(News::Status { id: id.clone(), run, status: Box::new(status) }).await.is_err() {
            return;
        }
    }
}

/// Tells the barge-init in `directory` to stop; false when none answers.
pub(crate) async fn stop(directory: &Path, request: StopRequest) -> bool {
    let Some(mut stream) = connect(directory, Duration::ZERO).await else { return false };
    send(&mut stream, &Request::Stop(request)).await.is_ok()
}

async fn send(stream: &mut BufReader<UnixStream>, request: &Request) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.get_mut().write_all(&line).await
}

async fn connect(directory: &Path, limit: Duration) -> Option<BufReader<UnixStream>> {
    let deadline = tokio::time::Instant::now() + limit;
    loop {
        let handle = File::open(directory).ok()?;
        // Through the directory's descriptor the path stays short enough for a socket's address.
        let path = format!("/proc/self/fd/{}/{}", handle.as_raw_fd(), files::SOCKET);
        match UnixStream::connect(&path).await {
            Ok(stream) => return Some(BufReader::new(stream)),
            Err(_) if tokio::time::Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(2)).await,
            Err(_) => return None,
        }
    }
}
