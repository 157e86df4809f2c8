//! A bill in the words of SPDX 2.3 (JSON). Of version 3 there are documents, but hardly a reader yet.

use serde_json::{Value, json};

use crate::bill::{Base, Bill};
use crate::coordinates::Coordinates;
use crate::identifier::{canonical, uuid};
use crate::libraries::Library;

/// Its media type.
pub const MEDIA_TYPE: &str = "application/spdx+json";

/// A document has to say when it was made; this one follows from the image, which says the same.
const CREATED: &str = "1970-01-01T00:00:01Z";

const DOCUMENT: &str = "SPDXRef-DOCUMENT";
const IMAGE: &str = "SPDXRef-image";
const BASE: &str = "SPDXRef-base";
const PROGRAM: &str = "SPDXRef-program";

/// Writes a bill.
pub fn write(bill: &Bill) -> Vec<u8> {
    let mut parts = Parts { packages: vec![image(bill)], relationships: vec![relation(DOCUMENT, "DESCRIBES", IMAGE)] };
    if let Some(base) = &bill.base {
        parts.add(base_package(base), relation(IMAGE, "DESCENDANT_OF", BASE));
    }
    if let Some(program) = &bill.program {
        let package = package(PROGRAM, program, "APPLICATION");
        parts.add(package, relation(IMAGE, "CONTAINS", PROGRAM));
    }
    for (number, library) in bill.libraries.iter().enumerate() {
        parts.library(number, library);
    }
    let mut document = json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": DOCUMENT,
        "name": bill.service,
        "creationInfo": { "created": CREATED, "creators": ["Tool: barge"] },
        "packages": parts.packages,
        "relationships": parts.relationships,
    });
    let namespace = format!("https://spdx.org/spdxdocs/{}-{}", bill.service, uuid(&canonical(document.clone())));
    document["documentNamespace"] = json!(namespace);
    canonical(document)
}

/// What a document grows by.
struct Parts {
    packages: Vec<Value>,
    relationships: Vec<Value>,
}

impl Parts {
    fn add(&mut self, package: Value, relationship: Value) {
        self.packages.push(package);
        self.relationships.push(relationship);
    }

    fn library(&mut self, number: usize, library: &Library) {
        let id = format!("SPDXRef-library-{number}");
        let mut own = package(&id, &library.coordinates, "LIBRARY");
        own["packageFileName"] = json!(library.path);
        own["checksums"] = json!([sha256(&library.sha256)]);
        if let Some(why) = &library.unread {
            own["comment"] = json!(format!("known by its name alone: {why}"));
        }
        self.add(own, relation(IMAGE, "CONTAINS", &id));
        for (part, bundled) in library.bundled.iter().enumerate() {
            let inner = format!("{id}-{part}");
            self.add(package(&inner, bundled, "LIBRARY"), relation(&id, "CONTAINS", &inner));
        }
    }
}

fn relation(one: &str, kind: &str, other: &str) -> Value {
    json!({ "spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other })
}

fn sha256(hex: &str) -> Value {
    json!({ "algorithm": "SHA256", "checksumValue": hex })
}

fn bare(id: &str, name: &str, purpose: &str) -> Value {
    json!({
        "SPDXID": id,
        "name": name,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "primaryPackagePurpose": purpose,
    })
}

fn image(bill: &Bill) -> Value {
    let mut package = bare(IMAGE, &bill.service, "CONTAINER");
    package["versionInfo"] = json!(bill.image);
    package["checksums"] = json!([sha256(Bill::hex(&bill.image))]);
    package
}

fn base_package(base: &Base) -> Value {
    let mut package = bare(BASE, &base.name, "CONTAINER");
    if let Some(digest) = &base.digest {
        package["versionInfo"] = json!(digest);
        package["checksums"] = json!([sha256(Bill::hex(digest))]);
    }
    package
}

fn package(id: &str, coordinates: &Coordinates, purpose: &str) -> Value {
    let name = match &coordinates.group {
        Some(group) => format!("{group}:{}", coordinates.name),
        None => coordinates.name.clone(),
    };
    let mut package = bare(id, &name, purpose);
    if let Some(version) = &coordinates.version {
        package["versionInfo"] = json!(version);
    }
    if let Some(purl) = coordinates.purl() {
        let reference =
            json!({ "referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl });
        package["externalRefs"] = json!([reference]);
    }
    package
}
