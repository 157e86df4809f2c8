//! The operator on a real Kubernetes: images that nodes pull from a registry, pods that run, and barge-init in them.
//!
//! Who sets the readiness gate here is a stand-in for the registrar: whatever is ready is online.

mod autoscale;
mod cases;
mod fuse;
mod refusals;
mod world;

use barge_crds::{ServiceSpec, WebService, WebServiceSpec};
use barge_model::ServiceKey;
use barge_model::manifest::{Memory, MilliCpu, Resources};
use barge_model::rollout::{RolloutSpec, Withdrawal};
use barge_world::{approval, key};
use futures_util::StreamExt;
use k8s_openapi::api::core::v1::ResourceQuota;
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, PostParams};
use kube::core::ApiResource;
use serde_json::{Value, json};

use self::fuse::{Fuse, Moment};
use self::refusals::Refusals;
use self::world::World;

/// Set to a number to kill the operator at each of its writes from there on, and not at some of them: 1 for all.
const POINTS: &str = "BARGE_OPERATOR_POINTS";

#[tokio::test]
async fn a_release_goes_its_way_and_one_that_cannot_start_is_held() {
    let Some(mut world) = World::new("way").await else { return };
    let first = world.release("1", "hello").await;
    world.want(3, &first, Some(approval(&first))).await;
    let status = world.wait("three of the first", |status| status.available == 3 && status.stable.is_some()).await;
    assert_eq!(status.stable.as_deref(), Some(first.id.as_str()));
    assert_eq!(status.waiting_on.message, "everything runs as it should");

    let second = world.release("2", "good day").await;
    world.want(3, &second, None).await;
    let status = world.wait("the gate", |status| status.waiting_on.on == "approval").await;
    assert_eq!(status.candidate.as_deref(), Some(second.id.as_str()));
    assert_eq!((world.pods_of(&second).await, world.pods_of(&first).await), (1, 3), "I1");
    assert_eq!(status.replicas, 3, "an autoscaler does not count the one at the gate");

    world.want(3, &second, Some(approval(&second))).await;
    world.wait("the second everywhere", |status| status.stable.as_deref() == Some(second.id.as_str())).await;
    world.wait("only the second", |status| status.instances.len() == 3 && status.available == 3).await;
    assert_eq!(world.sets().await, 1, "who is on the way out has no ReplicaSet");

    let broken = world.broken("3").await;
    world.want(3, &broken, None).await;
    let status =
        world.wait("the failure", |status| status.history.iter().any(|end| end.release == broken.id.as_str())).await;
    let held = status.instances.iter().find(|instance| instance.phase == "held").unwrap();
    let reason = held.reason.as_deref().unwrap();
    assert!(reason.contains("greeter.conf, line 3: the setting \"greting\" is unknown"), "{reason}");
    assert_eq!((status.available, world.pods_of(&broken).await), (3, 1), "I7");

    world.take_back(Withdrawal { release: broken.id.clone(), rolled_back: false }).await;
    world.wait("nobody is held", |status| status.instances.len() == 3 && status.available == 3).await;
    world.end().await;
}

#[tokio::test]
async fn what_somebody_takes_away_comes_back() {
    let Some(mut world) = World::new("back").await else { return };
    let first = world.release("1", "hello").await;
    world.want(2, &first, Some(approval(&first))).await;
    world.wait("two", |status| status.available == 2).await;
    world.delete_map(&first).await;
    world.delete_set(&first).await;
    world.wait("fewer", |status| status.available < 2).await;
    world.wait("two again", |status| status.available == 2).await;
    world.restart_operator();
    world.delete_pod().await;
    world.wait("fewer", |status| status.available < 2).await;
    world.wait("two again", |status| status.available == 2).await;
    world.delete_service().await;
    world.wait_empty().await;
    world.end().await;
}

