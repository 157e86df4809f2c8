//! How the texts of `barge.yaml` are spelled.
//!
//! YAML takes `1.10` and `0x1F` for numbers and forgets how they were written. A process's environment has no numbers: what stands in
//! the file is what it gets. Only reading tells what a value is, one text or `{secret: NAME}`, so the file is read a second time, and
//! every value that turned out to be one text is taken as it is written.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::{EnvValue, Manifest, Overlay};
use crate::ids::EnvironmentName;

/// A part of a manifest that was read once, to get its texts as they are written.
pub(super) enum Part<'a> {
    Manifest(&'a mut Manifest),
    Environments(&'a mut BTreeMap<EnvironmentName, Overlay>),
    Overlay(&'a mut Overlay),
    Env(&'a mut BTreeMap<String, EnvValue>),
    Text(&'a mut String),
    /// Read as what it is already.
    Other,
}

impl Part<'_> {
    /// The part below this one that is called `name`.
    fn part(&mut self, name: &str) -> Part<'_> {
        match (self, name) {
            (Part::Manifest(manifest), "env") => Part::Env(&mut manifest.env),
            (Part::Manifest(manifest), "environments") => Part::Environments(&mut manifest.environments),
            (Part::Environments(environments), _) => match EnvironmentName::new(name) {
                Ok(name) => environments.get_mut(&name).map_or(Part::Other, Part::Overlay),
                Err(_) => Part::Other,
            },
            (Part::Overlay(overlay), "env") => Part::Env(&mut overlay.env),
            (Part::Env(env), _) => match env.get_mut(name) {
                Some(EnvValue::Text(text)) => Part::Text(text),
                _ => Part::Other,
            },
            _ => Part::Other,
        }
    }
}

impl<'de> DeserializeSeed<'de> for Part<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self {
            Part::Text(text) => {
                *text = String::deserialize(deserializer)?;
                Ok(())
            }
            Part::Other => IgnoredAny::deserialize(deserializer).map(drop),
            fields => deserializer.deserialize_map(fields),
        }
    }
}

impl<'de> Visitor<'de> for Part<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("fields")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut fields: A) -> Result<(), A::Error> {
        while let Some(name) = fields.next_key::<String>()? {
            fields.next_value_seed(self.part(&name))?;
        }
        Ok(())
    }
}
