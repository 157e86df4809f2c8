//! Desired states as resources.

use barge_crds::{RpcService, ServiceResource, WebService};
use barge_engine::{Desired, Engine, EngineError};
use barge_model::manifest::Kind;
use barge_model::rollout::{RolloutSpec, WaitingOn};
use barge_runtime::chain;
use barge_world::{Place, approval, key, release};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use crate::support::{engine, wait};

fn desired(version: u64, replicas: u32, number: u128) -> Desired {
    let target = Some(release(number));
    Desired { key: key(), version, rollout: RolloutSpec { replicas, target, ..RolloutSpec::default() } }
}

#[tokio::test]
async fn what_was_applied_is_reported_at_once_and_an_older_state_is_refused() {
    let Some(place) = Place::new("apply").await else { return };
    let engine = engine(&place, &place.namespace, &["test"]);
    assert_eq!(engine.report(&key()).await.unwrap(), None, "nothing was ever applied");
    assert!(engine.reports().await.unwrap().is_empty());
    for version in 1..20 {
        engine.apply(desired(version, version.try_into().unwrap(), 1)).await.unwrap();
        let report = engine.report(&key()).await.unwrap().unwrap();
        assert_eq!(u64::from(report.replicas), version);
    }
    // The same again is fine, and changes nothing.
    let services: Api<WebService> = place.api();
    let before = services.get("greeter").await.unwrap();
    engine.apply(desired(19, 19, 1)).await.unwrap();
    assert_eq!(services.get("greeter").await.unwrap(), before);
    let stale = engine.apply(desired(18, 18, 1)).await;
    assert!(matches!(stale, Err(EngineError::Stale { given: 18, stored: 19, .. })), "{stale:?}");
    // Another engine, which knows nothing yet.
    let other = crate::support::engine(&place, &place.namespace, &["test"]);
    let stale = other.apply(desired(1, 1, 1)).await;
    assert!(matches!(stale, Err(EngineError::Stale { given: 1, stored: 19, .. })), "{stale:?}");
    place.end().await;
}

#[tokio::test]
async fn of_states_that_are_applied_at_once_the_latest_stays() {
    let Some(place) = Place::new("race").await else { return };
    let engines = [(); 2].map(|()| engine(&place, &place.namespace, &["test"]));
    for round in 0..5u64 {
        let all = (1..=8).map(|number| {
            let engine = &engines[usize::from(number % 2 == 0)];
            let version = round * 8 + u64::from(number);
            async move { (version, engine.apply(desired(version, number, 1)).await) }
        });
        let ends = futures_util::future::join_all(all).await;
        for (version, end) in &ends {
            assert!(matches!(end, Ok(()) | Err(EngineError::Stale { .. })), "{version}: {end:?}");
        }
        assert!(ends[7].1.is_ok());
        let services: Api<WebService> = place.api();
        let spec = services.get("greeter").await.unwrap().spec.service;
        assert_eq!((spec.version, spec.replicas), (i64::try_from(round * 8 + 8).unwrap(), 8));
    }
    place.end().await;
}

#[tokio::test]
async fn an_autoscaler_s_number_stays_until_a_person_says_another() {
    let Some(place) = Place::new("scale").await else { return };
    let engine = engine(&place, &place.namespace, &["test"]);
    engine.apply(desired(1, 2, 1)).await.unwrap();
    let services: Api<WebService> = place.api();
    let scale = Patch::Merge(json!({ "spec": { "replicas": 7 } }));
    services
        .patch_scale("greeter", &PatchParams { field_manager: Some("autoscaler".into()), ..Default::default() }, &scale)
        .await
        .unwrap();
    wait(engine.as_ref(), "the autoscaler's number", |report| report.replicas == 7).await;
    // A release, and its approval, are no word about the number.
    engine.apply(desired(2, 2, 2)).await.unwrap();
    let mut approved = desired(3, 2, 2);
    approved.rollout.approvals.push(approval(approved.rollout.target.as_ref().unwrap()));
    engine.apply(approved.clone()).await.unwrap();
    let spec = services.get("greeter").await.unwrap().spec.service;
    assert_eq!((spec.version, spec.replicas, spec.approval.is_some()), (3, 7, true));
    engine
        .apply(Desired { version: 4, rollout: RolloutSpec { replicas: 3, ..approved.rollout }, ..approved })
        .await
        .unwrap();
    assert_eq!(services.get("greeter").await.unwrap().spec.service.replicas, 3);
    place.end().await;
}

