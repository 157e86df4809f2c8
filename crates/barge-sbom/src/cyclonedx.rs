//! A bill in the words of CycloneDX 1.6 (JSON).

use serde_json::{Value, json};

use crate::bill::{Base, Bill};
use crate::coordinates::Coordinates;
use crate::identifier::{canonical, uuid};
use crate::libraries::{Library, Source};

/// Its media type.
pub const MEDIA_TYPE: &str = "application/vnd.cyclonedx+json";

/// Refers to the image within a document.
const IMAGE: &str = "image";

/// Says why a library is known by its name alone.
const UNREAD: &str = "barge:unread";

/// Writes a bill.
pub fn write(bill: &Bill) -> Vec<u8> {
    let mut components: Vec<Value> = bill.base.iter().map(base).collect();
    components.extend(bill.program.iter().map(program));
    components.extend(bill.libraries.iter().map(library));
    let parts: Vec<&Value> = components.iter().map(|component| &component["bom-ref"]).collect();
    let document = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "tools": { "components": [{ "type": "application", "name": "barge" }] },
            "component": {
                "type": "container",
                "bom-ref": IMAGE,
                "name": bill.service,
                "version": bill.image,
                "hashes": [sha256(Bill::hex(&bill.image))],
            },
        },
        "dependencies": [{ "ref": IMAGE, "dependsOn": parts }],
        "components": components,
    });
    let serial = format!("urn:uuid:{}", uuid(&canonical(document.clone())));
    let mut document = document;
    document["serialNumber"] = json!(serial);
    canonical(document)
}

fn sha256(hex: &str) -> Value {
    json!({ "alg": "SHA-256", "content": hex })
}

fn base(base: &Base) -> Value {
    let mut component = json!({ "type": "container", "bom-ref": "base", "name": base.name });
    if let Some(digest) = &base.digest {
        component["version"] = json!(digest);
        component["hashes"] = json!([sha256(Bill::hex(digest))]);
    }
    component
}

fn program(coordinates: &Coordinates) -> Value {
    let mut component = named("application", coordinates);
    component["bom-ref"] = json!("program");
    component
}

fn named(kind: &str, coordinates: &Coordinates) -> Value {
    let mut component = json!({ "type": kind, "name": coordinates.name });
    for (field, value) in
        [("group", &coordinates.group), ("version", &coordinates.version), ("purl", &coordinates.purl())]
    {
        if let Some(value) = value {
            component[field] = json!(value);
        }
    }
    component
}

fn library(library: &Library) -> Value {
    let mut component = named("library", &library.coordinates);
    component["bom-ref"] = json!(format!("file:{}", library.path));
    component["hashes"] = json!([sha256(&library.sha256)]);
    component["evidence"] = json!({
        "identity": [{ "field": "purl", "methods": [{ "technique": technique(library.source), "confidence": confidence(library.source) }] }],
        "occurrences": [{ "location": format!("/{}", library.path) }],
    });
    if let Some(why) = &library.unread {
        component["properties"] = json!([{ "name": UNREAD, "value": why }]);
    }
    if !library.bundled.is_empty() {
        component["components"] = library.bundled.iter().map(|one| named("library", one)).collect();
    }
    component
}

fn technique(source: Source) -> &'static str {
    match source {
        Source::Maven => "manifest-analysis",
        Source::NameAndManifest => "filename",
    }
}

fn confidence(source: Source) -> f64 {
    match source {
        Source::Maven => 1.0,
        Source::NameAndManifest => 0.5,
    }
}
