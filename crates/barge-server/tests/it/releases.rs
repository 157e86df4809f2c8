//! Whole releases through the API.

use serde_json::json;

use crate::support::{Harness, SERVICE, eventually, release};

#[tokio::test]
async fn a_release_goes_from_its_gate_to_all_instances_and_back() {
    let harness = Harness::start().await;
    let first = harness.posted("a").await;
    let status = harness.status().await;
    assert_eq!(status["waiting_on"]["on"], "approval");
    assert_eq!((&status["candidate"]["release"], &status["candidate"]["phase"]), (&json!(first), &json!("gate")));
    assert_eq!(status["instances"].as_array().unwrap().len(), 1, "one instance before an approval");
    assert_eq!(status["settled"], true);
    assert_eq!(
        harness.approve(&first, "a").await.json["message"],
        "release 1 is approved; the remaining instances follow"
    );
    let status = harness.status().await;
    assert_eq!((&status["stable"], &status["available"]), (&json!(first), &json!(2)));
    assert_eq!(status["url"], "http://greeter.test.localhost:7402");

    let second = harness.released("b").await;
    assert_eq!(harness.status().await["stable"], json!(second));
    let back = harness.post(&format!("{SERVICE}/rollback"), &json!({ "reason": "slow" })).await;
    assert_eq!(back.json["message"], "back to release 1, as release 3");
    let third = harness.get(&format!("{SERVICE}/releases/{}", back.json["release"].as_str().unwrap())).await.json;
    assert_eq!(third["origin"], json!({ "kind": "rollback", "to": first }));
    assert_eq!((&third["state"], &third["reason"]), (&json!("stable"), &json!("slow")));
    assert_eq!(third["approval"]["by"], "ann");
    let list = harness.get(&format!("{SERVICE}/releases")).await.json;
    let states: Vec<&str> =
        list["releases"].as_array().unwrap().iter().map(|release| release["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["stable", "former", "former"]);
}

#[tokio::test]
async fn every_change_is_in_the_audit_with_its_caller() {
    let harness = Harness::start().await;
    let bob = harness.token(json!({ "name": "bob", "role": "releaser" })).await;
    harness.released("a").await;
    let post = async |path: &str, body| {
        let answer = harness.call("POST", &format!("{SERVICE}/{path}"), &bob, &[], Some(&body)).await;
        assert_eq!(answer.status, 202, "{}", answer.text);
        answer.json["release"].as_str().map(str::to_owned)
    };
    let second = post("releases", release("b")).await.unwrap();
    post(&format!("releases/{second}/abort"), json!({ "reason": "not today" })).await;
    post("scale", json!({ "replicas": 3 })).await;
    post("restart", json!({})).await;
    post("releases", release("c")).await;
    post("rollback", json!({})).await;
    let expected = [
        "the server itself token.create",
        "ann token.create",
        "ann release.create",
        "ann release.approve",
        "bob release.create",
        "bob release.abort",
        "bob service.scale",
        "bob service.restart",
        "bob release.create",
        "bob release.rollback",
    ];
    assert_eq!(harness.audit().await, expected);
    let entries = harness.get("/api/v1/audit?limit=7").await.json;
    let abort = &entries["entries"][4];
    assert_eq!((&abort["release"], &abort["detail"]), (&json!(second), &json!("not today")));
    assert_eq!((&abort["environment"], &abort["service"]), (&json!("test"), &json!("greeter")));
    assert_eq!(entries["entries"][3]["detail"], "2 -> 3");
}

#[tokio::test]
async fn a_refused_request_changes_nothing_and_is_not_in_the_audit() {
    let harness = Harness::start().await;
    harness.released("a").await;
    let (before, audit) = (harness.status().await["version"].clone(), harness.audit().await);
    let refused = harness.post(&format!("{SERVICE}/scale"), &json!({ "replicas": 10_000_000 })).await;
    assert_eq!(refused.problem(), (422, "invalid"));
    assert_eq!(refused.json["detail"], "replicas is 10000000; at most 10000 are allowed");
    assert_eq!(harness.status().await["version"], before);
    assert_eq!(harness.audit().await, audit);
}

#[tokio::test]
async fn if_match_holds_for_the_version_that_the_status_shows() {
    let harness = Harness::start().await;
    harness.released("a").await;
    let status = harness.get(&format!("{SERVICE}/status")).await;
    let tag = status.header("etag").to_owned();
    assert_eq!(tag, format!("\"{}\"", status.json["version"]));
    let scale = async |tag: &str, replicas: u32| {
        harness.post_with(&format!("{SERVICE}/scale"), &[("if-match", tag)], &json!({ "replicas": replicas })).await
    };
    assert_eq!(scale(&tag, 3).await.status, 202);
    let late = scale(&tag, 4).await;
    assert_eq!(late.problem(), (412, "changed_meanwhile"));
    assert_eq!(late.json["hint"], "barge status -e test -m greeter");
    assert_eq!(scale("*", 5).await.status, 202, "any version");
    for wrong in ["seven", "W/\"3\"", "\"3", "+3", "\"3\", \"4\"", "", "\"\""] {
        assert_eq!(scale(wrong, 6).await.problem(), (400, "invalid"), "{wrong}");
    }
    assert_eq!(harness.status().await["replicas"], 5);
}

#[tokio::test]
async fn a_release_that_is_not_at_its_gate_cannot_be_approved() {
    let harness = Harness::start().await;
    harness.engine.slow(true);
    let id = harness.posted("a").await;
    assert_eq!(harness.approve(&id, "a").await.problem(), (409, "not_at_gate"));
    harness.engine.slow(false);
    assert_eq!(harness.approve(&id, "b").await.problem(), (422, "invalid"), "another digest");
    assert_eq!(harness.approve(&id, "a").await.status, 202);
    let again = harness.approve(&id, "a").await;
    assert_eq!((again.status, &again.json["message"]), (202, &json!("release 1 was approved by ann already")));
}

#[tokio::test]
async fn the_same_service_in_two_environments_is_two_services() {
    let harness = Harness::start().await;
    harness.released("a").await;
    let product = SERVICE.replace("/test/", "/product/");
    assert_eq!(harness.get(&format!("{product}/status")).await.problem(), (404, "not_found"));
    let id = harness.post(&format!("{product}/releases"), &release("b")).await.json["release"].clone();
    let path = format!("{SERVICE}/releases/{}", id.as_str().unwrap());
    assert_eq!(harness.get(&path).await.problem(), (404, "not_found"), "of the other environment");
    let services = harness.get("/api/v1/services").await.json;
    let environments: Vec<&str> = services["services"]
        .as_array()
        .unwrap()
        .iter()
        .map(|service| service["environment"].as_str().unwrap())
        .collect();
    assert_eq!(environments, ["product", "test"]);
}

#[tokio::test]
async fn a_release_of_long_ago_is_still_shown() {
    let harness = Harness::start().await;
    let first = harness.posted("a").await;
    let file = harness.directory.path().join("server.sqlite");
    let connection = sea_orm::Database::connect(format!("sqlite://{}", file.display())).await.unwrap();
    let copies = "WITH RECURSIVE copies(n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM copies WHERE n < 600)
        INSERT INTO release SELECT substr(id, 1, 20) || printf('%06d', n), environment, service, n, definition,
        NULL, NULL, digest FROM release, copies";
    sea_orm::ConnectionTrait::execute_unprepared(&connection, copies).await.unwrap();
    let list = harness.get(&format!("{SERVICE}/releases")).await.json;
    assert_eq!(list["releases"].as_array().unwrap().len(), 500);
    let shown = harness.get(&format!("{SERVICE}/releases/{first}")).await.json;
    assert_eq!((&shown["number"], &shown["state"]), (&json!(1), &json!("candidate")));
}

#[tokio::test]
async fn what_has_served_can_be_gone_back_to_however_many_releases_came_to_nothing_since() {
    let harness = Harness::start().await;
    let first = harness.released("a").await;
    harness.released("b").await;
    let file = harness.directory.path().join("server.sqlite");
    let connection = sea_orm::Database::connect(format!("sqlite://{}", file.display())).await.unwrap();
    eventually("their ends to be stored", async || {
        let open = "UPDATE release SET failure = NULL WHERE finished IS NULL";
        let open = sea_orm::ConnectionTrait::execute_unprepared(&connection, open).await.unwrap();
        (open.rows_affected() == 0).then_some(())
    })
    .await;
    let copies = "WITH RECURSIVE copies(n) AS (SELECT 3 UNION ALL SELECT n + 1 FROM copies WHERE n < 600)
        INSERT INTO release SELECT substr(id, 1, 20) || printf('%06d', n), environment, service, n, definition,
        '{\"release\":\"' || id || '\",\"outcome\":\"superseded\",\"at\":1}', NULL, digest
        FROM release, copies WHERE number = 2";
    sea_orm::ConnectionTrait::execute_unprepared(&connection, copies).await.unwrap();
    let answer = harness.post(&format!("{SERVICE}/rollback"), &json!({})).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let made = answer.json["release"].as_str().unwrap();
    let made = harness.get(&format!("{SERVICE}/releases/{made}")).await.json;
    assert_eq!(made["origin"], json!({ "kind": "rollback", "to": first }));
}
