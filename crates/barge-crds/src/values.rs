//! Values as Kubernetes' users write them, each with the schema that refuses the rest.

use std::borrow::Cow;

use barge_model::manifest::{Count, Memory, MilliCpu};
use barge_model::{Millis, Timestamp};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A rule in the Common Expression Language that the API server holds every resource to, and what it says where one breaks it
/// (`x-kubernetes-validations`).
pub(crate) fn rule(rule: &str, message: &str) -> serde_json::Value {
    serde_json::json!({ "rule": rule, "message": message })
}

/// A span of time such as `90s` or `1h30m`, as `duration` of the Common Expression Language reads it; there are no days.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Span(pub String);

impl From<Millis> for Span {
    fn from(span: Millis) -> Self {
        let mut text = String::new();
        let mut rest = span.0;
        for (unit, factor) in [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)] {
            let count = rest / factor;
            if count > 0 || (text.is_empty() && unit == "ms") {
                text.push_str(&format!("{count}{unit}"));
                rest -= count * factor;
            }
        }
        Self(text)
    }
}

impl Span {
    /// The same for the machines; nothing where it is none.
    pub fn millis(&self) -> Option<Millis> {
        // Without a unit it would be seconds there.
        self.0.parse().ok().filter(|_| self.0.ends_with(['s', 'm', 'h']))
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "maxLength": 32, "pattern": "^([0-9]{1,9}(h|m|s|ms)){1,4}$" })
    }
}

/// A number of instances, or a share of the replicas such as `25%`.
pub fn count_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "anyOf": [{ "type": "integer" }, { "type": "string" }],
        "maxLength": 16,
        "pattern": "^(100|[0-9]{1,2})%$",
        "minimum": 0,
        "maximum": 10000,
        "x-kubernetes-int-or-string": true
    })
}

/// The same for Kubernetes.
pub fn from_count(count: Count) -> IntOrString {
    match count {
        Count::Absolute(count) => IntOrString::Int(i32::try_from(count).unwrap_or(i32::MAX)),
        Count::Percent(_) => IntOrString::String(count.to_string()),
    }
}

/// The same for the machines; nothing where it is none.
pub fn to_count(value: &IntOrString) -> Option<Count> {
    match value {
        IntOrString::Int(count) => u32::try_from(*count).ok().map(Count::Absolute),
        IntOrString::String(text) => text.parse().ok(),
    }
}

/// Kubernetes knows `Mi`, and no `MiB`.
pub fn from_memory(memory: Memory) -> Quantity {
    let text = match memory.0 {
        bytes if bytes % (1 << 30) == 0 => format!("{}Gi", bytes >> 30),
        bytes if bytes % (1 << 20) == 0 => format!("{}Mi", bytes >> 20),
        bytes => bytes.to_string(),
    };
    Quantity(text)
}

/// The same for the machines; nothing where it is none that they know.
pub fn to_memory(quantity: &Quantity) -> Option<Memory> {
    let text = quantity.0.as_str();
    match text.parse::<u64>() {
        Ok(bytes) => Some(bytes).filter(|bytes| *bytes > 0).map(Memory),
        Err(_) => ["Ki", "Mi", "Gi"].iter().any(|unit| text.ends_with(unit)).then(|| text.parse().ok())?,
    }
}

/// Thousandths of a core are the same in both.
pub fn from_cpu(cpu: MilliCpu) -> Quantity {
    Quantity(cpu.to_string())
}

/// The same for the machines; nothing where it is none.
pub fn to_cpu(quantity: &Quantity) -> Option<MilliCpu> {
    quantity.0.parse().ok()
}

/// A point in time, to the millisecond.
pub fn from_time(at: Timestamp) -> MicroTime {
    MicroTime(jiff::Timestamp::from_millisecond(at.as_millis()).unwrap_or(jiff::Timestamp::UNIX_EPOCH))
}

/// The same for the machines.
pub fn to_time(at: &MicroTime) -> Timestamp {
    Timestamp::from_millis(at.0.as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_what_the_expression_language_reads() {
        for (millis, text) in [(0, "0ms"), (500, "500ms"), (60_000, "1m"), (90_061_001, "25h1m1s1ms")] {
            let span = Span::from(Millis(millis));
            assert_eq!(span.0, text);
            assert_eq!(span.millis(), Some(Millis(millis)));
        }
        for nonsense in ["", "10", "1d", "s", "-1s"] {
            assert_eq!(Span(nonsense.to_owned()).millis(), None, "{nonsense}");
        }
    }

    #[test]
    fn quantities_go_both_ways() {
        for bytes in [1, 1000, 1 << 20, 3 << 30, (64 << 20) + 1] {
            assert_eq!(to_memory(&from_memory(Memory(bytes))), Some(Memory(bytes)));
        }
        assert_eq!(from_memory(Memory(512 << 20)).0, "512Mi");
        assert_eq!(to_memory(&Quantity("64MiB".to_owned())), None);
        assert_eq!(to_memory(&Quantity("0".to_owned())), None);
        assert_eq!(to_cpu(&Quantity("0.5".to_owned())), Some(MilliCpu(500)));
        for count in [Count::Absolute(3), Count::Percent(25)] {
            assert_eq!(to_count(&from_count(count)), Some(count));
        }
        assert_eq!(to_count(&IntOrString::Int(-1)), None);
    }
}
