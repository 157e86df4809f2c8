//! Values of `barge.yaml` that may be written in two ways.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// A program and its arguments: one line of text, split like a shell would but run without one, or a list.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct Command(pub Vec<String>);

impl<'de> Deserialize<'de> for Command {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CommandVisitor;
        impl<'de> Visitor<'de> for CommandVisitor {
            type Value = Command;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a command line, or a list of a program and its arguments")
            }
            fn visit_str<E: de::Error>(self, line: &str) -> Result<Command, E> {
                let words =
                    shlex::split(line).ok_or_else(|| E::custom("the command has a quote that is not closed"))?;
                non_empty(words)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Command, A::Error> {
                let mut words = Vec::new();
                // As text, so that a word that looks like a number keeps its spelling.
                while let Some(word) = list.next_element::<String>()? {
                    words.push(word);
                }
                non_empty(words)
            }
        }
        deserializer.deserialize_any(CommandVisitor)
    }
}

fn non_empty<E: de::Error>(words: Vec<String>) -> Result<Command, E> {
    if words.first().is_none_or(String::is_empty) {
        return Err(E::custom("the command is empty"));
    }
    Ok(Command(words))
}

impl schemars::JsonSchema for Command {
    fn schema_name() -> Cow<'static, str> {
        "Command".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A command line (split as a shell would, run without one), or a list",
            "anyOf": [{ "type": "string", "minLength": 1 }, { "type": "array", "items": { "type": ["string", "number", "boolean"] }, "minItems": 1 }]
        })
    }
}

/// The value of an environment variable: text, or the name of a secret that the engine looks up at start.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum EnvValue {
    /// The value itself.
    Text(String),
    /// A reference: `{secret: NAME}`. The secret itself is never stored in a release.
    Secret {
        /// The secret's name.
        secret: String,
    },
}

impl<'de> Deserialize<'de> for EnvValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EnvVisitor;
        impl<'de> Visitor<'de> for EnvVisitor {
            type Value = EnvValue;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, a number, true or false, or {secret: NAME}")
            }
            fn visit_str<E: de::Error>(self, value: &str) -> Result<EnvValue, E> {
                Ok(EnvValue::Text(value.to_owned()))
            }
            // What looks like a number or a flag is text all the same; `spelling` finds out which.
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<EnvValue, E> {
                Ok(EnvValue::Text(value.to_string()))
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<EnvValue, E> {
                Ok(EnvValue::Text(value.to_string()))
            }
            fn visit_f64<E: de::Error>(self, value: f64) -> Result<EnvValue, E> {
                Ok(EnvValue::Text(value.to_string()))
            }
            fn visit_bool<E: de::Error>(self, value: bool) -> Result<EnvValue, E> {
                Ok(EnvValue::Text(value.to_string()))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<EnvValue, A::Error> {
                let mut secret = None;
                while let Some(key) = map.next_key::<String>()? {
                    if key != "secret" {
                        return Err(de::Error::unknown_field(&key, &["secret"]));
                    }
                    secret = Some(map.next_value::<String>()?);
                }
                let secret = secret.ok_or_else(|| de::Error::missing_field("secret"))?;
                Ok(EnvValue::Secret { secret })
            }
        }
        deserializer.deserialize_any(EnvVisitor)
    }
}

impl schemars::JsonSchema for EnvValue {
    fn schema_name() -> Cow<'static, str> {
        "EnvValue".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A value, or a reference to a secret",
            "anyOf": [
                { "type": ["string", "number", "boolean"] },
                { "type": "object", "properties": { "secret": { "type": "string" } }, "required": ["secret"], "additionalProperties": false }
            ]
        })
    }
}
