//! One instance's barge-init: written its plan, started, watched, told to stop.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use barge_init::{Phase, Plan, Request, Status, StopRequest, files, processes};
use barge_model::InstanceId;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
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

impl InstanceError {
    /// Whether the same may succeed a little later: a full disk or too many processes may pass, a missing program does not.
    pub(crate) fn passing(&self) -> bool {
        use std::io::ErrorKind::{NotFound, PermissionDenied};
        !matches!(self, InstanceError::Spawn(error) if matches!(error.kind(), NotFound | PermissionDenied))
    }
}

/// What a watch tells the service's task. `run` counts the starts, so that news of an earlier run is recognised as old.
#[derive(Debug)]
pub(crate) enum News {
    /// barge-init says this.
    Status { id: InstanceId, run: u64, status: Box<Status> },
    /// barge-init is there and says nothing.
    Silent { id: InstanceId, run: u64 },
    /// barge-init is gone.
    Gone { id: InstanceId, run: u64, gone: Box<Gone> },
}

/// What is known of a barge-init that is gone.
#[derive(Debug)]
pub(crate) struct Gone {
    /// The last status that it wrote, if any.
    pub(crate) last: Option<Status>,
    /// Somebody had begun to start it.
    pub(crate) was_started: bool,
    /// Where it has written no status: what can be said instead.
    pub(crate) reason: String,
}

/// How long a barge-init that was just started may take to listen.
const LISTEN_LIMIT: Duration = Duration::from_secs(10);
/// The same, where an engine that is gone may have started it in its last moment.
const ADOPTION_LIMIT: Duration = Duration::from_secs(1);
/// How long a barge-init that listens may take to say something.
const FIRST_WORD_LIMIT: Duration = Duration::from_secs(5);
/// How long a barge-init may take to end after it has closed its socket.
const END_LIMIT: Duration = Duration::from_secs(5);
/// Before a barge-init that lives is watched anew: at first, and at the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// As above.
const LAST_PAUSE: Duration = Duration::from_millis(500);
/// Between two tries to tell a barge-init to stop.
const STOP_PAUSE: Duration = Duration::from_millis(100);
/// What barge-init itself has to say, which is little.
const OWN_LOG: &str = "init.log";

/// Starts barge-init in `directory`. It does not end with us.
pub(crate) fn start(directory: &Path, plan: &Plan, program: &[OsString]) -> Result<Child, InstanceError> {
    store::write(&directory.join(files::PLAN), plan).map_err(InstanceError::Plan)?;
    // The status of an earlier run must not be taken for this one's.
    let _ = std::fs::remove_file(directory.join(files::STATUS));
    let path = directory.join(OWN_LOG);
    let log = |source| InstanceError::Log { path: path.clone(), source };
    // Begun anew with each start, so that it cannot grow.
    let out = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&path).map_err(log)?;
    let err = out.try_clone().map_err(log)?;
    let (first, rest) =
        program.split_first().ok_or_else(|| InstanceError::Spawn(std::io::ErrorKind::NotFound.into()))?;
    Command::new(first)
        .arg0(barge_init::PROGRAM)
        .args(rest)
        .arg("run")
        .arg(directory)
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .spawn()
        .map_err(InstanceError::Spawn)
}

/// Watches the barge-init in `directory` until it is gone, and everything below it with it. `started` is one that was just started.
pub(crate) async fn watch(
    directory: PathBuf,
    id: InstanceId,
    run: u64,
    mut started: Option<Child>,
    news: mpsc::Sender<News>,
) {
    let mut pause = FIRST_PAUSE;
    loop {
        if let Some(stream) = reach(&directory, started.as_mut()).await {
            follow(stream, &id, run, &news).await;
        }
        // A connection that broke says nothing about the barge-init behind it; its lock does.
        if !lives(&directory) || news.is_closed() {
            break;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LAST_PAUSE);
    }
    let ended = match &mut started {
        Some(child) => tokio::time::timeout(END_LIMIT, child.wait()).await.ok().and_then(Result::ok),
        None => None,
    };
    let gone = look_back(directory, id.clone(), ended).await;
    // The service's task ends before its watches; then nobody is left to be told.
    let _ = news.send(News::Gone { id, run, gone: Box::new(gone) }).await;
}

