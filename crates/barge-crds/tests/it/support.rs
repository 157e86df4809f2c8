//! A release in which every field says something.

use std::collections::BTreeMap;

use barge_model::manifest::{Count, Drain, EnvValue, Kind, Memory, MilliCpu, Resources, ServiceConfig};
use barge_model::rollout::{Batch, Gate, RolloutPlan, Until};
use barge_model::{Millis, Origin, Release, Timestamp};

pub(crate) const EARLIER: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAA";
pub(crate) const ID: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";

pub(crate) fn digest(letter: char) -> String {
    format!("sha256:{}", letter.to_string().repeat(64))
}

pub(crate) fn release(kind: Kind) -> Release {
    let env = [
        ("GREETING".to_owned(), EnvValue::Text("hello".to_owned())),
        ("PASSWORD".to_owned(), EnvValue::Secret { secret: "greeter-password".to_owned() }),
    ];
    Release {
        id: ID.parse().unwrap(),
        image: "registry.example.com/shop/greeter".to_owned(),
        digest: digest('a').parse().unwrap(),
        config: ServiceConfig {
            kind,
            command: vec!["./greeter".to_owned(), "--fast".to_owned()],
            healthcheck: Some("/ready".to_owned()),
            templates: vec!["app.conf.template".to_owned()],
            replicas: None,
            env: BTreeMap::from(env),
            resources: Resources { cpu: Some(MilliCpu(500)), memory: Some(Memory(512 << 20)) },
            rollout: RolloutPlan {
                first_batch: 1,
                gate: Gate { until: Some(Until::Approved), hold: Some(Millis::from_secs(90_000)) },
                batches: vec![
                    Batch { size: Count::Percent(25), pause: Some(Millis::from_secs(300)) },
                    Batch { size: Count::Absolute(3), pause: None },
                ],
                max_surge: Count::Absolute(2),
                max_unavailable: Count::Percent(10),
                progress_deadline: Millis::from_secs(600),
            },
            drain: Drain { quiet: Millis(500), limit: Millis::from_secs(60), grace: Millis::from_secs(10) },
            start_deadline: Millis::from_secs(300),
        },
        origin: Origin::Rollback { to: EARLIER.parse().unwrap() },
        created_at: Timestamp::from_millis(1_764_300_000_123),
        created_by: "ann".to_owned(),
        reason: Some("the new one is slow".to_owned()),
    }
}
