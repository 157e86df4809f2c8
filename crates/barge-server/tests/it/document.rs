//! The OpenAPI document: committed, readable, and complete; every operation in it is tried with every kind of caller.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{Harness, mismatch, operations, release};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");

#[test]
fn the_committed_document_is_the_present_one() {
    let present = format!("{}\n", serde_json::to_string_pretty(&barge_server::openapi()).unwrap());
    if std::env::var_os("BARGE_UPDATE").is_some() {
        std::fs::write(PATH, &present).unwrap();
    }
    let committed = std::fs::read_to_string(PATH).unwrap_or_default();
    assert!(committed == present, "docs/openapi.json is not up to date: run this test with BARGE_UPDATE=1");
}

#[test]
fn every_operation_says_what_it_is() {
    let mut ids = BTreeSet::new();
    for (method, path, operation) in operations() {
        let place = format!("{method} {path}");
        let id = operation["operationId"].as_str().unwrap();
        assert!(ids.insert(id.to_owned()), "{id} twice");
        assert!(id.bytes().all(|byte| byte.is_ascii_alphabetic()), "{id}: a name that every language can have");
        assert!(operation["summary"].as_str().is_some_and(|summary| summary.ends_with('.')), "{place}");
        assert_eq!(operation["tags"].as_array().unwrap().len(), 1, "{place}");
        for (status, response) in operation["responses"].as_object().unwrap() {
            assert!(response["description"].as_str().is_some_and(|text| !text.is_empty()), "{place}: {status}");
        }
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            assert!(parameter["description"].as_str().is_some_and(|text| !text.is_empty()), "{place}: {parameter}");
        }
        assert_eq!(operation["requestBody"].is_object(), method == "POST", "{place}");
    }
}

#[test]
fn every_schema_and_field_is_described() {
    let document = serde_json::to_value(barge_server::openapi()).unwrap();
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        assert!(schema["description"].is_string(), "{name}");
        let properties = schema["properties"].as_object().into_iter().flatten();
        for (field, property) in properties {
            let inner = property["oneOf"].as_array().into_iter().flatten();
            let described = inner.chain([property]).any(|part| part["description"].is_string());
            assert!(described, "{name}.{field}: {property}");
        }
    }
}

/// What a call of every operation got.
struct Called {
    place: String,
    status: u16,
    code: String,
}

/// Calls every operation, with a service, a release and an instance that exist.
async fn call_everything(harness: &Harness, token: &str) -> Vec<Called> {
    let (release_id, instance) = (harness.posted_once().await, harness.instance().await);
    let mut called = Vec::new();
    for (method, template, _) in operations() {
        let path = template
            .replace("{environment}", "test")
            .replace("{service}", "greeter")
            .replace("{release}", &release_id)
            .replace("{instance}", &instance)
            .replace("{token}", "01HF7YAT000000000000000000");
        assert!(!path.contains('{'), "a part of {template} is not known to this test");
        // Right or wrong bodies alike: the question of access comes first.
        for body in [(method == "POST").then(|| json!({})), (method == "POST").then(|| release("b"))] {
            let answer = harness.call(&method, &path, token, &[], body.as_ref()).await;
            let code = answer.json["code"].as_str().unwrap_or_default().to_owned();
            if answer.status >= 400 {
                answer.problem();
            }
            called.push(Called { place: format!("{method} {template}"), status: answer.status, code });
        }
    }
    called
}

/// Which operations of `called` are in the list.
fn is_one_of(place: &str, list: &[&str]) -> bool {
    list.iter().any(|end| place.ends_with(end))
}

#[tokio::test]
async fn nothing_is_answered_without_a_token() {
    let harness = Harness::start().await;
    for Called { place, status, code } in call_everything(&harness, "").await {
        assert_eq!((status, code.as_str()), (401, "unauthenticated"), "{place}");
    }
}

#[tokio::test]
async fn a_viewer_reads_and_changes_nothing() {
    let harness = Harness::start().await;
    let token = harness.token(json!({ "name": "viewer", "role": "viewer" })).await;
    let hidden = ["/logs", "/logs/stream", "/exec", "GET /api/v1/tokens", "GET /api/v1/audit"];
    for Called { place, status, code } in call_everything(&harness, &token).await {
        if place.starts_with("GET ") && !is_one_of(&place, &hidden) {
            assert_eq!(status, 200, "{place}");
        } else {
            assert_eq!((status, code.as_str()), (403, "forbidden"), "{place}");
        }
    }
    assert_eq!(harness.status().await["version"], 1);
}

#[tokio::test]
async fn a_developer_of_another_service_sees_and_changes_nothing() {
    let harness = Harness::start().await;
    let token = harness.token(json!({ "name": "other", "role": "developer", "service": "other" })).await;
    let open = ["GET /api/v1/whoami", "GET /api/v1/environments", "GET /api/v1/services"];
    for Called { place, status, code } in call_everything(&harness, &token).await {
        if is_one_of(&place, &open) {
            assert_eq!(status, 200, "{place}");
        } else {
            assert_eq!((status, code.as_str()), (403, "forbidden"), "{place}");
        }
    }
    let services = harness.call("GET", "/api/v1/services", &token, &[], None).await;
    assert_eq!(services.json, json!({ "services": [] }));
    assert_eq!(harness.status().await["version"], 1);
}

#[test]
fn the_examples_are_as_the_types_read_them() {
    let document = serde_json::to_value(barge_server::openapi()).unwrap();
    let example = |name: &str| {
        let example = document["components"]["schemas"][name]["example"].clone();
        assert!(example.is_object(), "{name} has an example");
        example
    };
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        let example = &schema["example"];
        let why = if example.is_null() { None } else { mismatch(&document, schema, example, name) };
        assert_eq!(why, None);
    }
    fn reads<T: serde::de::DeserializeOwned>(example: Value) {
        serde_json::from_value::<T>(example).unwrap();
    }
    reads::<barge_api::NewRelease>(example("NewRelease"));
    reads::<barge_api::ApprovalRequest>(example("ApprovalRequest"));
    reads::<barge_api::AbortRequest>(example("AbortRequest"));
    reads::<barge_api::RollbackRequest>(example("RollbackRequest"));
    reads::<barge_api::RestartRequest>(example("RestartRequest"));
    reads::<barge_api::ScaleRequest>(example("ScaleRequest"));
    reads::<barge_api::NewToken>(example("NewToken"));
    reads::<barge_api::ExecOpen>(example("ExecOpen"));
    reads::<barge_api::Problem>(example("Problem"));
}
