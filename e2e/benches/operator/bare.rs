//! The same writes without an operator: in a namespace that nobody looks after, whoever has written a specification stores a status, makes the
//! ConfigMap and makes the ReplicaSet, at once and with as many at a time as the operator has. That is the API server's share.

use std::time::Instant;

use barge_crds::WebService;
use barge_model::rollout::Role;
use barge_operator::build::{Nodes, Owner, Settings, config_map, replica_set};
use futures_util::StreamExt;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, Resource};
use tokio::sync::Semaphore;

use crate::figures::Times;
use crate::fleet::{Fleet, WRITERS, Wanted, remove, when_seen};
use crate::process::{BARGE_INIT, NODES, TOLERATED};

const NAMESPACE: &str = "barge-bench-bare";
/// As the operator.
const AT_ONCE: usize = 16;

/// From the answer to each write of a specification until its ReplicaSet was seen.
pub(crate) async fn releases(client: &Client, fleet: &Fleet, count: usize) -> Times {
    let mut bare = Fleet::new(client.clone(), NAMESPACE, count).await;
    bare.begin().await;
    bare.all.iter_mut().for_each(|one| one.release_anew(Default::default()));
    let room = Semaphore::new(AT_ONCE);
    let written = futures_util::stream::iter(&bare.all).map(async |one| {
        let _room = room.acquire().await.unwrap();
        let name = one.key.service.as_str();
        let patch = Patch::Merge(one.released());
        let service = bare.services().patch(name, &PatchParams::default(), &patch).await.unwrap();
        let answered = Instant::now();
        // As large as it would be.
        let service = WebService { status: Some(fleet.seen.status(name)), ..service };
        write(client, one, service).await;
        (one.set(), answered)
    });
    let sets: Vec<(String, Instant)> = written.buffer_unordered(WRITERS).collect().await;
    let times = when_seen(&bare.seen, &sets).await;
    drop(bare);
    remove(client, NAMESPACE).await;
    times
}

async fn write(client: &Client, one: &Wanted, service: WebService) {
    let reference = service.controller_owner_ref(&()).unwrap();
    let owner = Owner { namespace: NAMESPACE.to_owned(), reference, pods: Default::default() };
    let nodes = Nodes {
        selector: [(NODES.0.to_owned(), NODES.1.to_owned())].into(),
        tolerated: TOLERATED.map(str::to_owned).into(),
    };
    let settings = Settings { barge_init: BARGE_INIT.to_owned(), pull_secrets: Vec::new(), registrar: None, nodes };
    let map = config_map(&owner, &one.key, &one.release, &settings).unwrap();
    let set = replica_set(&owner, &one.key, &one.release, (Role::Candidate, 1), &settings).unwrap();
    let (parameters, name) = (PostParams::default(), one.key.service.as_str());
    let services: Api<WebService> = Api::namespaced(client.clone(), NAMESPACE);
    services.replace_status(name, &parameters, &service).await.unwrap();
    Api::<ConfigMap>::namespaced(client.clone(), NAMESPACE).create(&parameters, &map).await.unwrap();
    Api::<ReplicaSet>::namespaced(client.clone(), NAMESPACE).create(&parameters, &set).await.unwrap();
}
