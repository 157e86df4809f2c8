//! The documents: the same bytes each time, and good in the eyes of others.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use barge_sbom::{Base, Bill, Commit, Coordinates, Library, Source, cyclonedx, provenance, spdx};
use serde_json::Value;
use tempfile::TempDir;
use zip::CompressionMethod;

use crate::support::{BASE, IMAGE, bill, in_archive, in_directory};

/// Some bill, and one with nothing in it.
fn bills() -> [Bill; 2] {
    let directory = TempDir::new().unwrap();
    let full = bill(&in_directory(directory.path()));
    let empty = Bill { base: None, program: None, libraries: Vec::new(), ..full.clone() };
    [full, empty]
}

#[test]
fn the_same_program_gives_the_same_bytes_everywhere() {
    let (one, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let here = bill(&in_directory(one.path()));
    let there = bill(&in_archive(&other.path().join("shop.jar"), CompressionMethod::Deflated));
    assert_eq!(cyclonedx::write(&here), cyclonedx::write(&there));
    assert_eq!(spdx::write(&here), spdx::write(&there));
    // What names a document follows from what is in it.
    let changed = Bill { service: "shop2".to_owned(), ..here.clone() };
    let name = |bill: &Bill| -> (Value, Value) {
        let document = |bytes: Vec<u8>| serde_json::from_slice::<Value>(&bytes).unwrap();
        (
            document(cyclonedx::write(bill))["serialNumber"].clone(),
            document(spdx::write(bill))["documentNamespace"].clone(),
        )
    };
    let (one, other) = (name(&here), name(&changed));
    assert!(one.0.as_str().unwrap().starts_with("urn:uuid:") && one.0 != other.0 && one.1 != other.1);
}

#[test]
fn the_bytes_stay_what_they_are() {
    let coordinates = |name: &str| Coordinates {
        group: Some("org.example".to_owned()),
        name: name.to_owned(),
        version: Some("1.0".to_owned()),
    };
    let library = Library {
        path: "app/lib/words-1.0.jar".to_owned(),
        sha256: "3".repeat(64),
        coordinates: coordinates("words"),
        source: Source::Maven,
        bundled: vec![coordinates("letters")],
        unread: None,
    };
    let bill = Bill {
        service: "shop".to_owned(),
        image: IMAGE.to_owned(),
        program: Some(coordinates("shop")),
        base: Some(Base { name: "registry.example/java:21".to_owned(), digest: Some(BASE.to_owned()) }),
        libraries: vec![library],
    };
    // A change of these is a change for everybody who has such documents: each image gets new ones.
    let digests = [cyclonedx::write(&bill), spdx::write(&bill)].map(|bytes| barge_image::layer::digest(&bytes));
    assert_eq!(
        digests,
        [
            "sha256:ccd388cba46fb881f33eb2ecb2765826771fb52bac57478de947d6ce7cdadd99",
            "sha256:dc02e8ecb0ead0f4557ed525232687635fad03c92a9caa8731034136a75cbdd5"
        ]
    );
}

#[test]
fn both_formats_say_why_a_library_is_known_by_its_name_alone() {
    let [bill, _] = bills();
    let whys: Vec<&String> = bill.libraries.iter().filter_map(|library| library.unread.as_ref()).collect();
    assert_eq!(whys.len(), 2);
    for bytes in [cyclonedx::write(&bill), spdx::write(&bill)] {
        let text = String::from_utf8(bytes).unwrap();
        assert!(whys.iter().all(|why| text.contains(why.as_str())), "{text}");
    }
}

/// Where the validators' Python is.
fn python() -> Option<PathBuf> {
    Some(barge_testkit::tool("pyspdxtools")?.with_file_name("python3"))
}

fn run(program: &Path, words: &[&str], file: &Path) -> Output {
    Command::new(program).args(words).arg(file).output().unwrap()
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Prints what is wrong with a document of CycloneDX 1.6.
const CYCLONEDX: &str = "\
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(sys.argv[1]).read())
sys.exit(str(error) if error else 0)
";

#[test]
fn the_validator_of_cyclonedx_finds_nothing() {
    let Some(python) = python() else { return };
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("bom.json");
    for bill in bills() {
        std::fs::write(&path, cyclonedx::write(&bill)).unwrap();
        let output = run(&python, &["-c", CYCLONEDX], &path);
        assert!(output.status.success(), "{}", told(&output));
    }
    let text = String::from_utf8(cyclonedx::write(&bills()[0])).unwrap();
    std::fs::write(&path, text.replace("SHA-256", "SHA-257")).unwrap();
    assert!(!run(&python, &["-c", CYCLONEDX], &path).status.success(), "the validator sees nothing at all");
}

#[test]
fn the_validator_of_spdx_finds_nothing() {
    let Some(validator) = barge_testkit::tool("pyspdxtools") else { return };
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("bom.spdx.json");
    for bill in bills() {
        std::fs::write(&path, spdx::write(&bill)).unwrap();
        let output = run(&validator, &["--infile"], &path);
        assert!(output.status.success(), "{}", told(&output));
    }
    let text = String::from_utf8(spdx::write(&bills()[0])).unwrap();
    std::fs::write(&path, text.replace("DESCENDANT_OF", "COUSIN_OF")).unwrap();
    assert!(!run(&validator, &["--infile"], &path).status.success(), "the validator sees nothing at all");
}

#[test]
fn provenance_says_commit_and_base() {
    let [bill, _] = bills();
    let commit = Commit {
        revision: "0123456789012345678901234567890123456789".to_owned(),
        source: Some("https://git.example/shop".to_owned()),
        dirty: None,
    };
    let statement: Value =
        serde_json::from_slice(&provenance::write("shop", IMAGE, &commit, bill.base.as_ref())).unwrap();
    assert_eq!(statement["subject"][0]["digest"]["sha256"], IMAGE[7..]);
    let dependencies = &statement["predicate"]["buildDefinition"]["resolvedDependencies"];
    assert_eq!(dependencies[0]["uri"], "git+https://git.example/shop");
    assert_eq!(dependencies[0]["digest"]["gitCommit"], commit.revision);
    assert_eq!(dependencies[1]["digest"]["sha256"], BASE[7..]);
    let labels = provenance::labels(&commit);
    let expected = [
        ("dev.barge.dirty", "unknown"),
        ("org.opencontainers.image.revision", commit.revision.as_str()),
        ("org.opencontainers.image.source", "https://git.example/shop"),
    ];
    assert!(labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).eq(expected));
}
