//! Where an image comes from, as an in-toto statement with SLSA's predicate (in-toto attestation framework v1, SLSA provenance v1), and
//! as labels.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::bill::{Base, Bill};
use crate::git::Commit;
use crate::identifier::canonical;

/// The media type of a statement.
pub const MEDIA_TYPE: &str = "application/vnd.in-toto+json";

/// How `barge build` comes from a project to an image; a change of its meaning gets another number.
const BUILD_TYPE: &str = "https://barge.dev/build/v1";
const BUILDER: &str = "https://barge.dev/build";

/// Names of labels and annotations (image specification, "Pre-Defined Annotation Keys").
const REVISION: &str = "org.opencontainers.image.revision";
const SOURCE: &str = "org.opencontainers.image.source";
/// `true` where the project differed from the commit, `unknown` where that could not be found out.
const DIRTY: &str = "dev.barge.dirty";

/// What a commit says in labels or annotations.
pub fn labels(commit: &Commit) -> BTreeMap<String, String> {
    let dirty = commit.dirty.map_or_else(|| "unknown".to_owned(), |dirty| dirty.to_string());
    let mut labels = BTreeMap::from([(REVISION.to_owned(), commit.revision.clone()), (DIRTY.to_owned(), dirty)]);
    labels.extend(commit.source.iter().map(|source| (SOURCE.to_owned(), source.clone())));
    labels
}

/// Writes the statement that the image of `service` with the given digest was built from `commit`, on `base`. It is not signed.
pub fn write(service: &str, image: &str, commit: &Commit, base: Option<&Base>) -> Vec<u8> {
    let mut dependencies = vec![source(commit)];
    dependencies.extend(base.and_then(base_image));
    canonical(json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{ "name": service, "digest": { "sha256": Bill::hex(image) } }],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": { "service": service },
                "internalParameters": { "dirty": commit.dirty },
                "resolvedDependencies": dependencies,
            },
            "runDetails": { "builder": { "id": BUILDER } },
        },
    }))
}

fn source(commit: &Commit) -> Value {
    let mut source = json!({ "name": "source", "digest": { "gitCommit": commit.revision } });
    if let Some(address) = &commit.source {
        source["uri"] = json!(format!("git+{address}"));
    }
    source
}

fn base_image(base: &Base) -> Option<Value> {
    let digest = Bill::hex(base.digest.as_ref()?);
    Some(json!({ "name": "base", "uri": base.name, "digest": { "sha256": digest } }))
}
