//! Releases under load on a real Kubernetes, with pods that ask the registrar before they stop.

mod watchdog;
mod world;

use barge_gateway::PutState;
use barge_model::Millis;
use barge_world::approval;
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use self::world::{World, condition, judge};

#[tokio::test]
async fn nobody_loses_a_request_over_a_release_a_deletion_and_a_rolling_end() {
    let Some(mut world) = World::new("online").await else { return };
    let first = world.release("1").await;
    world.want(3, &first, Some(approval(&first))).await;
    world.wait("three of the first", |status| status.available == 3 && status.stable.is_some()).await;
    assert_eq!(world.online(), 3);
    let load = world.load("rest");
    assert!(load.until_counted(200, barge_world::PATIENCE).await);

    load.phase("gate");
    let second = world.release("2").await;
    world.want(3, &second, None).await;
    world.wait("the gate", |status| status.waiting_on.on == "approval").await;
    load.phase("rest of the release");
    world.want(3, &second, Some(approval(&second))).await;
    let done = |status: &barge_crds::ServiceStatus| status.stable.as_deref() == Some(second.id.as_str());
    world.wait("only the second", |status| done(status) && status.instances.len() == 3 && status.available == 3).await;
    assert_eq!(world.watchdog.ends(), 3);

    load.phase("a pod is deleted by hand");
    let deleted = world.delete_pod().await;
    world.eventually("its end at the gateway", async || world.held(&deleted) == Some(PutState::Terminal)).await;
    let (status, told) = world.traffic(&deleted.uid().unwrap()).await;
    assert_eq!((status, told["acknowledged"].as_bool()), (200, Some(true)), "{told}");
    world.eventually("its end", async || world.watchdog.ends() == 4).await;
    world.wait("three again", |status| status.instances.len() == 3 && status.available == 3).await;

    load.phase("rolling end");
    world.want(1, &second, Some(approval(&second))).await;
    world.wait("one", |status| status.instances.len() == 1 && status.available == 1).await;
    world.eventually("two ends more", async || world.watchdog.ends() == 6).await;
    judge(&load.stop().await);

    let last = world.pods().await.remove(0);
    assert_eq!(world.traffic(&last.uid().unwrap()).await.1["in_flight"], 1, "requests may come");
    world.delete_service().await;
    world.eventually("no pods", async || world.pods().await.is_empty()).await;
    assert_eq!((world.online(), world.held(&last)), (0, Some(PutState::Terminal)));
    world
        .eventually("that nothing is known of it any more", async || world.traffic(&last.uid().unwrap()).await.0 == 404)
        .await;
    world.healthy().await;
    world.end().await;
}

#[tokio::test]
async fn a_registrar_that_has_lost_its_journal_takes_over_what_serves_and_what_is_gone() {
    let Some(mut world) = World::new("journal").await else { return };
    let mut first = world.release("1").await;
    // Nobody will be there who could say when it is out of traffic.
    first.config.drain.limit = Millis::from_secs(5);
    world.want(4, &first, Some(approval(&first))).await;
    world.wait("four", |status| status.available == 4 && status.stable.is_some()).await;
    let before = world.pods().await;
    let load = world.load("without a registrar");
    drop(world.end_registrar().await);
    let deleted = world.delete_pod().await;
    let is_gone = async || world.pods().await.iter().all(|pod| pod.uid() != deleted.uid());
    world.eventually("that the deleted one is gone", is_gone).await;
    assert_eq!(world.held(&deleted), Some(PutState::Online), "nobody has told the gateway");
    // Nobody asks whether it is out of traffic where nobody answers; the gateway finds another one for its requests.
    assert_eq!(world.watchdog.forgive().len(), 1);

    load.phase("with a new one");
    world.start_registrar().await;
    world.eventually("the end of the deleted one", async || world.held(&deleted) == Some(PutState::Terminal)).await;
    world.wait("four again", |status| status.available == 4).await;
    world.healthy().await;
    assert!(load.until_counted(200, barge_world::PATIENCE).await);
    let phases = load.stop().await;
    // What was on its way to the deleted one while nobody could take it out of traffic may be lost.
    println!("{:?}", phases[0]);
    judge(&phases[1..]);
    let after = world.pods().await;
    for pod in before.iter().filter(|pod| pod.uid() != deleted.uid()) {
        let now = after.iter().find(|one| one.uid() == pod.uid()).unwrap();
        assert_eq!(
            (world.held(now), condition(now)),
            (Some(PutState::Online), condition(pod)),
            "nobody has touched it"
        );
    }
    world.end().await;
}

