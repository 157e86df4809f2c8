//! Several callers at once.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use serde_json::json;

use crate::support::{Answer, Harness, SERVICE, release};

fn statuses(answers: &[Answer]) -> Vec<u16> {
    let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    statuses
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_releases_at_once_exactly_one_wins() {
    for _ in 0..5 {
        let harness = Harness::start().await;
        harness.released("a").await;
        let path = format!("{SERVICE}/releases");
        let (b, c) = (release("b"), release("c"));
        let answers = join_all([harness.post(&path, &b), harness.post(&path, &c)]).await;
        assert_eq!(statuses(&answers), [202, 409]);
        let won = answers.iter().find(|answer| answer.status == 202).unwrap();
        assert_eq!(harness.status().await["candidate"]["release"], won.json["release"]);
        assert_eq!(harness.engine.applied().last().unwrap().version, 3, "the engine has the last state");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn approval_and_abort_at_once_end_in_one_consistent_way() {
    for _ in 0..5 {
        let harness = Harness::start().await;
        let first = harness.released("a").await;
        let second = harness.posted("b").await;
        let abort = format!("{SERVICE}/releases/{second}/abort");
        let nothing = json!({});
        let (approved, aborted) = tokio::join!(harness.approve(&second, "b"), harness.post(&abort, &nothing));
        let status = harness.status().await;
        let shown = harness.get(&format!("{SERVICE}/releases/{second}")).await.json;
        if status["stable"] == json!(first) {
            assert_eq!((aborted.status, &shown["state"]), (202, &json!("aborted")));
            assert!(matches!(approved.status, 202 | 409), "{}", approved.text);
            assert_eq!(shown["approval"].is_null(), approved.status == 409, "an answer is as what is stored");
        } else {
            // The abort was decided before the approval had its effect, and came to the engine after it.
            assert_eq!((approved.status, &shown["state"]), (202, &json!("stable")));
        }
        assert_eq!(status["available"], 2);
        assert!(status["candidate"].is_null());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_approvals_at_once_one_is_stored_and_both_are_told_so() {
    for _ in 0..5 {
        let harness = Harness::start().await;
        let release = harness.posted("a").await;
        // It does not come to its end meanwhile.
        harness.engine.slow(true);
        let answers = join_all([harness.approve(&release, "a"), harness.approve(&release, "a")]).await;
        assert_eq!(statuses(&answers), [202, 202]);
        let mut told: Vec<&str> = answers.iter().map(|answer| answer.json["message"].as_str().unwrap()).collect();
        told.sort_unstable();
        let expected =
            ["release 1 is approved; the remaining instances follow", "release 1 was approved by ann already"];
        assert_eq!(told, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_rollbacks_at_once_one_is_carried_out_and_both_are_told_so() {
    for _ in 0..5 {
        let harness = Harness::start().await;
        harness.released("a").await;
        harness.released("b").await;
        harness.engine.slow(true);
        let (path, nothing) = (format!("{SERVICE}/rollback"), json!({}));
        let answers = join_all([harness.post(&path, &nothing), harness.post(&path, &nothing)]).await;
        assert_eq!(statuses(&answers), [202, 202]);
        assert_eq!(answers[0].json["release"], answers[1].json["release"]);
        harness.engine.slow(false);
        assert_eq!(harness.status().await["stable"], answers[0].json["release"]);
        let releases = harness.get(&format!("{SERVICE}/releases")).await.json;
        assert_eq!(releases["releases"].as_array().unwrap().len(), 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_at_once_each_have_a_version_of_their_own() {
    let harness = Harness::start().await;
    harness.released("a").await;
    let path = format!("{SERVICE}/scale");
    let bodies: Vec<_> = (1..=20).map(|replicas| json!({ "replicas": replicas })).collect();
    let answers = join_all(bodies.iter().map(|body| harness.post(&path, body))).await;
    assert_eq!(statuses(&answers), [202; 20]);
    let versions: BTreeSet<u64> = answers.iter().map(|answer| answer.json["version"].as_u64().unwrap()).collect();
    assert_eq!(versions, (3..=22).collect());
    let last = answers.iter().find(|answer| answer.json["version"] == 22).unwrap();
    let status = harness.status().await;
    assert!(
        last.json["message"].as_str().unwrap().contains(&format!("-> {} ", status["replicas"]))
            || status["replicas"] == 1
    );
    assert_eq!(status["available"], status["replicas"], "the engine has the last state, whatever came in which order");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_at_once_is_carried_out_once() {
    let harness = Harness::start().await;
    let (path, body, key) = (format!("{SERVICE}/releases"), release("a"), [("idempotency-key", "k")]);
    let answers = join_all((0..8).map(|_| harness.post_with(&path, &key, &body))).await;
    assert_eq!(statuses(&answers), [202; 8]);
    assert!(answers.iter().all(|answer| answer.json == answers[0].json));
    assert_eq!(harness.get(&path).await.json["releases"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_edits_of_one_version_exactly_one_wins() {
    let harness = Harness::start().await;
    harness.released("a").await;
    let (path, tag) = (format!("{SERVICE}/scale"), [("if-match", "\"2\"")]);
    let (four, five) = (json!({ "replicas": 4 }), json!({ "replicas": 5 }));
    let answers = join_all([harness.post_with(&path, &tag, &four), harness.post_with(&path, &tag, &five)]).await;
    assert_eq!(statuses(&answers), [202, 412]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_leaves_does_not_keep_the_engine_from_being_told() {
    for patience in 0..20 {
        let harness = Harness::start().await;
        let (path, body) = (format!("{SERVICE}/releases"), release("a"));
        // Whatever point the request has come to: given up there.
        let mut call = Box::pin(harness.post(&path, &body));
        for _ in 0..patience {
            if futures_util::poll!(&mut call).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(call);
        let (directory, engine, _) = harness.stop().await;
        let stored = Harness::server(directory.path(), &engine, &["test"], &tokio_util::sync::CancellationToken::new())
            .await
            .unwrap();
        let released = !stored.digests_reader().read().await.unwrap().is_empty();
        assert_eq!(!engine.applied().is_empty(), released, "what is stored is told ({patience})");
    }
}
