//! The JSON Schema of `barge.yaml`, for editors: committed, and checked against what is read.

use barge_model::manifest::json_schema;

use crate::generated;

#[test]
fn the_committed_schema_is_up_to_date() {
    let text = serde_json::to_string_pretty(&json_schema()).unwrap() + "\n";
    generated::check("../../schema/barge.schema.json", &text);
}

#[test]
fn every_object_of_the_schema_refuses_unknown_fields() {
    fn objects(value: &serde_json::Value, path: &str, open: &mut Vec<String>) {
        if let Some(map) = value.as_object() {
            let keyed = map.contains_key("properties");
            let closed = map.get("additionalProperties") == Some(&serde_json::Value::Bool(false));
            if keyed && !closed {
                open.push(path.to_owned());
            }
            for (key, inner) in map {
                objects(inner, &format!("{path}/{key}"), open);
            }
        }
        for (number, inner) in value.as_array().into_iter().flatten().enumerate() {
            objects(inner, &format!("{path}/{number}"), open);
        }
    }
    let mut open = Vec::new();
    objects(&json_schema(), "", &mut open);
    assert_eq!(open, Vec::<String>::new(), "an editor would accept what `barge` refuses");
}

#[test]
fn every_field_has_a_description() {
    let schema = json_schema();
    for (field, inner) in schema["properties"].as_object().unwrap() {
        assert!(inner["description"].is_string(), "{field}");
    }
}