#[tokio::test]
async fn nonsense_is_a_condition_and_leaves_alone_what_runs() {
    let Some(mut world) = World::new("nonsense").await else { return };
    let first = world.release("1", "hello").await;
    world.want(1, &first, Some(approval(&first))).await;
    world.wait("one", |status| status.available == 1).await;
    let mut second = world.release("2", "good day").await;
    // The schema lets it through: whether it is an image's name is not for a pattern to say.
    second.image = "greeter".to_owned();
    world.want(1, &second, None).await;
    let told = world.wait("a condition", |status| status.conditions.iter().any(|one| one.reason == "Nonsense")).await;
    assert!(told.waiting_on.message.starts_with("not accepted: spec.release.image: "), "{:?}", told.waiting_on);
    assert_eq!((told.available, world.pods_of(&first).await), (1, 1));
    world.end().await;
}

/// What passes the schema and makes no sense, each with the words in which it is told.
fn nonsense() -> Vec<(&'static str, Value, &'static str)> {
    let release = |field: &str, value: Value| json!({ "release": { field: value } });
    vec![
        ("image", release("image", json!("greeter")), "spec.release.image: "),
        ("command", release("command", json!([""])), "spec.release: "),
        ("env", release("env", json!({ "PORT": { "value": "1" } })), "PORT"),
        ("env-name", release("env", json!({ "A=B": { "value": "1" } })), "spec.release.env.A=B: "),
        ("cpu", release("resources", json!({ "cpu": "plenty" })), "spec.release.resources.cpu: "),
        ("memory", release("resources", json!({ "memory": "9".repeat(40) })), "spec.release.resources.memory: "),
        ("check", release("healthcheck", json!("not a path")), "spec.release: "),
        ("template", release("templates", json!(["../../etc/passwd.template"])), "spec.release: "),
    ]
}

#[tokio::test]
async fn each_nonsense_is_told_of_and_holds_up_nobody_else() {
    let Some(mut world) = World::new("senseless").await else { return };
    let good = world.release("1", "hello").await;
    let services = world.api::<WebService>();
    let mut refused = Vec::new();
    for (name, change, words) in nonsense() {
        let rollout = RolloutSpec { replicas: 1, target: Some(good.clone()), ..RolloutSpec::default() };
        let key = ServiceKey::new(key().environment, name.parse().unwrap());
        let service = ServiceSpec::new(&key, 1, &rollout);
        let mut resource = serde_json::to_value(WebService::new(name, WebServiceSpec { service })).unwrap();
        let spec = resource["spec"]["release"].as_object_mut().unwrap();
        spec.extend(change["release"].as_object().unwrap().clone());
        let resource: DynamicObject = serde_json::from_value(resource).unwrap();
        let anything: Api<DynamicObject> = Api::namespaced_with(
            world.place.client.clone(),
            &world.place.namespace,
            &ApiResource::erase::<WebService>(&()),
        );
        match anything.create(&PostParams::default(), &resource).await {
            Ok(_) => refused.push((name, words)),
            // The schema has become stricter, which is as good.
            Err(kube::Error::Api(status)) if status.is_invalid() => println!("{name}: {}", status.message),
            Err(error) => panic!("{name}: {error}"),
        }
    }
    assert!(refused.len() >= 5, "{refused:?}");
    // One that Kubernetes itself will not make an instance of.
    let quota = json!({ "metadata": { "name": "none" }, "spec": { "hard": { "requests.memory": "100Mi" } } });
    world.api::<ResourceQuota>().create(&PostParams::default(), &serde_json::from_value(quota).unwrap()).await.unwrap();
    let mut large = world.release("2", "hello").await;
    large.config.resources = Resources { cpu: Some(MilliCpu(10)), memory: Some(Memory(200 << 20)) };
    world.want(1, &large, None).await;
    let status = world
        .wait("why there is no instance", |status| status.conditions.iter().any(|one| one.type_ == "InstancesMade"))
        .await;
    assert!(status.waiting_on.message.contains("exceeded quota"), "{:?}", status.waiting_on);
    world.api::<ResourceQuota>().delete("none", &DeleteParams::default()).await.unwrap();
    world.wait("its instance, all the same", |status| status.waiting_on.on == "approval").await;
    for (name, words) in refused {
        let status = services.get(name).await.unwrap().status.unwrap_or_default();
        let told = status.conditions.iter().find(|condition| condition.type_ == "Accepted");
        let told = told.unwrap_or_else(|| panic!("nothing was said of {name}"));
        assert!(told.reason == "Nonsense" && told.message.contains(words), "{name}: {told:?}");
        assert_eq!(status.instances.len(), 0, "{name}");
    }
    world.end().await;
}

