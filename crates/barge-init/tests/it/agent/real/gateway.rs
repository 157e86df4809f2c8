//! In a real gateway: its registration API over its table, in a runtime of the test's own.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use barge_gateway::{Put, PutState, Table};
use barge_init::agent::{Agent, Registry};
use barge_model::ServiceKey;
use tokio::runtime::Runtime;

use super::{Rig, Seen, TTL, a_life, a_restart, own_address, wait};
use crate::agent::{ID, address, agent, protocol, start, wait_state};

const TOKEN: &str = "s3cret";

struct Gateway {
    address: SocketAddr,
    table: Arc<Table>,
    runtime: Option<Runtime>,
    token: tempfile::TempDir,
}

impl Gateway {
    fn start() -> Self {
        let token = tempfile::TempDir::new().unwrap();
        std::fs::write(token.path().join("token"), TOKEN).unwrap();
        let table = Arc::new(Table::in_memory());
        let mut gateway = Self { address: (own_address(), 8400).into(), table, runtime: None, token };
        gateway.start_empty();
        gateway
    }

    /// What is registered.
    fn put(&self) -> Option<Put> {
        let (_, list) = self.table.list(&key());
        list.into_iter().find(|listed| listed.uid.as_str() == ID).map(|listed| listed.put)
    }
}

fn key() -> ServiceKey {
    ServiceKey::new("test".parse().unwrap(), "greeter".parse().unwrap())
}

impl Rig for Gateway {
    const NOT_READY: Seen = Seen::Failing;

    fn registry(&self) -> Registry {
        protocol(self.address)
    }

    fn agent(&self) -> Agent {
        Agent { token_file: Some(self.token.path().join("token")), ..agent(self.registry(), TTL) }
    }

    fn seen(&self) -> Option<Seen> {
        Some(match self.put().map(|put| put.state) {
            Some(PutState::Online) => Seen::Present,
            Some(PutState::Offline) => Seen::Failing,
            Some(PutState::Terminal) | None => Seen::Absent,
        })
    }

    fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(10));
        }
    }

    fn start_empty(&mut self) {
        self.table = Arc::new(Table::in_memory());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = TcpListener::bind(self.address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let router = barge_gateway::api::router(Arc::clone(&self.table), TOKEN);
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, router).await.unwrap();
        });
        self.runtime = Some(runtime);
    }
}

#[test]
fn a_life_in_a_gateway() {
    a_life(&Gateway::start());
}

#[test]
fn a_gateway_that_is_killed_and_has_lost_everything() {
    a_restart(&mut Gateway::start());
}

#[test]
fn the_gateway_is_told_what_the_plan_says() {
    let gateway = Gateway::start();
    let mut plan = gateway.agent();
    plan.meta = [("zone".to_owned(), "a".to_owned())].into();
    let (handle, _) = start(&plan);
    handle.ready(true, "");
    wait(&gateway, "registered", Seen::Present);
    let meta = [("zone".to_owned(), "a".to_owned())].into();
    let expected = Put { address: address(), generation: 1, epoch: 0, state: PutState::Online, weight: 1, meta };
    assert_eq!(gateway.put(), Some(expected));
}

#[test]
fn a_later_message_about_the_instance_is_passed_and_its_end_is_final() {
    let gateway = Gateway::start();
    let (handle, _) = start(&gateway.agent());
    handle.ready(true, "");
    wait(&gateway, "registered", Seen::Present);
    // An earlier life of the same instance had changed more often.
    let put = |generation, state| Put { generation, state, ..gateway.put().unwrap() };
    gateway.table.put(&key(), &ID.parse().unwrap(), put(40, PutState::Offline)).unwrap();
    wait(&gateway, "online again with a heartbeat", Seen::Present);
    assert_eq!(gateway.put().unwrap().generation, 41);

    gateway.table.put(&key(), &ID.parse().unwrap(), put(50, PutState::Terminal)).unwrap();
    let state = wait_state(&handle, "ended by ");
    assert_eq!(gateway.seen(), Some(Seen::Absent));
    assert_eq!(handle.leave(Duration::from_secs(60)), state);
}

#[test]
fn a_wrong_token_is_told_of_and_not_shown() {
    let gateway = Gateway::start();
    std::fs::write(gateway.token.path().join("token"), "wr0ng").unwrap();
    let (handle, _) = start(&gateway.agent());
    handle.ready(true, "");
    let state = wait_state(&handle, "it answered 401");
    assert!(!state.contains("wr0ng"), "{state}");
    std::fs::write(gateway.token.path().join("token"), TOKEN).unwrap();
    wait(&gateway, "registered", Seen::Present);
}

#[test]
fn a_container_that_is_started_again_serves_again() {
    let gateway = Gateway::start();
    a_life(&gateway);
    let (handle, _) = start(&gateway.agent());
    handle.ready(true, "");
    let state = wait_state(&handle, "online in ");
    let (_, list) = gateway.table.list(&key());
    let online: Vec<_> = list.iter().filter(|listed| listed.put.state == PutState::Online).collect();
    assert!(online.len() == 1 && state.contains(online[0].uid.as_str()), "{state}: {list:?}");
    handle.leave(Duration::from_secs(10));
    let (_, list) = gateway.table.list(&key());
    assert!(list.iter().all(|listed| listed.put.state == PutState::Terminal), "{list:?}");
}
