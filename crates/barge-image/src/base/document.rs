//! What manifests, indexes and configurations say (OCI image specification; Docker's older ones have the same fields).

use barge_model::Digest;
use barge_model::manifest::Platform;
use serde_json::Value;

use super::BaseError;
use crate::image::{Base, Blob, Source, media_type};

pub(super) fn parse(bytes: &[u8], what: &str) -> Result<Value, BaseError> {
    serde_json::from_slice(bytes).map_err(|_| BaseError::Invalid { what: what.to_owned() })
}

/// A config to which something can be added: where there should be objects, there are.
pub(super) fn config(bytes: &[u8], what: &str) -> Result<Value, BaseError> {
    let document = parse(bytes, what)?;
    let parts = [&document["rootfs"], &document["config"], &document["config"]["Labels"]];
    if document.is_object() && parts.iter().all(|part| part.is_object() || part.is_null()) {
        return Ok(document);
    }
    Err(BaseError::Invalid { what: what.to_owned() })
}

/// The digest by which a descriptor names its blob.
pub(super) fn digest(descriptor: &Value, what: &str) -> Result<Digest, BaseError> {
    let named = text(&descriptor["digest"], what)?;
    Digest::new(named)
        .map_err(|_| BaseError::Digest { what: what.to_owned(), digest: named.chars().take(100).collect() })
}

fn text<'a>(value: &'a Value, what: &str) -> Result<&'a str, BaseError> {
    value.as_str().ok_or_else(|| BaseError::Invalid { what: what.to_owned() })
}

/// The entry of an index that suits a kind of machine best; one that names no platform will do.
pub(super) fn choose(index: &Value, platform: &Platform) -> Result<Digest, BaseError> {
    let entries = index["manifests"].as_array().map(Vec::as_slice).unwrap_or_default();
    let rank = |entry: &&Value| match &entry["platform"] {
        Value::Null => Some(u8::MAX),
        named => platform.takes(&of(named)?),
    };
    let ranked = entries.iter().filter_map(|entry| Some((rank(&entry)?, entry)));
    // Of equals the first, as the specification has it.
    let chosen = ranked.min_by_key(|(rank, _)| *rank).map(|(_, entry)| entry);
    let chosen = chosen.ok_or_else(|| BaseError::Platform {
        wanted: platform.clone(),
        has: entries.iter().filter_map(|entry| of(&entry["platform"])).collect(),
    })?;
    digest(chosen, "the index")
}

/// The platform that an entry of an index or a configuration names; none where it is not Linux.
fn of(named: &Value) -> Option<Platform> {
    let architecture = named["architecture"].as_str()?;
    (named["os"] == "linux").then(|| Platform::new(architecture, named["variant"].as_str()))
}

/// What a manifest and its configuration bring.
pub(super) fn base(
    manifest: &Value,
    config: Value,
    platform: &Platform,
    source: impl Fn(&Digest) -> Source,
) -> Result<Base, BaseError> {
    check_platform(&config, platform)?;
    let list = manifest["layers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let named = config["rootfs"]["diff_ids"].as_array().map_or(0, Vec::len);
    if named != list.len() {
        return Err(BaseError::Layers { named, found: list.len() });
    }
    let layers = list.iter().map(|layer| blob(layer, &source)).collect::<Result<Vec<_>, _>>()?;
    Ok(Base { platform: platform.clone(), config: Some(config), layers })
}

fn blob(layer: &Value, source: impl Fn(&Digest) -> Source) -> Result<Blob, BaseError> {
    let digest = digest(layer, super::MANIFEST)?;
    let media_type = match text(&layer["mediaType"], super::MANIFEST)? {
        // The same bytes under an older name, which does not belong into an OCI manifest.
        media_type::DOCKER_LAYER => media_type::LAYER,
        other => other,
    };
    Ok(Blob {
        source: source(&digest),
        digest: digest.into(),
        size: layer["size"].as_u64().ok_or_else(|| BaseError::Invalid { what: super::MANIFEST.to_owned() })?,
        media_type: media_type.to_owned(),
    })
}

/// An image that is the only one may still be for other machines. One that does not say is taken as it is.
pub(super) fn check_platform(config: &Value, platform: &Platform) -> Result<(), BaseError> {
    match of(config) {
        Some(has) if platform.takes(&has).is_none() => {
            Err(BaseError::Platform { wanted: platform.clone(), has: vec![has] })
        }
        _ => Ok(()),
    }
}
