//! Two operators as programs of their own, of which the one that leads stands still for longer than its lease.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use barge_crds::{ServiceStatus, WebService};
use barge_world::{Greeter, Place, approval, register};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt;
use kube::api::ListParams;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::turn;
use super::world::until;

struct Operator {
    child: Child,
    log: std::path::PathBuf,
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Operator {
    fn start(place: &Place, logs: &TempDir, identity: &str) -> Self {
        let log = logs.path().join(identity);
        let file = std::fs::File::create(&log).unwrap();
        let child = Command::new(barge_testkit::barge_binary())
            .args(["operator", "--barge-init", &place.barge_init, "--listen", "127.0.0.1:0"])
            .args(["--namespace", &place.namespace, "--home", &place.namespace, "--identity", identity])
            .arg("--kubeconfig")
            .arg(barge_testkit::cluster::kubeconfig().unwrap())
            .env("BARGE_LOG", "info")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .unwrap();
        Self { child, log }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    fn says(&self, text: &str) -> bool {
        std::fs::read_to_string(&self.log).unwrap().contains(text)
    }
}

async fn leader(greeter: &Greeter) -> Option<String> {
    let lease = greeter.api::<Lease>().get_opt("barge-operator").await.unwrap()?;
    lease.spec?.holder_identity
}

/// All that an operator writes, in the versions that there are.
async fn versions(greeter: &Greeter) -> Vec<(String, Option<String>)> {
    let sets = greeter.api::<ReplicaSet>().list(&ListParams::default()).await.unwrap().items;
    let services = greeter.api::<WebService>().list(&ListParams::default()).await.unwrap().items;
    let sets = sets.iter().map(|set| (set.name_any(), set.resource_version()));
    sets.chain(services.iter().map(|service| (service.name_any(), service.resource_version()))).collect()
}

#[tokio::test]
async fn a_leader_that_stood_still_writes_nothing_when_it_goes_on() {
    let _turn = turn().await;
    let Some(place) = Place::new("two").await else { return };
    let logs = tempfile::tempdir().unwrap();
    let first = Operator::start(&place, &logs, "first");
    let mut greeter = Greeter::new(place);
    until("the first one leads", async || leader(&greeter).await.as_deref() == Some("first")).await;
    let second = Operator::start(&greeter.place, &logs, "second");
    let registrar = tokio::spawn(register(greeter.api()));

    let one = greeter.release("1", "hello").await;
    greeter.want(2, &one, Some(approval(&one))).await;
    greeter.wait("two of the first", |status| status.available == 2 && status.stable.is_some()).await;
    let two = greeter.release("2", "good day").await;
    greeter.want(2, &two, None).await;
    greeter.wait("the gate", |status| status.waiting_on.on == "approval").await;

    // It stands still, with everything that it knows; the approval comes meanwhile, and another one carries it out.
    first.signal(Signal::SIGSTOP);
    greeter.want(2, &two, Some(approval(&two))).await;
    let complete = |status: &ServiceStatus| {
        status.stable.as_deref() == Some(two.id.as_str()) && status.instances.len() == 2 && status.available == 2
    };
    let before = greeter.wait("the second everywhere", complete).await;
    assert_eq!(leader(&greeter).await.as_deref(), Some("second"));
    let written = versions(&greeter).await;

    first.signal(Signal::SIGCONT);
    until("the first one has noticed", async || first.says("the lead is lost")).await;
    // It has had its chance: what it knew wanted the first release at full count.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(versions(&greeter).await, written, "a former leader has written");
    let after = greeter.wait("the same", complete).await;
    assert_eq!(after.epoch, before.epoch);
    assert_eq!(leader(&greeter).await.as_deref(), Some("second"));

    // And when the second one ends in good order, the first one leads again, at once, and goes on.
    second.signal(Signal::SIGTERM);
    until("the first one leads again", async || leader(&greeter).await.as_deref() == Some("first")).await;
    greeter.want(3, &two, Some(approval(&two))).await;
    let status = greeter.wait("three", |status| status.available == 3).await;
    assert!(status.epoch > after.epoch, "{} and {}", status.epoch, after.epoch);
    registrar.abort();
    greeter.delete_service().await;
    greeter.wait_empty().await;
    greeter.end().await;
}
