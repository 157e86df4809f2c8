//! In a real ZooKeeper: one server, asked by a client of the tests' own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use barge_init::agent::{Registry, Secret};
use tempfile::TempDir;

use super::tree::Tree;
use super::{Rig, Running, Seen, TTL, a_life, a_restart, own_address, patiently, stays, wait};
use crate::agent::fakes::{Proxy, silent};
use crate::agent::{ID, agent, start, wait_state, zookeeper};

/// Debian's package, which names the jars that it needs.
const JAR: &str = "/usr/share/java/zookeeper.jar";

struct ZooKeeper {
    java: PathBuf,
    address: SocketAddr,
    process: Running,
    directory: TempDir,
}

impl ZooKeeper {
    /// Starts one where there is one to start.
    fn start() -> Option<Self> {
        let java = barge_testkit::tool("java")?;
        barge_testkit::tool(JAR)?;
        let address = (own_address(), 2181).into();
        let mut zookeeper = Self { java, address, process: Running(None), directory: TempDir::new().unwrap() };
        zookeeper.start_empty();
        Some(zookeeper)
    }

    /// Starts it with what it has on its disk.
    fn start_again(&mut self) {
        let (data, settings) = (self.directory.path().join("data"), self.directory.path().join("zoo.cfg"));
        let (ip, port) = (self.address.ip(), self.address.port());
        let text = format!(
            "tickTime=1000\ndataDir={}\nclientPortAddress={ip}\nclientPort={port}\nadmin.enableServer=false\n",
            data.display()
        );
        std::fs::write(&settings, text).unwrap();
        let mut command = Command::new(&self.java);
        command.args(["-Xmx64m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", JAR]);
        command.arg("org.apache.zookeeper.server.quorum.QuorumPeerMain").arg(settings);
        self.process = Running::start(&mut command);
        patiently("a session", || Tree::connect(self.address));
    }
}

fn path() -> String {
    format!("/barge/services/greeter/{ID}")
}

impl Rig for ZooKeeper {
    const NOT_READY: Seen = Seen::Absent;

    fn registry(&self) -> Registry {
        zookeeper(&[self.address])
    }

    fn seen(&self) -> Option<Seen> {
        let mut tree = Tree::connect(self.address)?;
        Some(if tree.data(&path())?.is_some() { Seen::Present } else { Seen::Absent })
    }

    fn kill(&mut self) {
        self.process.kill();
    }

    fn start_empty(&mut self) {
        let _ = std::fs::remove_dir_all(self.directory.path().join("data"));
        self.start_again();
    }
}

#[test]
fn a_life_in_zookeeper() {
    if let Some(zookeeper) = ZooKeeper::start() {
        a_life(&zookeeper);
    }
}

#[test]
fn a_zookeeper_that_is_killed_and_has_lost_everything() {
    if let Some(mut zookeeper) = ZooKeeper::start() {
        a_restart(&mut zookeeper);
    }
}

#[test]
fn a_session_outlives_a_restart_of_zookeeper() {
    let Some(mut zookeeper) = ZooKeeper::start() else { return };
    // Longer than the restart takes.
    let (handle, told) = start(&agent(zookeeper.registry(), 20_000));
    handle.ready(true, "");
    wait(&zookeeper, "registered", Seen::Present);
    let owner = Tree::connect(zookeeper.address).unwrap().owner(&path());
    zookeeper.kill();
    zookeeper.start_again();
    // The heartbeat that comes next finds the connection broken and takes up the session; nothing was away in between.
    stays(&zookeeper, Seen::Present, Duration::from_secs(8));
    assert_eq!(Tree::connect(zookeeper.address).unwrap().owner(&path()), owner);
    assert_eq!(told.lines().len(), 1, "{:?}", told.lines());
    let how = handle.leave(Duration::from_secs(10));
    assert!(how.starts_with("deregistered from"), "{how}");
}

#[test]
fn the_node_tells_what_the_plan_says_as_curator_does() {
    let Some(zookeeper) = ZooKeeper::start() else { return };
    let mut plan = agent(zookeeper.registry(), TTL);
    plan.tags = vec!["blue".to_owned()];
    plan.meta = [("zone".to_owned(), "a".to_owned())].into();
    let (handle, _) = start(&plan);
    handle.ready(true, "");
    wait(&zookeeper, "registered", Seen::Present);
    let data = Tree::connect(zookeeper.address).unwrap().data(&path()).unwrap().unwrap();
    let mut data: serde_json::Value = serde_json::from_slice(&data).unwrap();
    assert!(data["registrationTimeUTC"].take().as_i64().is_some_and(|time| time > 1_600_000_000_000), "{data}");
    let expected = serde_json::json!({
        "name": "greeter", "id": ID, "address": "127.0.0.1", "port": 8080, "sslPort": null,
        "payload": {"tags": ["blue"], "meta": {"zone": "a"}},
        "registrationTimeUTC": null, "serviceType": "DYNAMIC", "uriSpec": null,
    });
    assert_eq!(data, expected);
}

