//! The plan's part: what can be said, and what is refused.

use barge_init::Plan;
use barge_init::agent::{Agent, Registry};
use serde_json::{Value, json};

use super::{ID, agent, consul, protocol, wait_state};

fn read(value: Value) -> Result<Agent, String> {
    serde_json::from_value(value).map_err(|error| error.to_string())
}

#[test]
fn the_least_that_can_be_said() {
    let agent = read(json!({"service": "s", "registry": {"kind": "consul", "address": "127.0.0.1:8500"}})).unwrap();
    assert_eq!(agent.registry, consul("127.0.0.1:8500"));
    assert_eq!((agent.ttl_ms, agent.address, agent.token), (15_000, None, None));
    let agent = read(json!({"service": "s", "registry": {"kind": "zookeeper", "servers": ["a:1"]}})).unwrap();
    assert_eq!(agent.registry, Registry::ZooKeeper { servers: vec!["a:1".to_owned()], path: "/services".to_owned() });
    let registry = json!({"kind": "protocol", "address": "a:1", "environment": "test"});
    assert_eq!(read(json!({"service": "s", "registry": registry})).unwrap().registry, protocol("a:1"));
}

#[test]
fn what_is_written_is_read_again() {
    let mut plan = agent(protocol("a:1"), 2000);
    plan.token = Some("t0ken".to_owned().into());
    plan.tags = vec!["blue".to_owned()];
    assert_eq!(read(serde_json::to_value(&plan).unwrap()).unwrap(), plan);
    let whole = json!({"instance": "x", "main": {"command": ["true"]}, "agent": plan});
    assert_eq!(serde_json::from_value::<Plan>(whole).unwrap().agent, Some(plan));
}

#[test]
fn unknown_words_are_refused() {
    let registry = json!({"kind": "consul", "address": "a:1"});
    for wrong in [
        json!({"service": "s", "registry": registry, "ttl": 3}),
        json!({"service": "s", "registry": {"kind": "consul", "address": "a:1", "servers": []}}),
        json!({"service": "s", "registry": {"kind": "consul"}}),
        json!({"service": "s", "registry": {"kind": "nacos", "address": "a:1"}}),
        json!({"registry": registry}),
    ] {
        assert!(read(wrong.clone()).is_err(), "{wrong}");
    }
}

#[test]
fn what_makes_no_sense_is_refused_in_words() {
    let good = || agent(consul("127.0.0.1:8500"), 3000);
    let with = |change: fn(&mut Agent)| {
        let mut agent = good();
        change(&mut agent);
        agent
    };
    let zookeeper = |servers: &[&str], path: &str| {
        let servers = servers.iter().map(|server| (*server).to_owned()).collect();
        agent(Registry::ZooKeeper { servers, path: path.to_owned() }, 3000)
    };
    assert!(good().check().is_ok());
    assert!(zookeeper(&["a:1", "b:2"], "/").check().is_ok());
    assert!(zookeeper(&["[::1]:2181"], "/a/b").check().is_ok());
    let table = [
        (with(|agent| agent.ttl_ms = 999), "not between a second and a day"),
        (with(|agent| agent.ttl_ms = u64::MAX), "not between a second and a day"),
        (with(|agent| agent.service = "a/b".to_owned()), "a service's name"),
        (with(|agent| agent.service = String::new()), "a service's name"),
        (with(|agent| agent.service = "..".to_owned()), "a service's name"),
        (with(|agent| agent.registry = consul("127.0.0.1")), "is not HOST:PORT"),
        (with(|agent| agent.registry = consul(":8500")), "is not HOST:PORT"),
        (with(|agent| agent.registry = consul("http://a:x")), "is not HOST:PORT"),
        (zookeeper(&[], "/"), "needs servers"),
        (zookeeper(&["a"], "/"), "is not HOST:PORT"),
        (zookeeper(&["a:1"], ""), "none of ZooKeeper's"),
        (zookeeper(&["a:1"], "a"), "none of ZooKeeper's"),
        (zookeeper(&["a:1"], "/a/"), "none of ZooKeeper's"),
        (zookeeper(&["a:1"], "/a//b"), "none of ZooKeeper's"),
    ];
    for (agent, words) in table {
        let error = agent.check().unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    let mut two = good();
    two.token = Some("t0ken".to_owned().into());
    two.token_file = Some("/token".into());
    assert!(two.check().unwrap_err().to_string().contains("a token and a file"));
}

#[test]
fn the_address_to_tell_is_the_plans_or_the_instances_own() {
    let own = Some(([10, 0, 0, 1], 8080).into());
    let fake = super::fakes::Recorder::start(|_| (200, "{}".to_owned()));
    for (given, own, expected) in [
        (None, own, "10.0.0.1:8080"),
        (Some("192.0.2.7:9090"), own, "192.0.2.7:9090"),
        (Some("192.0.2.7"), own, "192.0.2.7:8080"),
        (Some("[2001:db8::1]:9090"), None, "[2001:db8::1]:9090"),
        (Some("2001:db8::1"), own, "[2001:db8::1]:8080"),
    ] {
        let mut plan = agent(protocol(fake.address), 3000);
        plan.address = given.map(str::to_owned);
        let handle = plan.start(ID, own, |_| {}).unwrap();
        handle.ready(true, "");
        wait_state(&handle, "online");
        assert_eq!(fake.asked().last().unwrap().json()["address"], expected);
    }
    for (given, own, words) in [
        (None, None, "no address to tell"),
        (Some("192.0.2.7"), None, "is not ADDRESS:PORT"),
        (Some("$NO_SUCH_VARIABLE:80"), own, "\"$NO_SUCH_VARIABLE:80\""),
        (Some("example.com:80"), own, "is not ADDRESS:PORT"),
    ] {
        let mut plan = agent(protocol(fake.address), 3000);
        plan.address = given.map(str::to_owned);
        let error = plan.start(ID, own, |_| {}).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn an_instance_whose_id_could_mean_something_else_is_refused() {
    let error = agent(consul("a:1"), 3000).start("../x", Some(super::address()), |_| {}).unwrap_err();
    assert!(error.to_string().contains("an instance's id"), "{error}");
}
