//! Kinds of machines, as image indexes name them (OCI image specification, "Image Index", `platform`).

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A kind of machine with Linux, such as `linux/arm64`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Platform {
    architecture: String,
    /// None for what is meant without saying it, such as `v8` of `arm64`.
    variant: Option<String>,
}

/// Why a text is not a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a platform such as linux/amd64 or linux/arm64")]
pub struct InvalidPlatform(String);

impl Platform {
    /// A platform in the words of the specification, which are Go's.
    pub fn new(architecture: &str, variant: Option<&str>) -> Self {
        let usual = match architecture {
            "amd64" => "v1",
            "arm64" => "v8",
            "arm" => "v7",
            _ => "",
        };
        let variant = variant.filter(|variant| !variant.is_empty() && *variant != usual);
        Self { architecture: architecture.to_owned(), variant: variant.map(str::to_owned) }
    }

    /// The architecture.
    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    /// The variant, where it is not the usual one.
    pub fn variant(&self) -> Option<&str> {
        self.variant.as_deref()
    }

    /// How well a program for `other` runs here, 0 being best; none where it does not.
    pub fn takes(&self, other: &Self) -> Option<u8> {
        match (&self.variant, &other.variant) {
            _ if self.architecture != other.architecture => None,
            (ours, theirs) if ours == theirs => Some(0),
            // Every machine runs what is for the usual one, but for older ones of arm.
            (Some(_), None) if self.architecture != "arm" => Some(1),
            _ => None,
        }
    }
}

impl FromStr for Platform {
    type Err = InvalidPlatform;

    fn from_str(text: &str) -> Result<Self, InvalidPlatform> {
        let error = || InvalidPlatform(text.chars().take(40).collect());
        let word = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let parts: Vec<&str> = text.split('/').collect();
        match parts.as_slice() {
            ["linux", architecture] if word(architecture) => Ok(Self::new(architecture, None)),
            ["linux", architecture, variant] if word(architecture) && word(variant) => {
                Ok(Self::new(architecture, Some(variant)))
            }
            _ => Err(error()),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "linux/{}", self.architecture)?;
        self.variant.iter().try_for_each(|variant| write!(f, "/{variant}"))
    }
}

impl Serialize for Platform {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Platform {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for Platform {
    fn schema_name() -> Cow<'static, str> {
        "Platform".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A kind of machine, such as linux/amd64 or linux/arm64.",
            "type": "string",
            "pattern": "^linux/[a-z0-9]+(/[a-z0-9]+)?$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_platform_is_the_same_however_it_is_written() {
        for (text, written) in [
            ("linux/amd64", "linux/amd64"),
            ("linux/amd64/v1", "linux/amd64"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm/v7", "linux/arm"),
            ("linux/arm/v6", "linux/arm/v6"),
        ] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), written);
        }
        for text in [
            "",
            "linux",
            "linux/",
            "amd64",
            "windows/amd64",
            "linux/AMD64",
            "linux/amd64/v1/x",
            "linux//v8",
            "linux/../x",
        ] {
            assert_eq!(
                text.parse::<Platform>().unwrap_err().to_string(),
                format!("{text:?} is not a platform such as linux/amd64 or linux/arm64")
            );
        }
    }

    #[test]
    fn a_machine_takes_what_it_can_run() {
        let takes = |ours: &str, theirs: &str| ours.parse::<Platform>().unwrap().takes(&theirs.parse().unwrap());
        assert_eq!(takes("linux/amd64", "linux/amd64"), Some(0));
        assert_eq!(takes("linux/amd64", "linux/amd64/v3"), None);
        assert_eq!(takes("linux/amd64/v3", "linux/amd64/v3"), Some(0));
        assert_eq!(takes("linux/amd64/v3", "linux/amd64"), Some(1));
        assert_eq!(takes("linux/arm/v6", "linux/arm/v7"), None);
        assert_eq!(takes("linux/arm64", "linux/arm64/v8"), Some(0));
        assert_eq!(takes("linux/arm64", "linux/amd64"), None);
    }
}
