//! The agent, against registries of the tests' own and against real ones.
//!
//! `course` has no registry at all. `unanswered` is what every kind does without a good answer, `consul`, `protocol` and `zookeeper` what is
//! said word for word. `real` has the lives that an instance can have in a registry, each of them in a real Consul, ZooKeeper and gateway.

mod consul;
mod course;
mod fakes;
mod plan;
mod protocol;
mod real;
mod unanswered;
mod zookeeper;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use barge_init::agent::{Agent, Handle, Registry};

/// Where the instance is said to be.
pub(crate) fn address() -> SocketAddr {
    ([127, 0, 0, 1], 8080).into()
}

/// The instance's id.
pub(crate) const ID: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";

/// An agent for the service `greeter`; its heartbeat comes three times in so many milliseconds.
pub(crate) fn agent(registry: Registry, ttl_ms: u64) -> Agent {
    Agent {
        registry,
        service: "greeter".to_owned(),
        address: None,
        ttl_ms,
        tags: Vec::new(),
        meta: BTreeMap::new(),
        token: None,
        token_file: None,
    }
}

pub(crate) fn consul(address: impl ToString) -> Registry {
    Registry::Consul { address: address.to_string(), deregister_after_ms: 60_000 }
}

pub(crate) fn zookeeper(servers: &[SocketAddr]) -> Registry {
    let servers = servers.iter().map(ToString::to_string).collect();
    Registry::ZooKeeper { servers, path: "/barge/services".to_owned() }
}

pub(crate) fn protocol(address: impl ToString) -> Registry {
    Registry::Protocol { address: address.to_string(), environment: "test".to_owned(), epoch: 0, weight: 1 }
}

/// Starts the agent; whatever it tells is kept.
pub(crate) fn start(agent: &Agent) -> (Handle, Told) {
    let told = Told::default();
    let keep = Arc::clone(&told.0);
    let handle = agent.start(ID, Some(address()), move |words| keep.lock().unwrap().push(words.to_owned())).unwrap();
    (handle, told)
}

/// What an agent told of.
#[derive(Clone, Default)]
pub(crate) struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// Waits until the state has `text` in it.
#[track_caller]
pub(crate) fn wait_state(handle: &Handle, text: &str) -> String {
    crate::support::eventually(&format!("{text:?}, last {:?}", handle.state()), || {
        Some(handle.state()).filter(|state| state.contains(text))
    })
}
