//! The registration protocol over HTTP.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use barge_gateway::{PutState, Table, api};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::support::{DEADLINE, address, key, put, uid};

const TOKEN: &str = "a-token";

fn router() -> (Arc<Table>, Router) {
    let table = Arc::new(Table::in_memory());
    (Arc::clone(&table), api::router(table, TOKEN))
}

fn path(rest: &str) -> String {
    format!("/v1/services/greeter/instances{rest}")
}

async fn call(router: &Router, method: &str, uri: &str, token: &str, body: Value) -> (StatusCode, Value) {
    let request = Request::builder()
        .method(method)
        .uri(uri)
        .header("authorization", token)
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()))
        .unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

async fn register(router: &Router, body: Value) -> (StatusCode, Value) {
    let uri = path(&format!("/{}?environment=test", uid(1)));
    call(router, "PUT", &uri, "Bearer a-token", body).await
}

fn body(generation: u64, state: &str) -> Value {
    json!({ "address": "127.0.0.1:81", "generation": generation, "state": state })
}

#[tokio::test]
async fn an_instance_is_registered_listed_and_ended() {
    let (_, router) = router();
    assert_eq!(register(&router, body(3, "online")).await, (StatusCode::OK, json!({ "revision": 1 })));
    assert_eq!(register(&router, body(3, "online")).await, (StatusCode::OK, json!({ "revision": 1 })));
    let older = (StatusCode::CONFLICT, json!({ "generation": 3, "terminal": false }));
    assert_eq!(register(&router, body(2, "offline")).await, older);
    let list = call(&router, "GET", &path("?environment=test"), "Bearer a-token", Value::Null).await;
    let instance = json!({
        "uid": uid(1), "address": "127.0.0.1:81", "generation": 3, "epoch": 0, "state": "online", "weight": 1, "meta": {},
    });
    assert_eq!(list, (StatusCode::OK, json!({ "revision": 1, "instances": [instance] })));
    assert_eq!(register(&router, body(4, "terminal")).await.0, StatusCode::OK);
    let ended = (StatusCode::CONFLICT, json!({ "generation": 4, "terminal": true }));
    assert_eq!(register(&router, body(5, "online")).await, ended);
}

#[tokio::test]
async fn every_call_needs_the_token() {
    let (table, router) = router();
    table.put(&key(), &uid(1), put(address(81), 1, PutState::Online)).unwrap();
    let one = path(&format!("/{}?environment=test", uid(1)));
    let calls = [
        ("PUT", one.clone()),
        ("GET", path("?environment=test")),
        ("GET", one.replace('?', "/traffic?")),
        ("GET", "/v1/nothing".to_owned()),
    ];
    for (method, uri) in calls {
        for token in ["", "Bearer ", "Bearer b-token", "Bearer a-token2", "a-token", "Basic a-token"] {
            let (status, _) = call(&router, method, &uri, token, body(2, "offline")).await;
            let unknown = uri == "/v1/nothing" && status == StatusCode::NOT_FOUND;
            assert!(status == StatusCode::UNAUTHORIZED || unknown, "{method} {uri} with {token:?} gives {status}");
        }
    }
    assert_eq!(table.list(&key()).0, 1);
}

#[tokio::test]
async fn what_is_not_understood_is_refused() {
    let (table, router) = router();
    let mut unknown = body(1, "online");
    unknown["wieght"] = json!(3);
    for bad in [unknown, body(1, "gone"), json!({}), json!({ "address": "a:1", "generation": 1, "state": "online" })] {
        assert_eq!(register(&router, bad).await.0, StatusCode::UNPROCESSABLE_ENTITY);
    }
    for uri in ["/one?environment=test", "?watch=1", "?environment=Test", "?environment=test&watch=x"] {
        let method = if uri.starts_with('/') { "PUT" } else { "GET" };
        let (status, _) = call(&router, method, &path(uri), "Bearer a-token", body(1, "online")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{uri}");
    }
    assert_eq!(table.list(&key()).0, 0);
}

#[tokio::test]
async fn a_watch_answers_when_the_list_changes() {
    let (table, router) = router();
    table.put(&key(), &uid(1), put(address(81), 1, PutState::Online)).unwrap();
    let watch = |revision: u64| {
        let router = router.clone();
        let uri = path(&format!("?environment=test&watch={revision}"));
        async move { call(&router, "GET", &uri, "Bearer a-token", Value::Null).await.1 }
    };
    assert_eq!(watch(0).await["revision"], 1, "an older revision is answered at once");
    assert_eq!(watch(7).await["revision"], 1, "so is one that this table never had");
    let mut waiting = tokio::spawn(watch(1));
    tokio::select! {
        biased;
        _ = &mut waiting => panic!("a watch on the latest revision has nothing to say"),
        () = tokio::task::yield_now() => {}
    }
    table.put(&key(), &uid(1), put(address(81), 2, PutState::Offline)).unwrap();
    let answer = tokio::time::timeout(DEADLINE, waiting).await.expect("the watch answers").unwrap();
    assert_eq!((&answer["revision"], &answer["instances"][0]["state"]), (&json!(2), &json!("offline")));
}

#[tokio::test]
async fn traffic_is_told_of_instances_that_were_registered() {
    let (table, router) = router();
    let uri = path(&format!("/{}/traffic?environment=test", uid(1)));
    assert_eq!(call(&router, "GET", &uri, "Bearer a-token", Value::Null).await.0, StatusCode::NOT_FOUND);
    table.put(&key(), &uid(1), put(address(81), 1, PutState::Terminal)).unwrap();
    let (status, traffic) = call(&router, "GET", &uri, "Bearer a-token", Value::Null).await;
    assert_eq!((status, &traffic["in_flight"], &traffic["total"]), (StatusCode::OK, &json!(0), &json!(0)));
    assert!(traffic["quiet_ms"].is_u64());
}
