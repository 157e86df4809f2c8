//! The suite that every engine passes.

use std::sync::Arc;

use barge_engine::Engine;
use barge_engine::conformance::{Subject, run};
use barge_model::rollout::Gate;
use barge_runtime::chain;

use crate::support::{World, key, release};

#[tokio::test]
async fn the_local_engine_conforms() {
    let world = World::new().await;
    let (good, broken) = (world.image("good", false).await, world.image("broken", true).await);
    let subject = Subject {
        engine: Arc::clone(&world.engine) as Arc<dyn Engine>,
        key: key(),
        release: Box::new(move |works| {
            let mut release = release(if works { &good } else { &broken });
            release.config.rollout.gate = Gate::default();
            release
        }),
    };
    if let Err(error) = run(&subject).await {
        panic!("{}", chain(&error));
    }
}