/// Whether a barge-init has the directory: it holds the lock for as long as it lives.
fn lives(directory: &Path) -> bool {
    let lock = File::open(directory.join(files::LOCK));
    lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// Connects to a barge-init that listens, or may be about to.
async fn reach(directory: &Path, started: Option<&mut Child>) -> Option<BufReader<UnixStream>> {
    let begun = directory.join(files::PLAN).exists() && !directory.join(files::STATUS).exists();
    let limit = match (&started, begun) {
        (Some(_), _) => LISTEN_LIMIT,
        // An engine has ended between the start and the first status.
        (None, true) => ADOPTION_LIMIT,
        (None, false) => Duration::ZERO,
    };
    let deadline = tokio::time::Instant::now() + limit;
    let mut started = started;
    loop {
        match connect(directory).await {
            Ok(stream) => return Some(stream),
            Err(_) if tokio::time::Instant::now() >= deadline => return None,
            Err(_) => {}
        }
        // One that has ended already will never listen.
        if let Some(child) = &mut started
            && matches!(child.try_wait(), Ok(Some(_)))
        {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn follow(mut stream: BufReader<UnixStream>, id: &InstanceId, run: u64, news: &mpsc::Sender<News>) {
    if send(&mut stream, &Request::Watch).await.is_err() {
        return;
    }
    let mut line = String::new();
    let mut spoken = false;
    loop {
        line.clear();
        let read = match spoken {
            true => stream.read_line(&mut line).await,
            false => match tokio::time::timeout(FIRST_WORD_LIMIT, stream.read_line(&mut line)).await {
                Ok(read) => read,
                Err(_) => {
                    spoken = true;
                    if news.send(News::Silent { id: id.clone(), run }).await.is_err() {
                        return;
                    }
                    continue;
                }
            },
        };
        if matches!(read, Ok(0) | Err(_)) {
            return;
        }
        let Ok(status) = serde_json::from_str::<Status>(&line) else { continue };
        // A line that tells of no instance is no status: barge-init has something else to say.
        if status.instance.is_empty() {
            continue;
        }
        // A directory that was reused could hold somebody else's barge-init.
        if status.instance != id.as_str() {
            return;
        }
        spoken = true;
        if news.send(News::Status { id: id.clone(), run, status: Box::new(status) }).await.is_err() {
            return;
        }
    }
}

/// Finds out what a barge-init has left: its last words, and processes that it had no time to end.
async fn look_back(directory: PathBuf, id: InstanceId, ended: Option<std::process::ExitStatus>) -> Gone {
    let looked = tokio::task::spawn_blocking(move || {
        let last = last_status(&directory, &id);
        if last.as_ref().is_none_or(|last| last.phase != Phase::Ended) {
            let count = processes::end_leftovers_of(id.as_str(), last.as_ref());
            if count > 0 {
                tracing::warn!(instance = %id, count, "its barge-init was killed; ended what it had left behind");
            }
        }
        let own = std::fs::read_to_string(directory.join(OWN_LOG)).unwrap_or_default();
        let how = ended.map_or_else(|| "is gone".to_owned(), |status| format!("ended ({status})"));
        let reason = format!("its barge-init {how} before it could say anything: {}", own.trim());
        Gone { last, was_started: directory.join(files::PLAN).exists(), reason }
    });
    let broken = |_| Gone { last: None, was_started: true, reason: "the engine is stopping".to_owned() };
    looked.await.unwrap_or_else(broken)
}

/// The last status that an instance's barge-init has written.
pub(crate) fn last_status(directory: &Path, id: &InstanceId) -> Option<Status> {
    let bytes = std::fs::read(directory.join(files::STATUS)).ok()?;
    serde_json::from_slice::<Status>(&bytes).ok().filter(|status| status.instance == id.as_str())
}

/// Tells the barge-init in `directory` to stop, until it has taken that in or is gone.
pub(crate) async fn stop(directory: PathBuf, request: StopRequest) {
    loop {
        match connect(&directory).await {
            Ok(stream) => {
                let told = tokio::time::timeout(FIRST_WORD_LIMIT, tell(stream, &request)).await;
                if matches!(told, Ok(Ok(()))) {
                    return;
                }
            }
            // The watch finds out by itself that it is gone.
            Err(error) if nobody_there(&error) => return,
            Err(_) => {}
        }
        tokio::time::sleep(STOP_PAUSE).await;
    }
}

async fn tell(mut stream: BufReader<UnixStream>, request: &StopRequest) -> std::io::Result<()> {
    send(&mut stream, &Request::Stop(request.clone())).await?;
    let mut line = String::new();
    // It answers with its status once it has taken the request; a connection that was turned away ends without a word.
    if stream.read_line(&mut line).await? == 0 { Err(std::io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

fn nobody_there(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused)
}

async fn send(stream: &mut BufReader<UnixStream>, request: &Request) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.get_mut().write_all(&line).await
}

async fn connect(directory: &Path) -> std::io::Result<BufReader<UnixStream>> {
    let handle = File::open(directory)?;
    // Through the directory's descriptor the path stays short enough for a socket's address.
    let path = format!("/proc/self/fd/{}/{}", handle.as_raw_fd(), files::SOCKET);
    UnixStream::connect(&path).await.map(BufReader::new)
}