#[tokio::test]
async fn the_kind_is_that_of_the_release_and_stays() {
    let Some(place) = Place::new("kind").await else { return };
    let engine = engine(&place, &place.namespace, &["test"]);
    // Nobody knows of which kind it will be.
    let nothing = |version, replicas| Desired {
        key: key(),
        version,
        rollout: RolloutSpec { replicas, ..RolloutSpec::default() },
    };
    engine.apply(nothing(2, 3)).await.unwrap();
    let report = engine.report(&key()).await.unwrap().unwrap();
    assert_eq!((report.version, report.replicas, &report.waiting_on), (2, 3, &WaitingOn::FirstRelease));
    assert!(matches!(engine.apply(nothing(1, 1)).await, Err(EngineError::Stale { stored: 2, .. })));
    let mut rpc = desired(3, 3, 1);
    if let Some(target) = &mut rpc.rollout.target {
        target.config.kind = Kind::Rpc;
    }
    engine.apply(rpc).await.unwrap();
    let services: Api<RpcService> = place.api();
    assert_eq!(services.get("greeter").await.unwrap().spec().replicas, 3);
    assert_eq!(engine.reports().await.unwrap().len(), 1);
    let error = engine.apply(desired(4, 3, 2)).await.unwrap_err();
    let text = chain(&error);
    assert!(text.contains("greeter is a RpcService in this cluster") && text.contains("hint: "), "{text}");
    // What is gone from the cluster is not reported any more.
    services.delete("greeter", &DeleteParams::default()).await.unwrap();
    let mut changes = engine.changes();
    let gone = async {
        while engine.report(&key()).await.unwrap().is_some() {
            changes.changed().await.unwrap();
        }
    };
    tokio::time::timeout(barge_world::PATIENCE, gone).await.unwrap();
    place.end().await;
}

#[tokio::test]
async fn a_namespace_that_is_missing_is_made() {
    let Some(place) = Place::new("missing").await else { return };
    let namespace = format!("bt-{}", std::process::id());
    let pattern = format!("{namespace}-{{environment}}");
    let first = engine(&place, &pattern, &["test", "uat"]);
    first.apply(desired(1, 1, 1)).await.unwrap();
    let namespaces: Api<Namespace> = Api::all(place.client.clone());
    let made = namespaces.get(&format!("{namespace}-test")).await.unwrap();
    assert_eq!(made.metadata.labels.unwrap()[barge_crds::names::ENVIRONMENT], "test");
    // Engines with different patterns see nothing of each other, though they see the same cluster and the same environment.
    let second = engine(&place, &place.namespace, &["test"]);
    assert_eq!(second.report(&key()).await.unwrap(), None);
    second.apply(desired(5, 5, 5)).await.unwrap();
    assert_eq!(first.report(&key()).await.unwrap().unwrap().replicas, 1);
    assert_eq!((first.reports().await.unwrap().len(), second.reports().await.unwrap().len()), (1, 1));
    // And one whose other environment has the same namespace does not take the service for its own.
    let third = engine(&place, &place.namespace, &["uat"]);
    assert!(third.reports().await.unwrap().is_empty());
    for name in ["test", "uat"] {
        let _ = namespaces.delete(&format!("{namespace}-{name}"), &DeleteParams::default()).await;
    }
    place.end().await;
}

#[tokio::test]
async fn what_may_not_be_done_is_told_with_what_to_do() {
    let Some(place) = Place::new("forbidden").await else { return };
    let mut config = place.config.clone();
    config.auth_info.impersonate = Some(format!("system:serviceaccount:{}:default", place.namespace));
    let client = kube::Client::try_from(config).unwrap();
    let settings = barge_engine_kube::Settings {
        client,
        namespaces: place.namespace.parse().unwrap(),
        environments: vec!["test".parse().unwrap()],
        images: None,
    };
    let engine = barge_engine_kube::KubernetesEngine::start(settings).unwrap();
    let text = chain(&engine.apply(desired(1, 1, 1)).await.unwrap_err());
    assert!(text.contains("apply the desired state of test/greeter: look for the "), "{text}");
    let text = chain(&engine.report(&key()).await.unwrap_err());
    assert!(
        text.contains("look at the environment test") && text.contains("forbidden") && text.contains("hint: kubectl"),
        "{text}"
    );
    engine.stop().await;
    assert!(matches!(engine.report(&key()).await, Err(EngineError::Stopping)));
    place.end().await;
}
