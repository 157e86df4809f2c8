//! The tasks beside the requests: engines hear what they missed, and how releases ended is kept.

use sea_orm::ConnectionTrait;
use serde_json::{Value, json};

use crate::support::{Harness, SERVICE, eventually, release};

async fn shown(harness: &Harness, id: &str) -> Value {
    harness.get(&format!("{SERVICE}/releases/{id}")).await.json
}

/// What is stored of a failure, if it is already.
async fn stored_failure(harness: &Harness, id: &str) -> Option<String> {
    let file = harness.directory.path().join("server.sqlite");
    let connection = sea_orm::Database::connect(format!("sqlite://{}", file.display())).await.unwrap();
    let question = format!("SELECT failure FROM release WHERE id = '{id}'");
    let question = sea_orm::Statement::from_string(sea_orm::DbBackend::Sqlite, question);
    connection.query_one_raw(question).await.unwrap()?.try_get_by_index::<Option<String>>(0).unwrap()
}

#[tokio::test]
async fn an_engine_that_fails_at_first_gets_the_state_later() {
    let harness = Harness::start().await;
    harness.engine.refuse(3);
    let id = harness.posted("a").await;
    assert!(harness.engine.applied().is_empty(), "it has not taken it");
    assert_eq!(harness.status().await["settled"], false);
    assert_eq!(shown(&harness, &id).await["state"], "pending");
    eventually("the engine to take it", async || (harness.status().await["settled"] == true).then_some(())).await;
    assert_eq!(shown(&harness, &id).await["state"], "candidate");
    assert_eq!(harness.engine.applied().len(), 1, "and once is enough");
}

#[tokio::test]
async fn engines_are_told_everything_after_a_restart() {
    let harness = Harness::start().await;
    let first = harness.released("a").await;
    let product = SERVICE.replace("/test/", "/product/");
    assert_eq!(harness.post(&format!("{product}/releases"), &release("b")).await.status, 202);
    harness.engine.forget();
    assert_eq!(harness.status().await["settled"], false);
    let harness = harness.restart().await;
    eventually("the engine to run it again", async || {
        let status = harness.status().await;
        (status["stable"] == json!(first) && status["available"] == 2).then_some(())
    })
    .await;
    let candidate = eventually("the other environment", async || {
        let status = harness.get(&format!("{product}/status")).await.json;
        (!status["candidate"].is_null()).then_some(status)
    });
    assert_eq!(candidate.await["instances"].as_array().unwrap().len(), 1, "nothing is approved by a restart");
}

#[tokio::test]
async fn how_a_release_failed_is_stored_once_and_outlives_the_engines_memory() {
    let harness = Harness::start().await;
    let first = harness.released("a").await;
    harness.engine.broken(true);
    let second = harness.posted("b").await;
    let failed = eventually("the failure", async || {
        stored_failure(&harness, &second).await?;
        Some(shown(&harness, &second).await)
    })
    .await;
    let failure = &failed["failure"];
    let instance = failure["instance"]["id"].as_str().unwrap();
    let summary = format!(
        "instance {} could not start: it ended before it was ready; it ended with exit code 3",
        &instance[20..]
    );
    assert_eq!(failure["summary"], summary);
    assert_eq!(failure["log"], json!(["one", "two", "three\rfour"]));
    assert_eq!(failed["finished"]["failure"], json!({ "reason": "start_failed", "instance": instance }));

    harness.engine.print("long after");
    harness.engine.broken(false);
    let abort = harness.post(&format!("{SERVICE}/releases/{second}/abort"), &json!({})).await;
    assert_eq!(abort.json["message"], "the held instance of release 2 is let go");
    let harness = harness.restart().await;
    harness.engine.touch();
    harness.engine.forget_ends();
    let third = harness.released("c").await;
    eventually("the next end to be stored", async || {
        harness.engine.forget_ends();
        (shown(&harness, &third).await["state"] == "stable").then_some(())
    })
    .await;
    assert_eq!(shown(&harness, &second).await, failed);
    assert_eq!(shown(&harness, &first).await["state"], "former");
}

#[tokio::test]
async fn an_end_is_told_before_it_is_stored() {
    let harness = Harness::start().await;
    harness.released("a").await;
    harness.engine.broken(true);
    let second = harness.posted("b").await;
    let shown = shown(&harness, &second).await;
    assert_eq!(shown["state"], "failed");
    assert!(shown["failure"]["summary"].as_str().unwrap().contains("could not start"));
    let next = harness.post(&format!("{SERVICE}/releases"), &release("c")).await;
    assert_eq!(next.status, 202, "it blocks nothing either");
}

#[tokio::test]
async fn a_service_of_an_environment_that_is_gone_breaks_nothing() {
    let harness = Harness::start().await;
    harness.released("a").await;
    let product = SERVICE.replace("/test/", "/product/");
    harness.post(&format!("{product}/releases"), &release("b")).await;
    let count =
        async |harness: &Harness| harness.get("/api/v1/services").await.json["services"].as_array().unwrap().len();
    assert_eq!(count(&harness).await, 2);
    let harness = harness.restart_with(&["test"]).await;
    assert_eq!(count(&harness).await, 1);
    let answer = harness.get(&format!("{product}/status")).await;
    assert_eq!(answer.problem(), (404, "not_found"));
    assert_eq!(answer.json["detail"], "there is no environment product; there are: test");
    assert_eq!(
        harness.post(&format!("{product}/scale"), &json!({ "replicas": 1 })).await.problem(),
        (404, "not_found")
    );
    let harness = harness.restart().await;
    assert_eq!(count(&harness).await, 2, "it comes back with its environment");
}