#[tokio::test]
async fn refused_time_and_again_it_comes_to_the_same_end() {
    let Some(mut world) = World::new("refused").await else { return };
    let refusals = Refusals::default();
    world.restart_operator_behind(&refusals);
    a_life(&mut world, |_| {}).await;
    assert!(refusals.count() >= 10, "{} refusals", refusals.count());
    world.end().await;
}

/// So many lives are tried at once: most of each is waiting.
const AT_ONCE: usize = 6;

/// A first release; something that happens; a second one, approved; and a third one that cannot start and is taken back.
async fn a_life(world: &mut World, happens: impl FnOnce(&mut World)) {
    let first = world.release("1", "hello").await;
    world.want(2, &first, Some(approval(&first))).await;
    world.wait("two of the first", |status| status.available == 2 && status.stable.is_some()).await;
    happens(world);
    let second = world.release("2", "good day").await;
    world.want(2, &second, None).await;
    world.wait("the gate", |status| status.waiting_on.on == "approval").await;
    assert_eq!((world.pods_of(&second).await, world.pods_of(&first).await), (1, 2), "I1");
    world.want(2, &second, Some(approval(&second))).await;
    let done = |status: &barge_crds::ServiceStatus| status.stable.as_deref() == Some(second.id.as_str());
    world.wait("only the second", |status| done(status) && status.instances.len() == 2 && status.available == 2).await;
    let broken = world.broken("3").await;
    world.want(2, &broken, None).await;
    world.wait("a held one", |status| status.instances.iter().any(|instance| instance.phase == "held")).await;
    world.wait("the failure", |status| status.history.iter().any(|end| end.release == broken.id.as_str())).await;
    assert_eq!(world.pods_of(&broken).await, 1, "I7");
    world.take_back(Withdrawal { release: broken.id.clone(), rolled_back: false }).await;
    world.wait("nobody is held", |status| status.instances.len() == 2 && status.available == 2).await;
    assert_eq!(world.sets().await, 1);
}

#[tokio::test]
async fn killed_with_any_of_its_writes_it_comes_to_the_same_end() {
    let Some(mut world) = World::new("count").await else { return };
    let counted = Fuse::new(usize::MAX, Moment::Before);
    a_life(&mut world, |world| world.restart_operator_with(counted.clone())).await;
    world.end().await;
    let writes = counted.writes();
    assert!(writes >= 15, "{writes} writes");
    let from = std::env::var(POINTS).ok().map(|from| from.parse::<usize>().unwrap());
    let points = (from.unwrap_or(1)..=writes).flat_map(|at| [(at, Moment::Before), (at, Moment::After)]);
    // Some that are far apart, where not all are wanted.
    let step = if from.is_some() { 1 } else { writes.div_ceil(2) };
    let lives = points.step_by(step).map(async |(at, moment)| {
        println!("killed with write {at} of {writes}, {moment:?}");
        let name = if moment == Moment::Before { "before" } else { "after" };
        let mut world = World::new(&format!("{name}-{at}")).await.unwrap();
        a_life(&mut world, |world| world.restart_operator_with(Fuse::new(at, moment))).await;
        world.end().await;
    });
    futures_util::stream::iter(lives).buffer_unordered(AT_ONCE).collect::<()>().await;
}
