//! Numbers with units as people write them: memory, CPU, and counts that may be a percentage.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a text is not a quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {what}")]
pub struct InvalidQuantity {
    text: String,
    what: &'static str,
}

fn invalid(text: &str, what: &'static str) -> InvalidQuantity {
    InvalidQuantity { text: text.chars().take(40).collect(), what }
}

/// Bytes of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Memory(pub u64);

/// Thousandths of a core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MilliCpu(pub u32);

/// A number of instances, absolute or as a share of the replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Count {
    /// So many instances.
    Absolute(u32),
    /// So many percent of the replicas, 0 to 100.
    Percent(u8),
}

impl Count {
    /// The number for `replicas` instances, a fraction counted as a whole instance.
    pub fn rounded_up(self, replicas: u32) -> u32 {
        match self {
            Count::Absolute(count) => count,
            Count::Percent(percent) => {
                u32::try_from((u64::from(replicas) * u64::from(percent)).div_ceil(100)).unwrap_or(u32::MAX)
            }
        }
    }

    /// The number for `replicas` instances, a fraction left away.
    pub fn rounded_down(self, replicas: u32) -> u32 {
        match self {
            Count::Absolute(count) => count,
            Count::Percent(percent) => {
                u32::try_from(u64::from(replicas) * u64::from(percent) / 100).unwrap_or(u32::MAX)
            }
        }
    }
}

const MEMORY_UNITS: [(&str, u64); 8] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("Gi", 1 << 30),
    ("Mi", 1 << 20),
    ("Ki", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
];

impl FromStr for Memory {
    type Err = InvalidQuantity;
    fn from_str(text: &str) -> Result<Self, InvalidQuantity> {
        let error = || invalid(text, "an amount of memory: write it like 512MiB or 2GiB");
        let (number, factor) = MEMORY_UNITS
            .iter()
            .find_map(|(unit, factor)| text.strip_suffix(unit).map(|number| (number, *factor)))
            .ok_or_else(error)?;
        let number: u64 = number.trim().parse().map_err(|_| error())?;
        number.checked_mul(factor).filter(|bytes| *bytes > 0).map(Self).ok_or_else(error)
    }
}

impl FromStr for MilliCpu {
    type Err = InvalidQuantity;
    fn from_str(text: &str) -> Result<Self, InvalidQuantity> {
        let error = || invalid(text, "a number of cores: write it like 2, 0.5 or 250m");
        let millis = match text.strip_suffix('m') {
            Some(millis) => millis.parse::<u32>().map_err(|_| error())?,
            None => {
                let cores: f64 = text.parse().map_err(|_| error())?;
                if !(0.001..=1024.0).contains(&cores) {
                    return Err(error());
                }
                // In range by the check above, so the conversion keeps its value.
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                {
                    (cores * 1000.0).round() as u32
                }
            }
        };
        if millis == 0 { Err(error()) } else { Ok(Self(millis)) }
    }
}

impl FromStr for Count {
    type Err = InvalidQuantity;
    fn from_str(text: &str) -> Result<Self, InvalidQuantity> {
        let error = || invalid(text, "a count: write a number such as 2, or a share such as 25%");
        match text.strip_suffix('%') {
            Some(percent) => {
                percent.parse().ok().filter(|percent| *percent <= 100).map(Count::Percent).ok_or_else(error)
            }
            None => text.parse().map(Count::Absolute).map_err(|_| error()),
        }
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes % (1 << 30) == 0 => write!(f, "{}GiB", bytes >> 30),
            bytes if bytes % (1 << 20) == 0 => write!(f, "{}MiB", bytes >> 20),
            bytes if bytes % (1 << 10) == 0 => write!(f, "{}KiB", bytes >> 10),
            bytes if bytes % 1_000_000 == 0 => write!(f, "{}MB", bytes / 1_000_000),
            bytes => write!(f, "{}KiB", bytes.div_ceil(1 << 10)),
        }
    }
}

impl fmt::Display for MilliCpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}m", self.0)
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Count::Absolute(count) => write!(f, "{count}"),
            Count::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

/// Reads a scalar, number or text, through the type's `FromStr`.
fn scalar<'de, T, D>(deserializer: D, expected: &'static str) -> Result<T, D::Error>
where
    T: FromStr<Err = InvalidQuantity>,
    D: Deserializer<'de>,
{
    struct Visitor<T>(&'static str, std::marker::PhantomData<T>);
    impl<T: FromStr<Err = InvalidQuantity>> serde::de::Visitor<'_> for Visitor<T> {
        type Value = T;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
        fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<T, E> {
            value.to_string().parse().map_err(E::custom)
        }
        fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<T, E> {
            value.to_string().parse().map_err(E::custom)
        }
        fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<T, E> {
            value.to_string().parse().map_err(E::custom)
        }
        fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<T, E> {
            value.parse().map_err(E::custom)
        }
    }
    deserializer.deserialize_any(Visitor(expected, std::marker::PhantomData))
}

macro_rules! as_scalar {
    ($name:ident, $expected:literal, $pattern:literal) => {
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                scalar(deserializer, $expected)
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl schemars::JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "description": $expected,
                    "anyOf": [{ "type": "string", "pattern": $pattern }, { "type": "number", "minimum": 0 }]
                })
            }
        }
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .description(Some($expected))
                    .pattern(Some($pattern))
                    .into()
            }
        }
        impl utoipa::ToSchema for $name {}
    };
}

as_scalar!(Memory, "an amount of memory such as 512MiB", "^[0-9]+(GiB|MiB|KiB|Gi|Mi|Ki|GB|MB)$");
as_scalar!(MilliCpu, "a number of cores such as 0.5 or 250m", "^([0-9]+m|[0-9]+(\\.[0-9]+)?)$");
as_scalar!(Count, "a number of instances, or a share such as 25%", "^[0-9]+%?$");
