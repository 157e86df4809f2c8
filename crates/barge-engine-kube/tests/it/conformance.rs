//! The suite that every engine passes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use barge_engine::Engine;
use barge_engine::conformance::{Subject, run};
use barge_model::{Release, ReleaseId, Timestamp};
use barge_runtime::chain;
use barge_world::key;

use crate::support::World;

#[tokio::test]
async fn the_kubernetes_engine_conforms() {
    let Some(mut world) = World::new("conformance").await else { return };
    let (good, broken) =
        (world.place.release("1", "hello", true).await, world.place.release("2", "hello", false).await);
    let made = AtomicU64::new(0);
    let subject = Subject {
        engine: Arc::clone(&world.engine) as Arc<dyn Engine>,
        key: key(),
        release: Box::new(move |starts| {
            let id = ReleaseId::from_parts(Timestamp::from_millis(2), made.fetch_add(1, Ordering::SeqCst).into());
            Release { id, ..if starts { good.clone() } else { broken.clone() } }
        }),
    };
    if let Err(error) = run(&subject).await {
        panic!("{}", chain(&error));
    }
    world.end().await;
}
