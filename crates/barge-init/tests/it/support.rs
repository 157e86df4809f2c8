//! Starts the real barge-init in a directory of its own, and waits for what it says.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use barge_init::plan::{Checks, Forward, Output, Stop};
use barge_init::{Client, Phase, Plan, Probe, Process, Request, Status, StopRequest, files};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_barge-init");
/// How long anything may take before the test gives up.
const PATIENCE: Duration = Duration::from_secs(20);

/// Asks until there is an answer.
pub(crate) fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A plan that runs `script` in a shell; nothing listens on its port.
pub(crate) fn shell(script: &str) -> Plan {
    plan(&["/bin/sh", "-c", script])
}

/// A plan that runs `command`; nothing listens on its port.
pub(crate) fn plan(command: &[&str]) -> Plan {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::SeqCst);
    let main = Process {
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        env: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
        working_directory: PathBuf::from("/"),
        ..Process::default()
    };
    Plan {
        instance: format!("test-{}-{number}", std::process::id()),
        main,
        helpers: BTreeMap::new(),
        templates: Vec::new(),
        host: "127.0.0.1".to_owned(),
        port: closed_port(),
        probe: Probe::Accept,
        checks: Checks::default(),
        readiness: None,
        start_deadline_ms: 60_000,
        hold_limit_ms: 60_000,
        output: Output { pass_on: false, file_bytes: Some(10 * 1024 * 1024) },
        signals: Forward::Group,
        stop: Stop::default(),
        agent: None,
        termination_message: None,
        groups: Vec::new(),
    }
}

/// A port on which nobody listens: the lowest one, which no test can bind by chance.
fn closed_port() -> u16 {
    1
}

/// The plan, with a server of the test's own behind its port, so that it is ready at once.
pub(crate) fn ready(mut plan: Plan) -> Plan {
    plan.port = serve(|_| b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec()).port();
    plan
}

/// Answers every connection with what `respond` makes of the head of the request.
pub(crate) fn serve(respond: impl Fn(&str) -> Vec<u8> + Send + 'static) -> SocketAddr {
    serve_on("127.0.0.1:0", respond)
}

/// The same on an address of choice.
pub(crate) fn serve_on(address: &str, respond: impl Fn(&str) -> Vec<u8> + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind(address).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let mut head = Vec::new();
            let mut byte = [0u8];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
                head.push(byte[0]);
            }
            // A probe that has seen enough goes away.
            let _ = stream.write_all(&respond(&String::from_utf8_lossy(&head)));
        }
    });
    address
}

/// A running barge-init; nothing of it is left when this is dropped.
pub(crate) struct Init {
    pub(crate) directory: PathBuf,
    _temporary: TempDir,
    child: Child,
    instance: String,
}

impl Init {
    /// Starts barge-init with `plan`.
    pub(crate) fn start(plan: &Plan) -> Self {
        let temporary = TempDir::new().unwrap();
        Self::start_in(temporary.path().to_owned(), temporary, plan, Command::new(PROGRAM))
    }

    /// Starts barge-init from a shell that has first run `before`.
    pub(crate) fn start_after(before: &str, plan: &Plan) -> Self {
        let temporary = TempDir::new().unwrap();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &format!("{before}; exec \"$0\" \"$@\""), PROGRAM]);
        Self::start_in(temporary.path().to_owned(), temporary, plan, command)
    }

    /// Starts `command` with the arguments of a run in `directory`, which lies in `temporary`.
    pub(crate) fn start_in(directory: PathBuf, temporary: TempDir, plan: &Plan, mut command: Command) -> Self {
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        Self::start_as(directory, temporary, plan, command)
    }

    /// The same with the output that `command` has.
    pub(crate) fn start_as(directory: PathBuf, temporary: TempDir, plan: &Plan, mut command: Command) -> Self {
        std::fs::write(directory.join(files::PLAN), serde_json::to_vec(plan).unwrap()).unwrap();
        let child = command.arg("run").arg(&directory).stdin(Stdio::null()).spawn().unwrap();
        Self { directory, _temporary: temporary, child, instance: plan.instance.clone() }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// The status as the socket tells it, or from the file once barge-init has ended.
    pub(crate) fn status(&self) -> Option<Status> {
        Client::connect(&self.directory).and_then(|mut client| client.status()).ok().or_else(|| self.file())
    }

    /// The status file.
    pub(crate) fn file(&self) -> Option<Status> {
        serde_json::from_slice(&std::fs::read(self.directory.join(files::STATUS)).ok()?).ok()
    }

    /// Waits for a status that fits.
    pub(crate) fn wait(&self, what: &str, fits: impl Fn(&Status) -> bool) -> Status {
        let mut last = None;
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually(what, || {
                last = self.status();
                last.clone().filter(|status| fits(status))
            })
        }));
        found.unwrap_or_else(|_| panic!("waited in vain for: {what}; last: {last:#?}"))
    }

    pub(crate) fn wait_phase(&self, phase: Phase) -> Status {
        self.wait(&format!("{phase:?}"), |status| status.phase == phase)
    }

    /// Waits until the output holds `text`.
    pub(crate) fn wait_output(&self, text: &str) -> String {
        eventually(&format!("{text:?} in the output"), || Some(self.output()).filter(|output| output.contains(text)))
    }

    pub(crate) fn output(&self) -> String {
        std::fs::read_to_string(self.directory.join(files::LOG)).unwrap_or_default()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    pub(crate) fn stop(&self, request: StopRequest) {
        let mut client = Client::connect(&self.directory).unwrap();
        client.send(&Request::Stop(request)).unwrap();
        client.next_status().unwrap();
    }

    /// Whether it has ended: its exit code.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        self.child.try_wait().unwrap().map(|status| status.code().unwrap_or(-1))
    }

    /// Waits for barge-init's end: its exit code and what it wrote to standard error.
    pub(crate) fn exit(&mut self) -> (i32, String) {
        let status = eventually("barge-init's end", || self.child.try_wait().unwrap());
        let mut text = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        (status.code().unwrap_or(-1), text)
    }
}

impl Drop for Init {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        barge_init::processes::end_leftovers_of(&self.instance, self.file().as_ref());
    }
}

/// A stop without a wait for silence.
pub(crate) fn at_once(grace_ms: u64) -> StopRequest {
    StopRequest { traffic: None, url: None, quiet_ms: 0, limit_ms: 0, grace_ms }
}

/// The timeline in one text, a line for each step.
pub(crate) fn timeline(status: &Status) -> String {
    status.timeline.iter().map(|entry| format!("{}\n", entry.what)).collect()
}

/// Whether a process exists and is not a zombie.
pub(crate) fn alive(pid: i32) -> bool {
    state(pid).is_some_and(|state| state != "Z")
}

/// The processes whose parent is `parent`, with their states.
pub(crate) fn children(parent: i32) -> Vec<(i32, String)> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| field(*pid, 1).is_some_and(|value| value == parent.to_string()))
        .filter_map(|pid| Some((pid, state(pid)?)))
        .collect()
}

/// How long a process has had a CPU, its children not counted, in hundredths of a second.
pub(crate) fn ticks(pid: i32) -> u64 {
    let number = |at: usize| field(pid, at).unwrap().parse::<u64>().unwrap();
    number(11) + number(12)
}

fn state(pid: i32) -> Option<String> {
    field(pid, 0)
}

fn field(pid: i32, number: usize) -> Option<String> {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(number).map(str::to_owned)
}
