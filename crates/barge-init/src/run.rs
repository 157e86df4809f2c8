//! Sets the stage for the supervisor: a clean process, the plan, the lock, signals, the socket.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;

use nix::sys::signal::SigSet;

use crate::events::{Event, Events, Shared};
use crate::plan::Plan;
use crate::status::Status;
use crate::supervise::Supervisor;
use crate::{client, files, ready, socket, system, voice};

/// Why barge-init itself cannot run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error("read the plan {path}")]
    ReadPlan { path: PathBuf, source: std::io::Error },
    #[error("understand the plan {path}")]
    ParsePlan { path: PathBuf, source: serde_json::Error },
    #[error("listen on {address}, where readiness is to be asked")]
    Readiness { address: SocketAddr, source: std::io::Error },
    #[error("open the lock {path}")]
    OpenLock { path: PathBuf, source: std::io::Error },
    #[error("lock {path}: another barge-init lives there")]
    Locked { path: PathBuf },
    #[error("listen on the status socket")]
    Socket(#[source] std::io::Error),
    #[error("set up signals")]
    Signals(#[source] std::io::Error),
    #[error("start a thread")]
    Thread(#[source] std::io::Error),
}

/// Runs the plan in `directory` to its end; the result is the exit code. `state` is where files are kept, if not there.
pub(crate) fn run_directory(directory: &Path, state: Option<&Path>) -> Result<u8, RunError> {
    shed_inheritance();
    let plan = read_plan(directory)?;
    let (state, lock) = match (state, lock(state.unwrap_or(directory))) {
        (_, Ok(lock)) => (Some(state.unwrap_or(directory)), Some(lock)),
        // An image may be all that there is, and may not be written to.
        (Some(path), Err(RunError::OpenLock { source, .. })) => {
            voice::say(&format!("{} cannot be used ({source}): no status and no socket there", path.display()));
            (None, None)
        }
        (_, Err(error)) => return Err(error),
    };
    let code = run(plan, state);
    drop(lock);
    code
}

/// Runs a plan without files, to its end; the result is the exit code.
pub(crate) fn run_alone(plan: Plan) -> Result<u8, RunError> {
    shed_inheritance();
    run(plan, None)
}

fn run(plan: Plan, state: Option<&Path>) -> Result<u8, RunError> {
    // A session of its own: a Ctrl-C at the platform's terminal is not meant for the instance. Fails for PID 1, which has one.
    let _ = nix::unistd::setsid();
    // Where this fails, what is left behind goes to the machine's own init, and is not ours to reap.
    let _ = nix::sys::prctl::set_child_subreaper(true);
    let (sender, receiver) = mpsc::channel();
    let events = Events(sender);
    catch_signals(&events)?;
    let shared = Arc::new(Shared::new(Status::new(plan.instance.clone())));
    if let Some(state) = state {
        listen(state, &shared, &events)?;
    }
    if let Some(readiness) = &plan.readiness {
        let address = readiness.listen;
        let listener = TcpListener::bind(address).map_err(|source| RunError::Readiness { address, source })?;
        let (shared, path) = (Arc::clone(&shared), readiness.path.clone());
        thread(move || ready::serve(&listener, &path, &shared))?;
    }
    let mut supervisor = Supervisor::new(state.map(Path::to_owned), Arc::new(plan), shared, events);
    Ok(supervisor.start().unwrap_or_else(|| supervisor.watch(&receiver)))
}

pub(crate) fn thread(work: impl FnOnce() + Send + 'static) -> Result<(), RunError> {
    std::thread::Builder::new().stack_size(256 * 1024).spawn(work).map(|_| ()).map_err(RunError::Thread)
}

/// Whoever started us may have left files open or signals blocked; an instance that outlives him must not keep them.
fn shed_inheritance() {
    let open: Vec<i32> = std::fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    for descriptor in open.into_iter().filter(|descriptor| *descriptor > 2) {
        // The descriptor with which the list was read is closed already.
        let _ = nix::unistd::close(descriptor);
    }
    // Threads and children start with the mask of whoever starts them.
    let _ = SigSet::empty().thread_set_mask();
}

fn read_plan(directory: &Path) -> Result<Plan, RunError> {
    let path = directory.join(files::PLAN);
    let bytes = std::fs::read(&path).map_err(|source| RunError::ReadPlan { path: path.clone(), source })?;
    serde_json::from_slice(&bytes).map_err(|source| RunError::ParsePlan { path, source })
}

fn lock(directory: &Path) -> Result<File, RunError> {
    let path = directory.join(files::LOCK);
    let opened = OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
    let file = opened.map_err(|source| RunError::OpenLock { path: path.clone(), source })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(RunError::Locked { path }),
        Err(std::fs::TryLockError::Error(source)) => Err(RunError::OpenLock { path, source }),
    }
}

fn listen(directory: &Path, shared: &Arc<Shared>, events: &Events) -> Result<(), RunError> {
    let handle = File::open(directory).map_err(RunError::Socket)?;
    let path = client::short_path(&handle);
    // The lock is ours, so a socket that is there belongs to nobody.
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).map_err(RunError::Socket)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(RunError::Socket)?;
    let (shared, events) = (Arc::clone(shared), events.clone());
    thread(move || socket::serve(&listener, &shared, &events))
}

/// Every signal that people send is caught, which also takes back an "ignore" that we have inherited: what is caught is at its
/// default again in the process. Signals of faults are left alone.
fn catch_signals(events: &Events) -> Result<(), RunError> {
    use nix::libc as s;
    let list = [
        s::SIGCHLD,
        s::SIGTERM,
        s::SIGINT,
        s::SIGHUP,
        s::SIGQUIT,
        s::SIGUSR1,
        s::SIGUSR2,
        s::SIGWINCH,
        s::SIGALRM,
        s::SIGCONT,
        s::SIGTSTP,
        s::SIGTTIN,
        s::SIGTTOU,
        s::SIGURG,
        s::SIGXCPU,
        s::SIGXFSZ,
        s::SIGVTALRM,
        s::SIGPROF,
        s::SIGIO,
    ];
    let all = list.into_iter().chain(system::real_time_signals());
    let mut arrived = system::catch_signals(all).map_err(RunError::Signals)?;
    let events = events.clone();
    thread(move || {
        let mut numbers = [0; 64];
        loop {
            match arrived.read(&mut numbers) {
                Ok(count) => numbers[..count].iter().for_each(|number| events.send(Event::Signal(i32::from(*number)))),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                // It has no end while we live: we hold the other side.
                Err(_) => return,
            }
        }
    })
}
