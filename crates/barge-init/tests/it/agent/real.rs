//! The lives that an instance can have in a registry, each of them in a real Consul, a real ZooKeeper and a real gateway.

mod consul;
mod gateway;
mod tree;
mod zookeeper;

use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use barge_init::agent::{Agent, Registry};

use super::{Told, agent, start, wait_state};
use crate::support::eventually;

/// A heartbeat comes three times as often. Long enough that a busy machine does not miss all of them.
const TTL: u64 = 6000;

/// What consumers see of the instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// It is not in the registry, or not for consumers.
    Absent,
    /// It is there and marked as one not to be used.
    Failing,
    /// It is there to be used.
    Present,
}

/// A registry that runs, and is asked by other means than the agent's.
trait Rig {
    /// What an instance is that is not ready.
    const NOT_READY: Seen;

    /// As the plan names it.
    fn registry(&self) -> Registry;

    /// The plan's part.
    fn agent(&self) -> Agent {
        agent(self.registry(), TTL)
    }

    /// What consumers see; nothing while it does not answer.
    fn seen(&self) -> Option<Seen>;

    /// Kills it, as a power cut would.
    fn kill(&mut self);

    /// Starts it again where it was, with nothing of what it knew.
    fn start_empty(&mut self);
}

#[track_caller]
fn wait(rig: &impl Rig, what: &str, seen: Seen) {
    eventually(&format!("{what} ({seen:?})"), || (rig.seen() == Some(seen)).then_some(()));
}

/// Ready, not ready, ready again, gone, and gone it stays.
fn a_life<T: Rig>(rig: &T) {
    let (handle, told) = start(&rig.agent());
    assert_eq!(rig.seen(), Some(Seen::Absent));
    handle.ready(true, "");
    wait(rig, "registered once ready", Seen::Present);
    handle.ready(false, "GET /healthcheck: 503");
    wait(rig, "not ready", T::NOT_READY);
    wait_state(&handle, "GET /healthcheck: 503");
    handle.ready(true, "");
    wait(rig, "ready again", Seen::Present);
    // Longer than the registry would wait for a heartbeat.
    stays(rig, Seen::Present, Duration::from_millis(TTL + TTL / 2));

    let how = handle.leave(Duration::from_secs(10));
    assert!(how.starts_with("deregistered from "), "{how}");
    assert_eq!(rig.seen(), Some(Seen::Absent), "told as done before it was");
    handle.ready(true, "");
    stays(rig, Seen::Absent, Duration::from_millis(TTL));
    check_told(&told, &how);
}

/// The registry is killed, and comes back with nothing.
fn a_restart<T: Rig>(rig: &mut T) {
    let (handle, told) = start(&rig.agent());
    handle.ready(true, "");
    wait(rig, "registered", Seen::Present);
    // Consumers may see it before the agent hears of it.
    eventually("an acknowledgement", || (!handle.state().starts_with("not registered")).then_some(()));
    rig.kill();
    wait_state(&handle, "when it answered last; now: ");
    rig.start_empty();
    let back = Instant::now();
    wait(rig, "registered anew", Seen::Present);
    // A heartbeat, and what a busy machine needs besides.
    assert!(back.elapsed() < Duration::from_millis(TTL / 3 + 3000), "it took {:?}", back.elapsed());

    // While it is away, the instance changes, and the registry hears of that as well.
    rig.kill();
    handle.ready(false, "GET /healthcheck: 503");
    rig.start_empty();
    wait(rig, "told what changed meanwhile", T::NOT_READY);
    wait_state(&handle, "GET /healthcheck: 503");

    // Away when the instance leaves: the wait is bounded, and what was not done is done later.
    rig.kill();
    let begin = Instant::now();
    let how = handle.leave(Duration::from_secs(1));
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    assert!(how.starts_with("not deregistered from ") && how.ends_with("(waited 1 s)"), "{how}");
    rig.start_empty();
    // "not deregistered from ... yet" has the same words in it.
    eventually("deregistered", || handle.state().starts_with("deregistered from ").then_some(()));
    stays(rig, Seen::Absent, Duration::from_millis(TTL / 2));
    check_told(&told, &handle.state());
}

#[track_caller]
fn stays(rig: &impl Rig, seen: Seen, span: Duration) {
    let end = Instant::now() + span;
    while Instant::now() < end {
        assert_eq!(rig.seen(), Some(seen));
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[track_caller]
fn check_told(told: &Told, last: &str) {
    eventually(&format!("told of: {last}"), || (told.lines().last().map(String::as_str) == Some(last)).then_some(()));
    let lines = told.lines();
    assert!(lines.windows(2).all(|pair| pair[0] != pair[1]), "{lines:?}");
}

/// An address that no other test's registry has: outside of what the local engine gives to instances.
fn own_address() -> Ipv4Addr {
    static COUNT: AtomicU8 = AtomicU8::new(1);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 32 + (high & 31), low, COUNT.fetch_add(1, Ordering::SeqCst))
}

/// A process that is killed when this is dropped.
struct Running(Option<Child>);

impl Running {
    fn start(command: &mut Command) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Self(Some(child))
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.0.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits for a registry to start, which a busy machine may take long for.
#[track_caller]
fn patiently<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(90);
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
