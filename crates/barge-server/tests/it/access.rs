//! Who may do what: roles, scopes, and where requests may come from.

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use crate::support::{Harness, SERVICE, release};

#[tokio::test]
async fn each_role_may_do_what_the_roles_below_it_may_and_more() {
    let harness = Harness::start().await;
    let first = harness.released("a").await;
    let instance = harness.instance().await;
    let second = harness.posted("b").await;
    let digest = json!({ "digest": release("b")["digest"] });
    // From the least role that may to what it may; the changes are such that none is in another one's way.
    let table = [
        (0, "GET", "/api/v1/whoami".to_owned(), None),
        (0, "GET", "/api/v1/environments".to_owned(), None),
        (0, "GET", "/api/v1/services".to_owned(), None),
        (0, "GET", format!("{SERVICE}/status"), None),
        (0, "GET", format!("{SERVICE}/releases"), None),
        (0, "GET", format!("{SERVICE}/releases/{first}"), None),
        (0, "GET", format!("{SERVICE}/instances"), None),
        (1, "GET", format!("{SERVICE}/instances/{instance}/logs"), None),
        (1, "GET", format!("{SERVICE}/instances/{instance}/logs/stream"), None),
        (1, "POST", format!("{SERVICE}/releases"), Some(json!({ "supersede": true }))),
        (2, "POST", format!("{SERVICE}/releases/{second}/approval"), Some(digest)),
        (2, "POST", format!("{SERVICE}/releases/{second}/abort"), Some(json!({}))),
        (2, "POST", format!("{SERVICE}/scale"), Some(json!({ "replicas": 3 }))),
        (2, "POST", format!("{SERVICE}/restart"), Some(json!({}))),
        (2, "POST", format!("{SERVICE}/rollback"), Some(json!({}))),
        (3, "GET", "/api/v1/tokens".to_owned(), None),
        (3, "GET", "/api/v1/audit".to_owned(), None),
        (3, "POST", "/api/v1/tokens".to_owned(), Some(json!({ "name": "x", "role": "viewer" }))),
        (3, "DELETE", "/api/v1/tokens/none".to_owned(), None),
    ];
    for (rank, role) in ["viewer", "developer", "releaser", "admin"].into_iter().enumerate() {
        let token = harness.token(json!({ "name": role, "role": role })).await;
        for (least, method, path, body) in &table {
            let answer = harness.call(method, path, &token, &[], body.as_ref()).await;
            let allowed = rank >= *least;
            assert_eq!(answer.status != 403, allowed, "{role}: {method} {path} gave {}", answer.status);
            if !allowed {
                assert_eq!(answer.problem(), (403, "forbidden"));
            }
        }
    }
}

#[tokio::test]
async fn a_token_for_one_service_or_environment_is_worth_nothing_elsewhere() {
    let harness = Harness::start().await;
    harness.released("a").await;
    let scope = async |service: Value, environment: Value| {
        let new = json!({ "name": "x", "role": "admin", "service": service, "environment": environment });
        let token = harness.token(new).await;
        let status = async |path: &str| harness.call("GET", path, &token, &[], None).await.status;
        let services = harness.call("GET", "/api/v1/services", &token, &[], None).await.json["services"].clone();
        let service = status(&format!("{SERVICE}/status")).await;
        (service, services.as_array().unwrap().len(), status("/api/v1/tokens").await, status("/api/v1/audit").await)
    };
    assert_eq!(scope(Value::Null, Value::Null).await, (200, 1, 200, 200));
    assert_eq!(scope(json!("greeter"), Value::Null).await, (200, 1, 403, 403));
    assert_eq!(scope(Value::Null, json!("test")).await, (200, 1, 403, 403));
    assert_eq!(scope(json!("greeter"), json!("test")).await, (200, 1, 403, 403));
    assert_eq!(scope(json!("greeter"), json!("product")).await, (403, 0, 403, 403));
    assert_eq!(scope(json!("other"), Value::Null).await, (403, 0, 403, 403));
}

#[tokio::test]
async fn what_is_forbidden_does_not_tell_what_exists() {
    let harness = Harness::start().await;
    harness.released("a").await;
    let token = harness.token(json!({ "name": "x", "role": "admin", "service": "other" })).await;
    let known = harness.call("GET", &format!("{SERVICE}/status"), &token, &[], None).await;
    assert_eq!(known.problem(), (403, "forbidden"));
    let unknown = format!("{}/status", SERVICE.replace("greeter", "greeted").replace("test", "none"));
    assert_eq!(harness.call("GET", &unknown, &token, &[], None).await.problem(), (403, "forbidden"));
}

#[tokio::test]
async fn only_requests_from_this_machine_and_this_site_are_taken() {
    let harness = Harness::start().await;
    let get = async |headers: &[(&str, &str)]| {
        let mut request =
            Request::builder().uri("/api/v1/whoami").header("authorization", format!("Bearer {}", harness.admin));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        harness.send(request.body(Body::empty()).unwrap()).await
    };
    for host in ["127.0.0.1", "127.0.0.1:7400", "127.9.9.9:1", "localhost", "LOCALHOST:7400", "[::1]", "[::1]:7400"] {
        assert_eq!(get(&[("host", host)]).await.status, 200, "{host}");
        let origin = format!("http://{host}");
        assert_eq!(get(&[("host", host), ("origin", &origin)]).await.status, 200, "{origin}");
    }
    for host in [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example:7400",
        "10.0.0.1:7400",
        "0.0.0.0",
        "",
        "::1",
        "localhost:7400:1",
        "localhost@evil.example",
    ] {
        let answer = get(&[("host", host)]).await;
        if host != "::1" {
            assert_eq!(answer.problem(), (403, "forbidden"), "{host}");
        }
    }
    for origin in [
        "http://evil.example",
        "null",
        "http://127.0.0.1:7401",
        "http://127.0.0.1.evil.example:7400",
        "",
        "127.0.0.1:7400",
    ] {
        let answer = get(&[("host", "127.0.0.1:7400"), ("origin", origin)]).await;
        assert_eq!(answer.problem(), (403, "forbidden"), "{origin}");
    }
    let absolute = Request::builder().uri("http://evil.example/healthz").header("host", "evil.example");
    assert_eq!(harness.send(absolute.body(Body::empty()).unwrap()).await.problem(), (403, "forbidden"));
}
