//! What a release asks of its rollout: first batch, gate, batches, limits.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::manifest::Count;
use crate::time::Millis;

/// What the gate after the first batch waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Until {
    /// A stored approval that names the release and its digest.
    Approved,
}

/// The hold after the first batch. With both parts, both must be met.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Gate {
    /// Wait for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Until>,
    /// Observe for at least so long.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub hold: Option<Millis>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { until: Some(Until::Approved), hold: None }
    }
}

/// One batch after the gate: so many more instances, then a pause. Written as `25%`, `3` or `{size: 25%, pause: 5m}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, utoipa::ToSchema)]
pub struct Batch {
    /// How many instances more.
    pub size: Count,
    /// How long to watch before the next batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause: Option<Millis>,
}

impl<'de> Deserialize<'de> for Batch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BatchVisitor;
        impl<'de> Visitor<'de> for BatchVisitor {
            type Value = Batch;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a count such as 2 or 25%, or {size: 25%, pause: 5m}")
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Batch, E> {
                self.visit_str(&value.to_string())
            }
            fn visit_str<E: de::Error>(self, value: &str) -> Result<Batch, E> {
                Ok(Batch { size: value.parse().map_err(E::custom)?, pause: None })
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Batch, A::Error> {
                let (mut size, mut pause) = (None, None);
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "size" => size = Some(map.next_value()?),
                        "pause" => pause = map.next_value()?,
                        _ => return Err(de::Error::unknown_field(&key, &["size", "pause"])),
                    }
                }
                Ok(Batch { size: size.ok_or_else(|| de::Error::missing_field("size"))?, pause })
            }
        }
        deserializer.deserialize_any(BatchVisitor)
    }
}

impl schemars::JsonSchema for Batch {
    fn schema_name() -> Cow<'static, str> {
        "Batch".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let size = generator.subschema_for::<Count>();
        let pause = generator.subschema_for::<Millis>();
        schemars::json_schema!({
            "description": "How many instances more, and how long to watch before the next batch",
            "anyOf": [
                size,
                {
                    "type": "object",
                    "properties": { "size": size, "pause": pause },
                    "required": ["size"],
                    "additionalProperties": false
                }
            ]
        })
    }
}

/// How a release replaces the one before it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RolloutPlan {
    /// How many instances of a release may exist before it is approved.
    pub first_batch: u32,
    /// The hold after the first batch.
    pub gate: Gate,
    /// The batches after the gate; whatever they leave follows as the last one.
    pub batches: Vec<Batch>,
    /// How many instances more than the replicas may exist while a release goes on.
    pub max_surge: Count,
    /// How many of the replicas may be unavailable while a release goes on.
    pub max_unavailable: Count,
    /// A release that has made no progress for so long has failed.
    pub progress_deadline: Millis,
}

impl Default for RolloutPlan {
    fn default() -> Self {
        Self {
            first_batch: 1,
            gate: Gate::default(),
            batches: Vec::new(),
            max_surge: Count::Percent(25),
            max_unavailable: Count::Absolute(0),
            progress_deadline: Millis::from_secs(600),
        }
    }
}

impl RolloutPlan {
    /// Checks what types alone cannot say.
    ///
    /// # Errors
    /// A sentence that names the field.
    pub fn check(&self) -> Result<(), String> {
        if self.first_batch == 0 {
            return Err("first_batch must be at least 1: somebody has to see the release run".to_owned());
        }
        if self.batches.len() > 100 {
            return Err("batches has more than 100 entries".to_owned());
        }
        if self.batches.iter().any(|batch| matches!(batch.size, Count::Absolute(0) | Count::Percent(0))) {
            return Err("a batch of size 0 would never make progress".to_owned());
        }
        if self.progress_deadline.0 == 0 {
            return Err("progress_deadline must be longer than 0s".to_owned());
        }
        Ok(())
    }

    /// Extra instances allowed for `replicas`; at least one where nothing else would allow progress.
    pub fn surge(&self, replicas: u32) -> u32 {
        let surge = self.max_surge.rounded_up(replicas);
        if surge == 0 && self.unavailable(replicas).min(replicas) == 0 { 1 } else { surge }
    }

    /// Missing instances allowed for `replicas`.
    pub fn unavailable(&self, replicas: u32) -> u32 {
        self.max_unavailable.rounded_down(replicas)
    }

    /// How many instances of the candidate there are before the gate opens.
    pub fn first(&self, replicas: u32) -> u32 {
        self.first_batch.min(replicas.max(1))
    }

    /// How many instances of the candidate there are once `batch` (from 0) is complete, and whether it is the last.
    pub fn goal(&self, batch: usize, replicas: u32) -> (u32, bool) {
        let mut goal = self.first_batch;
        for step in self.batches.iter().take(batch + 1) {
            goal = goal.saturating_add(step.size.rounded_up(replicas).max(1));
        }
        if batch >= self.batches.len() || goal >= replicas { (replicas, true) } else { (goal, false) }
    }

    /// The pause after `batch`.
    pub fn pause(&self, batch: usize) -> Option<Millis> {
        self.batches.get(batch).and_then(|step| step.pause)
    }
}