#[test]
fn a_node_of_an_earlier_session_of_the_instance_is_removed_first() {
    let Some(zookeeper) = ZooKeeper::start() else { return };
    let (earlier, _) = start(&agent(zookeeper.registry(), 40_000));
    earlier.ready(true, "");
    wait(&zookeeper, "registered", Seen::Present);
    let mut tree = Tree::connect(zookeeper.address).unwrap();
    let first = tree.owner(&path()).unwrap();
    // As after a kill: its session goes on for a while, and the node with it.
    drop(earlier);

    let (handle, _) = start(&agent(zookeeper.registry(), TTL));
    handle.ready(true, "");
    wait_state(&handle, "present");
    let second = tree.owner(&path()).unwrap();
    assert_ne!(first, second);

    // The same where the later one begins without being ready.
    let (third, _) = start(&agent(zookeeper.registry(), TTL));
    drop(handle);
    third.ready(false, "starting");
    wait_state(&third, "absent");
    assert_eq!(zookeeper.seen(), Some(Seen::Absent));
}

#[test]
fn a_node_that_somebody_has_removed_comes_back() {
    let Some(zookeeper) = ZooKeeper::start() else { return };
    let (handle, _) = start(&agent(zookeeper.registry(), TTL));
    handle.ready(true, "");
    wait(&zookeeper, "registered", Seen::Present);
    let mut tree = Tree::connect(zookeeper.address).unwrap();
    assert!(tree.delete(&path()));
    assert_eq!(zookeeper.seen(), Some(Seen::Absent));
    wait(&zookeeper, "back with a heartbeat", Seen::Present);
}

#[test]
fn a_session_that_has_expired_is_begun_anew() {
    let Some(zookeeper) = ZooKeeper::start() else { return };
    let proxy = Proxy::start(zookeeper.address);
    let (handle, _) = start(&agent(crate::agent::zookeeper(&[proxy.address]), TTL));
    handle.ready(true, "");
    wait(&zookeeper, "registered", Seen::Present);
    let first = Tree::connect(zookeeper.address).unwrap().owner(&path());
    proxy.part(true);
    wait(&zookeeper, "expired", Seen::Absent);
    wait_state(&handle, "when it answered last; now: ");
    proxy.part(false);
    wait(&zookeeper, "registered anew", Seen::Present);
    let second = Tree::connect(zookeeper.address).unwrap().owner(&path());
    assert!(second.is_some() && first != second, "{first:?} {second:?}");
    // And the new session is kept alive like the first one.
    stays(&zookeeper, Seen::Present, Duration::from_millis(TTL + TTL / 2));
}

#[test]
fn servers_that_are_away_or_silent_are_passed_over() {
    let Some(zookeeper) = ZooKeeper::start() else { return };
    let nobody = ([127, 0, 0, 1], 1).into();
    for _ in 0..3 {
        // Whichever is asked first.
        let registry = crate::agent::zookeeper(&[nobody, silent(), zookeeper.address]);
        let (handle, _) = start(&agent(registry, TTL));
        handle.ready(true, "");
        wait(&zookeeper, "registered", Seen::Present);
        let how = handle.leave(Duration::from_secs(10));
        assert!(how.starts_with("deregistered from"), "{how}");
        assert_eq!(zookeeper.seen(), Some(Seen::Absent));
    }
}

#[test]
fn a_token_makes_the_node_our_own() {
    let Some(zookeeper) = ZooKeeper::start() else { return };
    let mut plan = agent(zookeeper.registry(), TTL);
    plan.token = Some(Secret::from("barge:s3cret".to_owned()));
    let (handle, _) = start(&plan);
    handle.ready(true, "");
    wait(&zookeeper, "registered, for everybody to read", Seen::Present);
    let mut stranger = Tree::connect(zookeeper.address).unwrap();
    assert!(!stranger.write(&path(), b"mine"), "a stranger has changed it");
    let how = handle.leave(Duration::from_secs(10));
    assert!(how.starts_with("deregistered from"), "{how}");
}
