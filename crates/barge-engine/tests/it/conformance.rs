//! The suite against engines that keep the rules, and against some that do not. Time stands still, so waiting in vain takes none.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use barge_engine::Engine;
use barge_engine::conformance::{NonConformance, Subject, run};
use barge_model::manifest::{Drain, Kind, Resources, ServiceConfig};
use barge_model::release::Origin;
use barge_model::rollout::RolloutPlan;
use barge_model::{Digest, EnvironmentName, Millis, Release, ReleaseId, ServiceKey, ServiceName, Timestamp};

use crate::memory::{Fault, Memory};

fn release(number: u32) -> Release {
    Release {
        id: ReleaseId::from_parts(Timestamp::from_millis(1), u128::from(number)),
        image: "127.0.0.1:1/shop".to_owned(),
        digest: Digest::new(format!("sha256:{number:064}")).unwrap(),
        config: ServiceConfig {
            kind: Kind::Web,
            command: vec!["./shop".to_owned()],
            healthcheck: None,
            templates: Vec::new(),
            replicas: None,
            env: BTreeMap::new(),
            resources: Resources::default(),
            rollout: RolloutPlan::default(),
            drain: Drain::default(),
            start_deadline: Millis::from_secs(60),
        },
        origin: Origin::Deploy,
        created_at: Timestamp::default(),
        created_by: "tests".to_owned(),
        reason: None,
    }
}

async fn outcome(fault: Fault) -> Result<(), NonConformance> {
    let engine = Arc::new(Memory::new(fault));
    let count = AtomicU32::new(0);
    let maker = Arc::clone(&engine);
    run(&Subject {
        engine: engine as Arc<dyn Engine>,
        key: ServiceKey::new(EnvironmentName::new("test").unwrap(), ServiceName::new("shop").unwrap()),
        release: Box::new(move |works| {
            let release = release(count.fetch_add(1, Ordering::SeqCst));
            if !works {
                maker.broken.lock().unwrap().insert(release.id.clone());
            }
            release
        }),
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_follows_the_step_conforms() {
    if let Err(error) = outcome(Fault::None).await {
        panic!("{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_broken_rule_is_found() {
    for (fault, words) in [
        (Fault::TwoCandidates, "exactly one instance (I1)"),
        (Fault::HurtsStable, "(I7)"),
        (Fault::TakesOldVersions, "older version"),
        (Fault::NeverOnline, "waited in vain for: two instances of the first release"),
        (Fault::RestartsHeld, "waited in vain for: the failure of the broken release"),
        (Fault::NeverStops, "waited in vain for: "),
    ] {
        let error = outcome(fault).await.expect_err("it breaks a rule").to_string();
        assert!(error.contains(words), "{fault:?}: {error}");
    }
}
