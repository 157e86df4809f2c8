//! Replicas and a Lease on a real Kubernetes.

use std::time::Duration;

use barge_lease::clock::Moment;
use barge_lease::election::DURATION;
use barge_lease::{Fence, Health, Holder, Tenure, lead, watch};
use barge_world::{PATIENCE, Place};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, PostParams};
use kube::client::ClientBuilder;
use kube::{Api, Client};
use tokio::sync::{mpsc, watch as channel};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A replica that tells when it begins to lead.
struct Replica {
    task: JoinHandle<()>,
    shutdown: CancellationToken,
    health: channel::Sender<String>,
    begins: mpsc::UnboundedReceiver<Tenure>,
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Replica {
    fn start(place: &Place, identity: &str) -> Self {
        let (health, says) = channel::channel(String::new());
        let (began, begins) = mpsc::unbounded_channel();
        let shutdown = CancellationToken::new();
        let holder = Holder {
            client: place.client.clone(),
            namespace: place.namespace.clone(),
            name: "tests".to_owned(),
            identity: identity.to_owned(),
            health: says,
        };
        let until = shutdown.clone();
        let task = tokio::spawn(async move {
            lead(&holder, &until, |tenure| {
                let _ = began.send(tenure);
                std::future::pending()
            })
            .await;
        });
        Self { task, shutdown, health, begins }
    }

    async fn leads(&mut self) -> Tenure {
        tokio::time::timeout(PATIENCE, self.begins.recv()).await.expect("it does not lead").unwrap()
    }
}

#[tokio::test]
async fn the_next_one_leads_when_the_leader_is_gone_and_not_before() {
    let Some(place) = Place::new("lease").await else { return };
    let mut first = Replica::start(&place, "first");
    let one = first.leads().await;
    let mut second = Replica::start(&place, "second");
    let mut third = Replica::start(&place, "third");

    let killed = Moment::now();
    drop(first);
    let (two, other) = tokio::select! {
        tenure = second.leads() => (tenure, &mut third),
        tenure = third.leads() => (tenure, &mut second),
    };
    // The last renewal may have been a little before the kill.
    let silent = Moment::now().since(killed);
    assert!(silent + Duration::from_secs(5) > DURATION, "it took the lead after {silent:?}");
    assert_eq!(two.epoch(), one.epoch() + 1);
    assert!(!one.holds(Moment::now()), "the first one's lead has ended by itself");
    assert!(two.holds(Moment::now()));
    assert!(other.begins.try_recv().is_err(), "both lead");
    place.end().await;
}

#[tokio::test]
async fn a_leader_that_ends_gives_the_lease_back_and_one_that_is_robbed_stops() {
    let Some(place) = Place::new("back").await else { return };
    let mut first = Replica::start(&place, "first");
    let one = first.leads().await;
    let mut second = Replica::start(&place, "second");
    first.shutdown.cancel();
    let begin = Moment::now();
    let two = second.leads().await;
    let waited = Moment::now().since(begin);
    assert!(waited < DURATION, "nobody has to wait for a lease that was given back: {waited:?}");
    assert!(!one.holds(Moment::now()) && two.epoch() == one.epoch() + 1);

    // Somebody writes another holder's name into it.
    let leases: Api<Lease> = place.api();
    loop {
        let mut lease = leases.get("tests").await.unwrap();
        lease.spec.as_mut().unwrap().holder_identity = Some("a thief".to_owned());
        if leases.replace("tests", &PostParams::default(), &lease).await.is_ok() {
            break;
        }
    }
    let again = second.leads().await;
    assert!(!two.holds(Moment::now()), "it went on as if it still led");
    assert!(again.epoch() > two.epoch());
    place.end().await;
}

#[tokio::test]
async fn others_hear_how_the_leader_is() {
    let Some(place) = Place::new("health").await else { return };
    let (told, mut hears) = channel::channel(Health::Well);
    let (client, namespace) = (place.client.clone(), place.namespace.clone());
    let watching = tokio::spawn(async move { watch(client, &namespace, "tests", &told).await });
    let mut wait = async |is: fn(&Health) -> bool, what: &str| {
        let heard = tokio::time::timeout(PATIENCE, hears.wait_for(is)).await;
        heard.unwrap_or_else(|_| panic!("waited in vain for: {what}")).unwrap().clone()
    };
    wait(|health| matches!(health, Health::Ill(_)), "nobody is there").await;
    let mut only = Replica::start(&place, "only");
    only.leads().await;
    wait(|health| *health == Health::Well, "well").await;
    only.health.send_replace("the gateway does not answer".to_owned());
    wait(|health| *health == Health::Ill("the gateway does not answer".to_owned()), "what it says of itself").await;
    only.health.send_replace(String::new());
    wait(|health| *health == Health::Well, "well again").await;
    drop(only);
    let ill = wait(|health| matches!(health, Health::Ill(_)), "its silence").await;
    assert_eq!(ill, Health::Ill("only, which holds the Lease tests, does not renew it".to_owned()));
    watching.abort();
    place.end().await;
}

#[tokio::test]
async fn the_fence_lets_reads_through_and_no_write_after_the_end() {
    let Some(place) = Place::new("fence").await else { return };
    let behind = |tenure: &Tenure| -> Client {
        ClientBuilder::try_from(place.config.clone()).unwrap().with_layer(&Fence::new(tenure.clone())).build()
    };
    let map = |name: &str| ConfigMap {
        metadata: kube::api::ObjectMeta { name: Some(name.to_owned()), ..Default::default() },
        ..ConfigMap::default()
    };
    let lasts = Tenure::of_one_alone();
    let maps: Api<ConfigMap> = Api::namespaced(behind(&lasts), &place.namespace);
    maps.create(&PostParams::default(), &map("one")).await.unwrap();

    let over = Tenure::new(7, Moment::now());
    let maps: Api<ConfigMap> = Api::namespaced(behind(&over), &place.namespace);
    maps.get("one").await.unwrap();
    for refused in [
        maps.create(&PostParams::default(), &map("two")).await.map(drop),
        maps.delete("one", &DeleteParams::default()).await.map(drop),
        maps.replace("one", &PostParams::default(), &map("one")).await.map(drop),
    ] {
        let error = refused.unwrap_err();
        assert!(error.to_string().contains("the lead of epoch 7 is over"), "{error}");
    }
    assert!(maps.get_opt("two").await.unwrap().is_none());
    maps.get("one").await.unwrap();
    place.end().await;
}
