//! In a real Consul: one server that is its own agent, with everything in memory.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use barge_init::HttpAnswer;
use barge_init::agent::Registry;
use tempfile::TempDir;

use super::{Rig, Running, Seen, TTL, a_life, a_restart, own_address, patiently, wait};
use crate::agent::{ID, agent, consul, start};
use crate::support::eventually;

struct Consul {
    program: PathBuf,
    address: SocketAddr,
    process: Running,
    directory: TempDir,
}

impl Consul {
    /// Starts one where there is one to start.
    fn start() -> Option<Self> {
        let program = barge_testkit::tool("consul")?;
        let address = (own_address(), 8500).into();
        let directory = TempDir::new().unwrap();
        let mut consul = Self { program, address, process: Running(None), directory };
        consul.start_empty();
        Some(consul)
    }

    fn get(&self, path: &str) -> Option<serde_json::Value> {
        match barge_init::http_get(self.address, path, None, Duration::from_secs(2)) {
            Ok(HttpAnswer::Http { status: 200, body }) => serde_json::from_str(&body).ok(),
            _ => None,
        }
    }

    /// The instance's checks in the catalogue, which consumers ask.
    fn checks(&self) -> Option<serde_json::Value> {
        self.get("/v1/health/checks/greeter")
    }
}

impl Rig for Consul {
    const NOT_READY: Seen = Seen::Failing;

    fn registry(&self) -> Registry {
        consul(self.address)
    }

    fn seen(&self) -> Option<Seen> {
        let checks = self.checks()?;
        let own = checks.as_array()?.iter().find(|check| check["ServiceID"] == ID);
        Some(match own.map(|check| &check["Status"]) {
            Some(status) if status == "passing" => Seen::Present,
            Some(_) => Seen::Failing,
            None => Seen::Absent,
        })
    }

    fn kill(&mut self) {
        self.process.kill();
    }

    fn start_empty(&mut self) {
        let ip = self.address.ip().to_string();
        let mut command = Command::new(&self.program);
        command.args(["agent", "-dev", "-node", "test", "-bind", &ip, "-client", &ip, "-dns-port", "-1"]);
        command.args(["-grpc-port", "-1", "-serf-wan-port", "-1"]).current_dir(&self.directory);
        self.process = Running::start(&mut command);
        // It answers before it has a leader, who alone knows what is registered.
        patiently("a leader", || self.get("/v1/status/leader").filter(|leader| leader != ""));
    }
}

#[test]
fn a_life_in_consul() {
    if let Some(consul) = Consul::start() {
        a_life(&consul);
    }
}

#[test]
fn a_consul_that_is_killed_and_has_lost_everything() {
    if let Some(mut consul) = Consul::start() {
        a_restart(&mut consul);
    }
}

#[test]
fn an_instance_in_consul_that_is_killed_fails_by_itself() {
    let Some(consul) = Consul::start() else { return };
    let (handle, _) = start(&agent(consul.registry(), TTL));
    handle.ready(true, "");
    wait(&consul, "registered", Seen::Present);
    // As with the process: nothing is said any more.
    drop(handle);
    wait(&consul, "its time to live has passed", Seen::Failing);
}

#[test]
fn consul_tells_consumers_what_the_plan_says_and_why_an_instance_fails() {
    let Some(consul) = Consul::start() else { return };
    let mut plan = agent(consul.registry(), TTL);
    plan.tags = vec!["blue".to_owned()];
    plan.meta = [("zone".to_owned(), "a".to_owned())].into();
    let (handle, _) = start(&plan);
    handle.ready(false, "starting");
    wait(&consul, "not ready", Seen::Failing);
    // At the agent; the catalogue hears of an output alone only after minutes (Consul's check_update_interval).
    eventually("the first reason", || {
        (consul.get("/v1/agent/checks")?[format!("service:{ID}")]["Output"] == "starting").then_some(())
    });
    handle.ready(true, "");
    wait(&consul, "ready", Seen::Present);
    handle.ready(false, "GET /healthcheck: 503 & \"more\"");
    wait(&consul, "not ready any more", Seen::Failing);
    assert_eq!(consul.checks().unwrap()[0]["Output"], "GET /healthcheck: 503 & \"more\"");
    let services = consul.get("/v1/catalog/service/greeter").unwrap();
    let service = &services[0];
    // What is found on loopback is at the node's address for others.
    assert_eq!((&service["ServiceAddress"], &service["ServicePort"]), (&"".into(), &8080.into()), "{service}");
    assert_eq!(service["ServiceTags"], serde_json::json!(["blue"]), "{service}");
    assert_eq!(service["ServiceMeta"], serde_json::json!({"zone": "a"}), "{service}");
}

#[test]
fn a_service_that_somebody_has_removed_from_consul_comes_back() {
    let Some(consul) = Consul::start() else { return };
    let (handle, _) = start(&agent(consul.registry(), TTL));
    handle.ready(true, "");
    wait(&consul, "registered", Seen::Present);
    // Another agent of the same instance that says good-bye is somebody else.
    let (other, _) = start(&agent(consul.registry(), TTL));
    other.ready(true, "");
    crate::agent::wait_state(&other, "passing");
    other.leave(Duration::from_secs(10));
    wait(&consul, "removed", Seen::Absent);
    wait(&consul, "back with a heartbeat", Seen::Present);
}
