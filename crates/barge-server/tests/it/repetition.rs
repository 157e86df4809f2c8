//! Idempotency keys: the same request again is no second change.

use serde_json::json;

use crate::support::{Harness, SERVICE, release};

#[tokio::test]
async fn a_repeated_request_gets_the_first_answer_even_after_a_restart() {
    let mut harness = Harness::start().await;
    let path = format!("{SERVICE}/releases");
    let key = [("idempotency-key", "portal-4711")];
    let first = harness.post_with(&path, &key, &release("a")).await;
    assert_eq!(first.status, 202);
    for _ in 0..2 {
        let again = harness.post_with(&path, &key, &release("a")).await;
        assert_eq!((again.status, &again.json), (202, &first.json));
        harness = harness.restart().await;
    }
    let list = harness.get(&path).await.json;
    assert_eq!(list["releases"].as_array().unwrap().len(), 1);
    assert_eq!(harness.audit().await.iter().filter(|entry| entry.ends_with("release.create")).count(), 1);
}

#[tokio::test]
async fn a_key_is_for_one_request_of_one_caller() {
    let harness = Harness::start().await;
    harness.released("a").await;
    let key = [("idempotency-key", "k")];
    let scale = format!("{SERVICE}/scale");
    assert_eq!(harness.post_with(&scale, &key, &json!({ "replicas": 3 })).await.status, 202);
    let other = harness.post_with(&scale, &key, &json!({ "replicas": 4 })).await;
    assert_eq!(other.problem(), (422, "idempotency_key_reused"));
    let elsewhere = scale.replace("/scale", "/restart");
    assert_eq!(harness.post_with(&elsewhere, &key, &json!({})).await.problem(), (422, "idempotency_key_reused"));
    let bob = harness.token(json!({ "name": "bob", "role": "releaser" })).await;
    let answer = harness.call("POST", &scale, &bob, &key, Some(&json!({ "replicas": 4 }))).await;
    assert_eq!(answer.status, 202, "another caller's keys are its own");
}

#[tokio::test]
async fn a_refusal_is_not_remembered() {
    let harness = Harness::start().await;
    harness.engine.slow(true);
    let id = harness.posted("a").await;
    let path = format!("{SERVICE}/releases/{id}/approval");
    let (key, body) = ([("idempotency-key", "k")], json!({ "digest": release("a")["digest"] }));
    assert_eq!(harness.post_with(&path, &key, &body).await.problem(), (409, "not_at_gate"));
    harness.engine.slow(false);
    assert_eq!(harness.post_with(&path, &key, &body).await.status, 202);
}

#[tokio::test]
async fn a_key_has_1_to_200_visible_characters() {
    let harness = Harness::start().await;
    let long = "k".repeat(201);
    for key in ["", long.as_str()] {
        let answer =
            harness.post_with(&format!("{SERVICE}/releases"), &[("idempotency-key", key)], &release("a")).await;
        assert_eq!(answer.problem(), (400, "invalid"), "{} characters", key.len());
    }
}