#[tokio::test]
async fn a_process_that_is_told_to_stop_in_a_pod_that_nobody_deletes_is_out_of_traffic_before() {
    let Some(mut world) = World::new("told").await else { return };
    let first = world.release("1").await;
    world.want(2, &first, Some(approval(&first))).await;
    world.wait("two", |status| status.available == 2 && status.stable.is_some()).await;
    let load = world.load("told to stop");
    let pod = world.pods().await.remove(0);
    // As a node does that is shut down, or that is short of memory: SIGTERM, and no deletion.
    let _asking = world.stop_as_planned(&pod).await;
    world.eventually("offline", async || world.held(&pod) == Some(PutState::Offline)).await;
    world.eventually("its end", async || world.watchdog.ends() == 1).await;
    // Kubernetes starts another container in its place.
    world.eventually("online again", async || world.held(&pod) == Some(PutState::Online)).await;
    world.wait("two again", |status| status.available == 2).await;
    judge(&load.stop().await);
    world.end().await;
}

#[tokio::test]
async fn the_last_pod_of_a_service_that_has_vanished_unseen_is_gone_once_its_address_is_silent() {
    let Some(mut world) = World::new("vanished").await else { return };
    let mut first = world.release("1").await;
    first.config.drain.limit = Millis::from_secs(5);
    world.want(1, &first, Some(approval(&first))).await;
    world.wait("one", |status| status.available == 1 && status.stable.is_some()).await;
    let last = world.pods().await.remove(0);
    // Its service is still known where the journal was kept.
    let journal = world.end_registrar().await;
    world.delete_service().await;
    world.eventually("no pods", async || world.pods().await.is_empty()).await;
    world.watchdog.forgive();
    world.begin_registrar(journal).await;
    world.unhealthy("1 of 1 instances vanished at once").await;
    assert_eq!(world.held(&last), Some(PutState::Online), "an empty list alone proves nothing");
    world.eventually("its end", async || world.held(&last) == Some(PutState::Terminal)).await;
    world.healthy().await;
    world.end().await;
}

#[tokio::test]
async fn what_somebody_else_writes_into_the_condition_is_mended_and_another_pod_is_left_alone() {
    let Some(mut world) = World::new("mend").await else { return };
    let first = world.release("1").await;
    world.want(1, &first, Some(approval(&first))).await;
    world.wait("one", |status| status.available == 1 && status.stable.is_some()).await;
    let pod = world.pods().await.remove(0);
    let said = condition(&pod).unwrap();
    assert_eq!((said.status.as_str(), said.reason.as_deref()), ("True", Some("Acknowledged")));
    let pods: Api<k8s_openapi::api::core::v1::Pod> = world.place.api();
    let write = async |uid: &str| {
        let lie = json!({ "type": "barge.dev/online", "status": "False", "reason": "Lie" });
        let patch = json!({ "metadata": { "uid": uid }, "status": { "conditions": [lie] } });
        pods.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Strategic(patch)).await
    };
    let refused = write("123e4567-e89b-12d3-a456-426614174000").await.unwrap_err();
    let kube::Error::Api(status) = refused else { panic!("{refused}") };
    assert!(status.is_invalid() && status.message.contains("metadata.uid"), "another pod is meant: {status:?}");
    write(&pod.uid().unwrap()).await.unwrap();
    let is_mended =
        async || condition(&world.pods().await[0]).is_some_and(|said| said.reason.as_deref() == Some("Acknowledged"));
    world.eventually("that it is mended", is_mended).await;
    let (unknown, nonsense) =
        (world.traffic("123e4567-e89b-12d3-a456-426614174000").await.0, world.traffic("x").await.0);
    assert_eq!((unknown, nonsense), (404, 400));
    world.end().await;
}
