//! Errors: one shape, stable codes, nothing of the inside.

use axum::body::Body;
use axum::http::Request;
use serde_json::json;

use crate::support::{Harness, SERVICE, release};

#[tokio::test]
async fn every_error_is_a_problem_document() {
    let harness = Harness::start().await;
    harness.released("a").await;
    let send = async |method: &str, path: &str, kind: Option<&str>, body: Vec<u8>| {
        let mut request =
            Request::builder().method(method).uri(path).header("authorization", format!("Bearer {}", harness.admin));
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        harness.send(request.body(Body::from(body)).unwrap()).await
    };
    let scale = format!("{SERVICE}/scale");
    let json = Some("application/json");
    let check = async |method: &str, path: &str, kind, body: &[u8], expected: (u16, &str)| {
        let answer = send(method, path, kind, body.to_vec()).await;
        assert_eq!(
            answer.problem(),
            expected,
            "{method} {path} {}",
            String::from_utf8_lossy(&body[..body.len().min(40)])
        );
        let hint = answer.json["hint"].as_str();
        assert!(hint.is_none_or(|hint| hint.contains("barge")), "{hint:?}");
        assert_eq!(
            answer.json.as_object().unwrap().len(),
            5 + usize::from(hint.is_some()),
            "no more fields than promised"
        );
    };
    check("GET", "/nowhere", None, b"", (404, "not_found")).await;
    check("GET", "/api/v1/environments/none/services/greeter/status", None, b"", (404, "not_found")).await;
    check("GET", "/api/v1/environments/test/services/nobody/status", None, b"", (404, "not_found")).await;
    check("GET", "/api/v1/environments/test/services/nobody/instances", None, b"", (404, "not_found")).await;
    check("GET", &format!("{SERVICE}/releases/01HF7YAT000000000000000000"), None, b"", (404, "not_found")).await;
    check("GET", &format!("{SERVICE}/instances/01HF7YAT000000000000000000/logs"), None, b"", (404, "not_found")).await;
    for id in ["..%2f..", "..%2F..%2Fserver.sqlite", "%2e%2e", "%00", "01HF7YAT00000000000000000%2f", "%FF", "7"] {
        for rest in ["logs", "logs/stream", "exec"] {
            check("GET", &format!("{SERVICE}/instances/{id}/{rest}"), None, b"", (400, "invalid")).await;
        }
    }
    check("DELETE", &scale, None, b"", (405, "invalid")).await;
    check("PUT", "/api/v1/tokens", None, b"", (405, "invalid")).await;
    for name in ["UPPER", "a_b", "..%2f..", "%00", "a%20b", &"a".repeat(41), "%E6%9D%8E", "-a", "1a", "%FF"] {
        check("GET", &format!("/api/v1/environments/test/services/{name}/status"), None, b"", (400, "invalid")).await;
    }
    check("GET", &format!("{SERVICE}/releases/7"), None, b"", (400, "invalid")).await;
    check("GET", "/api/v1/audit?limit=many", None, b"", (400, "invalid")).await;
    check("GET", "/api/v1/audit?limit=-1", None, b"", (400, "invalid")).await;
    check("POST", &scale, json, b"{", (400, "invalid")).await;
    check("POST", &scale, json, b"{}", (400, "invalid")).await;
    check("POST", &scale, json, b"", (400, "invalid")).await;
    check("POST", &scale, json, b"[]", (400, "invalid")).await;
    check("POST", &scale, json, b"{\"replicas\": -1}", (400, "invalid")).await;
    check("POST", &scale, json, b"{\"replicas\": 1.5}", (400, "invalid")).await;
    check("POST", &scale, json, b"{\"replicas\": 99999999999}", (400, "invalid")).await;
    check("POST", &scale, json, b"{\"replicas\": 3, \"replicas\": 4}", (400, "invalid")).await;
    check("POST", &scale, json, b"{\"replicas\": 3, \"force\": true}", (400, "invalid")).await;
    check("POST", &scale, json, b"\xff\xfe", (400, "invalid")).await;
    check("POST", &scale, json, "[".repeat(100_000).as_bytes(), (400, "invalid")).await;
    check("POST", &scale, json, b"{\"replicas\": 10001}", (422, "invalid")).await;
    check("POST", &scale, None, b"{\"replicas\": 3}", (415, "invalid")).await;
    check("POST", &scale, Some("text/plain"), b"{\"replicas\": 3}", (415, "invalid")).await;
    check("POST", &scale, json, &vec![b' '; 1024 * 1024 + 1], (413, "too_large")).await;
    check("POST", "/api/v1/tokens", json, &vec![b'x'; 2 * 1024 * 1024], (413, "too_large")).await;
    assert_eq!(harness.status().await["replicas"], 2, "nothing of it had an effect");
    let charset = send("POST", &scale, Some("Application/JSON; charset=utf-8"), b"{\"replicas\": 3}".to_vec()).await;
    assert_eq!(charset.status, 202);
}

