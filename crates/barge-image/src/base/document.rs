//! What manifests, indexes and configurations say (OCI image specification; Docker's older ones have the same fields).

use std::collections::BTreeSet;

use barge_model::Digest;
use barge_model::manifest::Platform;
use serde_json::Value;

use super::BaseError;
use crate::image::{Base, Blob, Source, media_type};

const INDEX: &str = "the index";

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

/// The entry of an index that suits a kind of machine best. One that names no platform will do where it is the only such one: which of
/// several is meant would be a guess.
pub(super) fn choose(index: &Value, platform: &Platform) -> Result<Digest, BaseError> {
    let entries = index["manifests"].as_array().map(Vec::as_slice).unwrap_or_default();
    let ranked = entries.iter().filter_map(|entry| Some((rank(&entry["platform"], platform)?, entry)));
    // Of equals the first, as the specification has it.
    if let Some((_, chosen)) = ranked.min_by_key(|(rank, _)| *rank) {
        return digest(chosen, INDEX);
    }
    let unnamed = entries.iter().filter(|entry| entry["platform"].is_null());
    // The same image under two names is one.
    let digests = unnamed.map(|entry| digest(entry, INDEX)).collect::<Result<BTreeSet<_>, _>>()?;
    match (digests.first(), digests.len()) {
        (Some(only), 1) => Ok(only.clone()),
        (Some(_), _) => Err(BaseError::Unnamed {
            count: digests.len(),
            some: digests.into_iter().take(10).map(String::from).collect(),
        }),
        (None, _) => {
            let named = entries.iter().map(|entry| &entry["platform"]);
            Err(BaseError::Platform { wanted: platform.clone(), has: named.filter_map(name).collect() })
        }
    }
}

/// How well what is for the named platform runs on a kind of machine, 0 being best; none where it does not, or no platform is named.
fn rank(named: &Value, platform: &Platform) -> Option<u8> {
    let architecture = named["architecture"].as_str()?;
    let linux = named["os"] == "linux";
    linux.then(|| platform.takes(&Platform::new(architecture, named["variant"].as_str())))?
}

/// What people call the platform that an entry of an index or a configuration names.
fn name(named: &Value) -> Option<String> {
    let text = |field: &str| named[field].as_str().filter(|text| !text.is_empty() && *text != "unknown");
    let (os, architecture) = (text("os"), text("architecture"));
    let name = match (os, architecture) {
        (None | Some("linux"), _) => Platform::new(architecture?, named["variant"].as_str()).to_string(),
        (Some(os), Some(architecture)) => format!("{os}/{architecture}"),
        (Some(os), None) => os.to_owned(),
    };
    Some(name.chars().take(100).collect())
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

/// An image that is the only one may still be for other machines, or for another system. One that does not say is taken as it is.
pub(super) fn check_platform(config: &Value, platform: &Platform) -> Result<(), BaseError> {
    let said = |field: &str| config[field].as_str().filter(|text| !text.is_empty());
    let runs = |architecture| platform.takes(&Platform::new(architecture, said("variant"))).is_some();
    if said("os").is_some_and(|os| os != "linux") || said("architecture").is_some_and(|machine| !runs(machine)) {
        return Err(BaseError::Platform { wanted: platform.clone(), has: name(config).into_iter().collect() });
    }
    Ok(())
}
