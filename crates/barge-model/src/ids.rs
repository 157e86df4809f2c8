//! Names and ids as types, so that a service can never be passed where an environment is meant.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// Why a piece of text cannot be a name or an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {value:?} is not valid: {reason}")]
pub struct InvalidName {
    /// What the text was meant to be, such as `service name`.
    pub what: &'static str,
    /// The text, cut to a length that can be printed.
    pub value: String,
    /// The rule that it breaks.
    pub reason: &'static str,
}

impl InvalidName {
    fn new(what: &'static str, value: &str, reason: &'static str) -> Self {
        Self { what, value: value.chars().take(80).collect(), reason }
    }
}

/// RFC 1123 label, shortened to 40 characters so that names derived from it fit into 63.
fn check_label(what: &'static str, value: &str) -> Result<(), InvalidName> {
    let fail = |reason| Err(InvalidName::new(what, value, reason));
    if value.is_empty() {
        return fail("it is empty");
    }
    if value.len() > 40 {
        return fail("it is longer than 40 characters");
    }
    if !value.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        return fail("only lower-case letters a-z, digits and '-' are allowed");
    }
    if !value.as_bytes()[0].is_ascii_lowercase() {
        return fail("it must start with a letter");
    }
    if value.ends_with('-') {
        return fail("it must not end with '-'");
    }
    Ok(())
}

fn check_ulid(what: &'static str, value: &str) -> Result<(), InvalidName> {
    match ulid::Ulid::from_string(value) {
        Ok(id) if id.to_string().eq_ignore_ascii_case(value) => Ok(()),
        _ => Err(InvalidName::new(what, value, "it is not a ULID of 26 characters")),
    }
}

fn check_digest(what: &'static str, value: &str) -> Result<(), InvalidName> {
    match value.strip_prefix("sha256:") {
        Some(hex) if hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) => Ok(()),
        _ => Err(InvalidName::new(what, value, "it is not sha256: and 64 lower-case hexadecimal digits")),
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema, utoipa::ToSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schemars(with = "String")]
        #[schema(value_type = String)]
        pub struct $name(String);

        impl $name {
            /// Checks `value` and wraps it.
            ///
            /// # Errors
            /// The rule that `value` breaks.
            pub fn new(value: impl Into<String>) -> Result<Self, InvalidName> {
                let value = value.into();
                $check($what, &value)?;
                Ok(Self(value))
            }

            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;
            fn try_from(value: String) -> Result<Self, InvalidName> {
                Self::new(value)
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;
            fn from_str(value: &str) -> Result<Self, InvalidName> {
                Self::new(value)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.0)
            }
        }
    };
}

text_id! {
    /// The name of one deployable project, unique in the installation.
    ServiceName, "service name", check_label
}
text_id! {
    /// The name of an environment, such as `test` or `product`.
    EnvironmentName, "environment name", check_label
}
text_id! {
    /// A release's id: a ULID, so that ids sort by the time of their making.
    ReleaseId, "release id", check_ulid
}
text_id! {
    /// An instance's id: a ULID, never used again for another instance.
    InstanceId, "instance id", check_ulid
}
text_id! {
    /// The digest of an image's manifest (OCI image specification, "Digests"); SHA-256 alone.
    Digest, "digest", check_digest
}

impl ReleaseId {
    /// Makes an id from a time and randomness that the caller brings.
    pub fn from_parts(now: Timestamp, random: u128) -> Self {
        Self(ulid::Ulid::from_parts(now.as_millis().max(0).cast_unsigned(), random).to_string())
    }
}

impl InstanceId {
    /// Makes an id from a time and randomness that the caller brings.
    pub fn from_parts(now: Timestamp, random: u128) -> Self {
        Self(ulid::Ulid::from_parts(now.as_millis().max(0).cast_unsigned(), random).to_string())
    }

    /// The last six characters: enough for people to tell the instances of a service apart.
    pub fn short(&self) -> &str {
        &self.0[self.0.len() - 6..]
    }
}

impl Digest {
    /// The hexadecimal digits alone.
    pub fn hex(&self) -> &str {
        &self.0["sha256:".len()..]
    }

    /// The first 12 hexadecimal digits, for people.
    pub fn short(&self) -> &str {
        &self.hex()[..12]
    }
}

/// A service in an environment: what a rollout belongs to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServiceKey {
    /// The environment.
    pub environment: EnvironmentName,
    /// The service.
    pub service: ServiceName,
}

impl ServiceKey {
    /// Joins the two names.
    pub fn new(environment: EnvironmentName, service: ServiceName) -> Self {
        Self { environment, service }
    }
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.environment, self.service)
    }
}
