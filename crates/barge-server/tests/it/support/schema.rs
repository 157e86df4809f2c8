//! Holds JSON against a schema of the OpenAPI document: as much of JSON Schema as the document uses.

use serde_json::Value;

/// Why `value` does not fit `schema`, if it does not; `path` says where. A field that the schema does not name is a mistake.
pub(crate) fn mismatch(document: &Value, schema: &Value, value: &Value, path: &str) -> Option<String> {
    part_mismatch(document, schema, value, path, false)
}

/// The same; of a `part` of a composition, the other parts may name more fields.
fn part_mismatch(document: &Value, schema: &Value, value: &Value, path: &str, part: bool) -> Option<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = document.pointer(reference.trim_start_matches('#')).expect("every reference leads somewhere");
        return part_mismatch(document, target, value, path, part);
    }
    for word in ["oneOf", "anyOf"] {
        if let Some(choices) = schema[word].as_array() {
            let whys: Vec<String> =
                choices.iter().map_while(|choice| part_mismatch(document, choice, value, path, part)).collect();
            if whys.len() == choices.len() {
                return Some(format!("{path} fits none of: {}", whys.join(" / ")));
            }
        }
    }
    if let Some(parts) = schema["allOf"].as_array()
        && let Some(why) = parts.iter().find_map(|one| part_mismatch(document, one, value, path, true))
    {
        return Some(why);
    }
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        return Some(format!("{path} is {value}, none of {allowed:?}"));
    }
    type_mismatch(schema, value, path).or_else(|| fields_mismatch(document, schema, value, path, part))
}

fn type_mismatch(schema: &Value, value: &Value, path: &str) -> Option<String> {
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => return None,
    };
    let fits = types.iter().any(|name| match *name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("{other} is no type"),
    });
    (!fits).then(|| format!("{path} is {value}, not of type {types:?}"))
}

fn fields_mismatch(document: &Value, schema: &Value, value: &Value, path: &str, part: bool) -> Option<String> {
    if let Some(items) = value.as_array() {
        let each = items.iter().enumerate();
        return each
            .filter(|_| schema["items"].is_object())
            .find_map(|(index, item)| mismatch(document, &schema["items"], item, &format!("{path}[{index}]")));
    }
    let fields = value.as_object()?;
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    if let Some(missing) = required.into_iter().find(|name| !fields.contains_key(*name)) {
        return Some(format!("{path} lacks {missing}"));
    }
    let properties = schema["properties"].as_object();
    for (name, field) in fields {
        let path = format!("{path}.{name}");
        match (properties.and_then(|known| known.get(name)), &schema["additionalProperties"]) {
            (Some(known), _) => {
                if let Some(why) = mismatch(document, known, field, &path) {
                    return Some(why);
                }
            }
            (None, Value::Object(other)) => {
                if let Some(why) = mismatch(document, &Value::Object(other.clone()), field, &path) {
                    return Some(why);
                }
            }
            (None, _) if properties.is_some() && !part => return Some(format!("{path} is not in the document")),
            (None, _) => {}
        }
    }
    None
}