#[tokio::test]
async fn a_configuration_that_cannot_run_is_refused_with_its_reason() {
    let harness = Harness::start().await;
    let check = async |pointer: &str, value: serde_json::Value, expected: (u16, &str), why: &str| {
        let mut body = release("a");
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        body.pointer_mut(parent).unwrap()[name] = value;
        let answer = harness.post(&format!("{SERVICE}/releases"), &body).await;
        assert_eq!(answer.problem(), expected, "{pointer}");
        let detail = answer.json["detail"].as_str().unwrap();
        assert!(detail.contains(why), "{pointer}: {detail}");
    };
    check("/config/replicas", json!(10_001), (422, "invalid"), "at most 10000").await;
    check("/config/command", json!([]), (422, "invalid"), "no command").await;
    check("/config/env", json!({ "PORT": "1" }), (422, "invalid"), "PORT").await;
    check("/config/env", json!({ "A": { "secret": "../x" } }), (422, "invalid"), "A").await;
    check("/config/templates", json!(["../x.template"]), (422, "invalid"), "template").await;
    check("/config/rollout", json!({ "first_batch": 0 }), (422, "invalid"), "first_batch").await;
    check("/config/kind", json!("job"), (400, "invalid"), "job").await;
    check("/config/colour", json!("red"), (400, "invalid"), "colour").await;
    check("/config/start_deadline", json!("soon"), (400, "invalid"), "soon").await;
    check("/digest", json!("sha256:1"), (400, "invalid"), "digest").await;
    check("/digest", json!("latest"), (400, "invalid"), "digest").await;
    check("/image", json!("a b"), (422, "invalid"), "image").await;
    check("/reason", json!("ä".repeat(4001)), (422, "invalid"), "at most 4000").await;
}

#[tokio::test]
async fn a_failure_inside_tells_its_code_and_nothing_else() {
    let harness = Harness::start().await;
    let id = harness.released("a").await;
    let instance = harness.instance().await;
    harness.engine.silent(true);
    for path in [
        "status",
        "status/stream",
        "releases",
        &format!("releases/{id}"),
        "instances",
        &format!("instances/{instance}/logs"),
    ] {
        let answer = harness.get(&format!("{SERVICE}/{path}")).await;
        assert_eq!(answer.problem(), (500, "internal"), "{path}");
        assert_eq!(answer.json["detail"], "something on the server failed; its log says what");
        assert!(!answer.text.contains("hunter2") && !answer.text.contains("database"), "{}", answer.text);
    }
    let answer = harness.post(&format!("{SERVICE}/scale"), &json!({ "replicas": 3 })).await;
    assert_eq!(answer.problem(), (500, "internal"));
    harness.engine.silent(false);
    assert_eq!(harness.status().await["replicas"], 2, "and changes nothing");
}

#[tokio::test]
async fn an_engine_that_fails_takes_nothing_away_from_the_list_of_services() {
    let harness = Harness::start().await;
    harness.released("a").await;
    harness.engine.silent(true);
    let services = harness.get("/api/v1/services").await.json;
    assert_eq!(services["services"][0]["sentence"], "the engine does not answer");
    assert_eq!(services["services"][0]["replicas"], 2);
}

#[tokio::test]
async fn a_broken_database_tells_its_code_and_nothing_else() {
    let harness = Harness::start().await;
    harness.released("a").await;
    let connection =
        sea_orm::Database::connect(format!("sqlite://{}/server.sqlite", harness.directory.path().display()));
    let connection = connection.await.unwrap();
    sea_orm::ConnectionTrait::execute_unprepared(&connection, "UPDATE release SET definition = '{\"password\":1'")
        .await
        .unwrap();
    let answer = harness.get(&format!("{SERVICE}/releases")).await;
    assert_eq!(answer.problem(), (500, "internal"));
    assert!(!answer.text.contains("password") && !answer.text.contains("SQL"), "{}", answer.text);
}

#[tokio::test]
async fn the_server_says_that_it_is_alive_without_a_token() {
    let harness = Harness::start().await;
    let answer = harness.call("GET", "/healthz", "", &[], None).await;
    assert_eq!((answer.status, answer.text.as_str()), (200, "ok\n"));
    let document = harness.call("GET", "/api/v1/openapi.json", "", &[], None).await;
    assert_eq!((document.status, &document.json["openapi"]), (200, &json!("3.1.0")));
}
