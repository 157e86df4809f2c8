//! Tokens: made, shown once, used in two ways, revoked.

use std::time::Duration;

use barge_api::TokenRole;
use futures_util::StreamExt;
use serde_json::json;

use crate::support::{Harness, SERVICE};

const BASE64: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Base64 by hand, so that the test does not trust the same library.
fn base64(text: &str) -> String {
    let letters = BASE64.as_bytes();
    let mut out = String::new();
    for chunk in text.as_bytes().chunks(3) {
        let bits = chunk.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for index in 0..4 {
            let letter = letters[(bits >> (18 - 6 * index) & 63) as usize] as char;
            out.push(if index <= chunk.len() { letter } else { '=' });
        }
    }
    out
}

#[tokio::test]
async fn a_token_is_a_bearer_token_or_the_password_of_basic_authentication() {
    let harness = Harness::start().await;
    let secret = harness.token(json!({ "name": "portal", "role": "developer", "service": "greeter" })).await;
    assert!(secret.starts_with("barge_") && secret.len() == 70, "{secret}");
    let who = async |authorization: String| {
        harness.call("GET", "/api/v1/whoami", "", &[("authorization", &authorization)], None).await
    };
    let me = json!({ "name": "portal", "role": "developer", "service": "greeter", "environment": null, "server": env!("CARGO_PKG_VERSION") });
    for authorization in [
        format!("Bearer {secret}"),
        format!("bearer  {secret}"),
        format!("Basic {}", base64(&format!("anyone:{secret}"))),
        format!("basic {}", base64(&format!(":{secret}"))),
    ] {
        let answer = who(authorization.clone()).await;
        assert_eq!((answer.status, &answer.json), (200, &me), "{authorization}");
    }
    for authorization in [
        String::new(),
        secret.clone(),
        format!("Bearer {secret}x"),
        format!("Bearer {}", &secret[..69]),
        format!("Bearer {}", secret.to_uppercase()),
        "Bearer".to_owned(),
        format!("Basic {}", base64(&secret)),
        format!("Basic {}", base64(&format!("{secret}:"))),
        "Basic ???".to_owned(),
        format!("Digest {secret}"),
    ] {
        let answer = who(authorization.clone()).await;
        assert_eq!(answer.problem(), (401, "unauthenticated"), "{authorization}");
        assert_eq!(answer.header("www-authenticate"), "Bearer");
    }
}

#[tokio::test]
async fn a_secret_is_shown_once_and_stored_nowhere() {
    let harness = Harness::start().await;
    let secret = harness.token(json!({ "name": "portal", "role": "admin" })).await;
    for path in ["/api/v1/tokens", "/api/v1/audit"] {
        let answer = harness.get(path).await;
        assert!(answer.text.contains("portal") && !answer.text.contains(&secret), "{path}");
    }
    let admin = harness.admin.clone();
    let (directory, ..) = harness.stop().await;
    for file in std::fs::read_dir(directory.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        for secret in [&secret, &admin] {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()));
        }
    }
}

#[tokio::test]
async fn a_revoked_token_is_worth_nothing_from_then_on() {
    let harness = Harness::start().await;
    let secret = harness.token(json!({ "name": "portal", "role": "admin" })).await;
    let list = harness.get("/api/v1/tokens").await.json;
    let path = format!("/api/v1/tokens/{}", list["tokens"][1]["id"].as_str().unwrap());
    assert_eq!(harness.call("DELETE", &path, &secret, &[], None).await.status, 204, "it may end itself");
    let who = async |harness: &Harness| harness.call("GET", "/api/v1/whoami", &secret, &[], None).await.status;
    assert_eq!(who(&harness).await, 401);
    assert_eq!(harness.call("DELETE", &path, &harness.admin, &[], None).await.problem(), (404, "not_found"));
    assert_eq!(harness.audit().await.last().unwrap(), "portal token.revoke");
    let harness = harness.restart().await;
    assert_eq!(who(&harness).await, 401, "after a restart as well");
    assert!(harness.get("/api/v1/tokens").await.json["tokens"][1]["revoked_at"].is_i64());
    assert_eq!(harness.get("/api/v1/whoami").await.status, 200, "the others stay");
}

#[tokio::test]
async fn streams_end_when_their_token_is_revoked() {
    let harness = Harness::start().await;
    harness.released("a").await;
    let secret = harness.token(json!({ "name": "portal", "role": "developer" })).await;
    let instance = harness.instance().await;
    let logs = format!("{SERVICE}/instances/{instance}/logs/stream?follow=true&tail=1");
    let status = harness.events_as(&format!("{SERVICE}/status/stream"), &secret).await;
    let logs = harness.events_as(&logs, &secret).await;
    let list = harness.get("/api/v1/tokens").await.json;
    let path = format!("/api/v1/tokens/{}", list["tokens"][1]["id"].as_str().unwrap());
    assert_eq!(harness.call("DELETE", &path, &harness.admin, &[], None).await.status, 204);
    let ended = tokio::time::timeout(Duration::from_secs(10), async { (status.count().await, logs.count().await) });
    ended.await.expect("both streams end");
}

#[tokio::test]
async fn a_token_inside_the_program_cannot_be_seen_or_revoked() {
    let harness = Harness::start().await;
    harness.server_tokens.add_internal("inside", "engine", TokenRole::Viewer);
    let found = || harness.server_tokens.find("inside").is_some();
    assert!(found());
    assert!(!harness.get("/api/v1/tokens").await.text.contains("engine"));
    let answer = harness.call("DELETE", "/api/v1/tokens/engine", &harness.admin, &[], None).await;
    assert_eq!(answer.problem(), (404, "not_found"));
    assert!(found());
}

#[tokio::test]
async fn a_token_has_a_name_that_can_be_read() {
    let harness = Harness::start().await;
    let long = "n".repeat(101);
    for name in ["", "a\nb", "\u{7}", long.as_str()] {
        let answer = harness.post("/api/v1/tokens", &json!({ "name": name, "role": "viewer" })).await;
        assert_eq!(answer.problem(), (400, "invalid"), "{name:?}");
    }
    assert_eq!(harness.post("/api/v1/tokens", &json!({ "name": "Zoë 李", "role": "viewer" })).await.status, 201);
    for body in [
        json!({ "name": "x", "role": "king" }),
        json!({ "name": "x" }),
        json!({ "name": "x", "role": "viewer", "extra": 1 }),
    ] {
        assert_eq!(harness.post("/api/v1/tokens", &body).await.problem(), (400, "invalid"), "{body}");
    }
}
