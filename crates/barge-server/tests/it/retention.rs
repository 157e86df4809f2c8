//! What is not kept for ever: old releases, and old records of the audit.

use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement};

use crate::support::{Harness, SERVICE, eventually};

async fn connect(harness: &Harness) -> DatabaseConnection {
    let file = harness.directory.path().join("server.sqlite");
    sea_orm::Database::connect(format!("sqlite://{}", file.display())).await.unwrap()
}

async fn count(connection: &DatabaseConnection, of: &str) -> i64 {
    let question = Statement::from_string(DbBackend::Sqlite, format!("SELECT count(*) FROM {of}"));
    connection.query_one_raw(question).await.unwrap().unwrap().try_get_by_index(0).unwrap()
}

#[tokio::test]
async fn old_releases_go_with_their_approvals_when_another_one_is_made() {
    let harness = Harness::start().await;
    let first = harness.released("a").await;
    let second = harness.released("b").await;
    let connection = connect(&harness).await;
    let stored = async || (count(&connection, "release WHERE finished IS NULL").await == 0).then_some(());
    eventually("their ends to be stored", stored).await;
    let many = "WITH RECURSIVE copies(n) AS (SELECT 3 UNION ALL SELECT n + 1 FROM copies WHERE n < 700)
        INSERT INTO release SELECT substr(id, 1, 20) || printf('%06d', n), environment, service, n,
        json_set(definition, '$.id', substr(id, 1, 20) || printf('%06d', n)),
        json_set(finished, '$.outcome', 'superseded'), NULL, digest FROM release, copies WHERE number = 2;
        INSERT INTO approval SELECT id, digest, 'ann', 1 FROM release WHERE number > 2";
    connection.execute_unprepared(many).await.unwrap();
    assert_eq!(count(&connection, "approval").await, 700);

    let next = harness.posted("c").await;
    // The latest hundred; and those that have served, however long ago.
    assert_eq!(count(&connection, "release").await, 102);
    assert_eq!(count(&connection, "release WHERE number > 601").await, 100);
    assert_eq!(count(&connection, "approval").await, 101, "the newest one is not approved yet");
    for kept in [&first, &second, &next] {
        assert_eq!(harness.get(&format!("{SERVICE}/releases/{kept}")).await.status, 200);
    }
    let back = harness.post(&format!("{SERVICE}/rollback"), &serde_json::json!({ "to": first })).await;
    assert_eq!(back.json["message"], "back to release 1, as release 702", "{}", back.text);
}

#[tokio::test]
async fn old_records_of_the_audit_go_however_many_they_are() {
    let harness = Harness::start().await;
    let connection = connect(&harness).await;
    let many = |actor: &str, count: usize, id: &str, at: i64| {
        format!(
            "WITH RECURSIVE many(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM many WHERE n < {count})
            INSERT INTO audit SELECT '{id}' || printf('%06d', n), {at}, '{actor}', 'service.scale',
            NULL, NULL, NULL, '' FROM many"
        )
    };
    connection.execute_unprepared(&many("old", 2500, "00000000000000000000", 1)).await.unwrap();
    // From when the clock was ahead. So few say nothing about the time.
    connection.execute_unprepared(&many("ahead", 90, "7ZZZZZZZZZ0000000000", 4_000_000_000_000)).await.unwrap();
    let harness = harness.restart().await;
    harness.post("/api/v1/tokens", &serde_json::json!({ "name": "one-more", "role": "viewer" })).await;
    let newest = harness.audit().await.pop();
    assert_eq!(
        newest.as_deref(),
        Some("ann token.create"),
        "the newest record is the last one, whatever the clock said"
    );
    assert_eq!(count(&connection, "audit WHERE actor = 'old'").await, 2500, "too few records are younger");
    connection.execute_unprepared("DELETE FROM audit WHERE actor = 'ahead'").await.unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    let now = i64::try_from(now).unwrap();
    connection.execute_unprepared(&many("young", 100, "1ZZZZZZZZZ0000000000", now)).await.unwrap();
    let harness = harness.restart().await;
    let gone = async || (count(&connection, "audit WHERE actor = 'old'").await == 0).then_some(());
    eventually("the old records to go", gone).await;
    assert_eq!(harness.audit().await.iter().filter(|entry| *entry == "young service.scale").count(), 100);
}
