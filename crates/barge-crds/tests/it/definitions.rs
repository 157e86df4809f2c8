//! `crds/*.yaml` at the repository's root, which people read and apply.

use std::path::PathBuf;

use barge_crds::definitions;
use serde_json::Value;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../crds").join(format!("{name}.yaml"))
}

#[test]
fn the_files_are_what_the_types_say() {
    for definition in definitions() {
        let path = path(&definition.spec.names.plural);
        let text = serde_saphyr::to_string(&definition).unwrap();
        if std::env::var_os("BARGE_UPDATE").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let there = std::fs::read_to_string(&path).unwrap();
        assert_eq!(there, text, "hint: BARGE_UPDATE=1 cargo test -p barge-crds");
        let read: Value = serde_saphyr::from_str(&there).unwrap();
        assert_eq!(read, serde_json::to_value(&definition).unwrap(), "another reader reads the same");
    }
}

#[test]
fn every_field_is_explained() {
    for definition in definitions() {
        let schema = serde_json::to_value(&definition.spec.versions[0].schema).unwrap();
        let mut silent = Vec::new();
        look("", &schema["openAPIV3Schema"], &mut silent);
        assert_eq!(silent, Vec::<String>::new());
    }
}

fn look(path: &str, schema: &Value, silent: &mut Vec<String>) {
    if let Some(properties) = schema["properties"].as_object() {
        for (name, property) in properties {
            let path = format!("{path}.{name}");
            if property["description"].as_str().is_none_or(str::is_empty) {
                silent.push(path.clone());
            }
            look(&path, property, silent);
        }
    }
    look_into(path, &schema["items"], silent);
    look_into(path, &schema["additionalProperties"], silent);
}

fn look_into(path: &str, schema: &Value, silent: &mut Vec<String>) {
    if schema.is_object() {
        look(path, schema, silent);
    }
}
