//! Releases of a service that greets.

use std::collections::BTreeMap;

use barge_model::manifest::{Drain, EnvValue, Kind, Memory, MilliCpu, Resources, ServiceConfig};
use barge_model::rollout::RolloutPlan;
use barge_model::{Approval, Millis, Origin, Release, ReleaseId, ServiceKey, Timestamp};

/// The service.
pub fn key() -> ServiceKey {
    ServiceKey::new("test".parse().unwrap(), "greeter".parse().unwrap())
}

/// A release that no pod can be made of: its image is nowhere.
pub fn release(number: u128) -> Release {
    let env = [
        ("GREETING".to_owned(), EnvValue::Text("hello $(PORT)".to_owned())),
        ("PASSWORD".to_owned(), EnvValue::Secret { secret: "greeter-password".to_owned() }),
    ];
    Release {
        id: ReleaseId::from_parts(Timestamp::from_millis(1_764_300_000_000), number),
        image: "registry.example.com/greeter".to_owned(),
        digest: format!("sha256:{number:064x}").parse().unwrap(),
        config: ServiceConfig {
            kind: Kind::Web,
            command: vec!["./greeter".to_owned()],
            healthcheck: None,
            templates: Vec::new(),
            replicas: None,
            env: BTreeMap::from(env),
            resources: Resources { cpu: Some(MilliCpu(250)), memory: Some(Memory(64 << 20)) },
            rollout: RolloutPlan::default(),
            drain: Drain::default(),
            start_deadline: Millis::from_secs(300),
        },
        origin: Origin::Deploy,
        created_at: Timestamp::from_millis(1_764_300_000_000),
        created_by: "ann".to_owned(),
        reason: None,
    }
}

/// What opens the gate for a release.
pub fn approval(release: &Release) -> Approval {
    Approval {
        release: release.id.clone(),
        digest: release.digest.clone(),
        by: "bob".to_owned(),
        at: Timestamp::from_millis(1_764_300_000_001),
    }
}
