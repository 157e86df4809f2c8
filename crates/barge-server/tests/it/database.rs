//! The database file: of the first version, of a later one, of something else; and two servers on one.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use barge_server::{Server, StoreError};
use barge_testkit::FakeEngine;
use futures_util::future::join_all;
use sea_orm::{ConnectionTrait, DatabaseConnection};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::support::{Harness, SERVICE, eventually};

async fn connect(directory: &Path) -> DatabaseConnection {
    sea_orm::Database::connect(format!("sqlite://{}/server.sqlite?mode=rwc", directory.display())).await.unwrap()
}

async fn open(directory: &Path) -> Result<Server, StoreError> {
    Harness::server(directory, &FakeEngine::new(), &["test"], &CancellationToken::new()).await
}

async fn refused(directory: &Path) -> String {
    barge_runtime::chain(&open(directory).await.map(|_| ()).unwrap_err())
}

/// A server over a database of the first version, after `change` to it.
async fn of_the_first_version(change: &str) -> Harness {
    let directory = tempfile::tempdir().unwrap();
    let connection = connect(directory.path()).await;
    let database = format!("{}{change}", include_str!("data/first.sql"));
    connection.execute_unprepared(&database).await.unwrap();
    connection.close().await.unwrap();
    let admin = Some("barge_of_the_first_version".to_owned());
    Harness::open(directory, FakeEngine::new(), &["test", "product"], admin).await
}

/// The images that releases in the database of a server name.
async fn images(harness: &Harness) -> Result<usize, StoreError> {
    let shutdown = CancellationToken::new();
    let second = Harness::server(harness.directory.path(), &harness.engine, &["test"], &shutdown).await?;
    Ok(second.digests_reader().read().await?.len())
}

#[tokio::test]
async fn a_database_of_the_first_version_opens_again_with_everything() {
    let harness = of_the_first_version("").await;
    assert_eq!(images(&harness).await.unwrap(), 3, "their images are needed");

    let list = harness.get(&format!("{SERVICE}/releases")).await.json;
    let told: Vec<String> = list["releases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|release| {
            format!("{} {} {}", release["number"], release["finished"]["outcome"], release["approval"]["by"])
        })
        .collect();
    assert_eq!(told, ["3 null null", "2 \"failed\" null", "1 \"promoted\" \"ann\""]);
    assert_eq!(list["releases"][1]["failure"]["log"], json!([]), "a list is not for reading output");
    let failed = format!("{SERVICE}/releases/{}", list["releases"][1]["id"].as_str().unwrap());
    assert_eq!(harness.get(&failed).await.json["failure"]["log"], json!(["one", "two", "three\rfour"]));
    assert_eq!(list["releases"][2]["config"]["replicas"], 2);
    let status = harness.status().await;
    assert_eq!((&status["replicas"], &status["version"]), (&json!(3), &json!(5)));
    assert_eq!(harness.get("/api/v1/tokens").await.json["tokens"].as_array().unwrap().len(), 2);
    assert_eq!(harness.audit().await.len(), 7);
    // An answer that was given then is given again.
    let again = harness
        .post_with(&format!("{SERVICE}/scale"), &[("idempotency-key", "first")], &json!({ "replicas": 3 }))
        .await;
    assert_eq!((again.status, &again.json["version"]), (202, &json!(3)));
    let viewer = harness.token(json!({ "name": "viewer", "role": "viewer" })).await;
    let seen = harness.call("GET", &failed, &viewer, &[], None).await.json;
    assert_eq!(seen["failure"]["log"], json!([]), "what applications write is not for everybody who may look");
}

#[tokio::test]
async fn a_release_that_cannot_be_understood_keeps_no_server_from_its_work_and_no_image_from_being_kept() {
    let harness = of_the_first_version("UPDATE release SET definition = '{' WHERE number = 1").await;
    assert_eq!(harness.status().await["replicas"], 3);
    assert!(matches!(images(&harness).await, Err(StoreError::Damaged { .. })));
}

#[tokio::test]
async fn a_database_of_a_later_version_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()).await.unwrap());
    let connection = connect(directory.path()).await;
    connection.execute_unprepared("INSERT INTO seaql_migrations VALUES ('m0099_later', 0)").await.unwrap();
    let error = open(directory.path()).await.map(|_| ()).unwrap_err();
    assert!(matches!(error, StoreError::Newer { .. }), "{error:?}");
    assert!(error.to_string().ends_with("server.sqlite was written by a later version of Barge"));
}

#[tokio::test]
async fn a_file_that_is_no_database_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("server.sqlite");
    for content in ["hello", "a longer text, but no database either", "SQLite format 2"] {
        std::fs::write(&file, content).unwrap();
        let told = refused(directory.path()).await;
        assert_eq!(told, format!("{} is not a database: it does not begin as an SQLite file does", file.display()));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), content);
    }
}

#[tokio::test]
async fn a_damaged_database_says_so() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()).await.unwrap());
    let file = directory.path().join("server.sqlite");
    eventually("the file to be whole", async || (std::fs::metadata(&file).unwrap().len() > 4096).then_some(())).await;
    for left_over in ["server.sqlite-wal", "server.sqlite-shm"] {
        let _ = std::fs::remove_file(directory.path().join(left_over));
    }
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[100..].fill(0xff);
    std::fs::write(&file, bytes).unwrap();
    let told = refused(directory.path()).await;
    assert!(told.contains("malformed") && told.contains("server.sqlite"), "{told}");
}

#[tokio::test]
async fn a_place_that_cannot_hold_a_database_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let check = async |place: &str, why: &str| {
        let place = directory.path().join(place);
        let told = refused(&place).await;
        assert_eq!(told, format!("read and write the database file {}/server.sqlite: {why}", place.display()));
    };
    check("missing", "No such file or directory (os error 2)").await;
    std::fs::write(directory.path().join("file"), "").unwrap();
    check("file", "Not a directory (os error 20)").await;
    std::fs::create_dir_all(directory.path().join("here/server.sqlite")).unwrap();
    check("here", "Is a directory (os error 21)").await;
}

/// Runs `test` without the superuser's right to write everywhere: the rights of a thread go over to the threads that it starts.
fn without_rights(test: impl Future<Output = ()> + Send + 'static) {
    let thread = std::thread::spawn(move || {
        nix::unistd::setfsuid(nix::unistd::Uid::from_raw(65534));
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
    });
    thread.join().unwrap();
}

#[test]
fn a_file_or_directory_that_is_read_only_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("server.sqlite");
    let mode = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    mode(directory.path(), 0o555);
    let place = directory.path().to_owned();
    without_rights(async move {
        let told = refused(&place).await;
        assert!(told.ends_with("Permission denied (os error 13)") && told.contains("server.sqlite"), "{told}");
    });
    std::fs::write(&file, "").unwrap();
    mode(&file, 0o444);
    let place = directory.path().to_owned();
    without_rights(async move {
        let told = refused(&place).await;
        assert!(told.ends_with("Permission denied (os error 13)") && told.contains("server.sqlite"), "{told}");
    });
    // The file may be written, and nothing may be made beside it.
    mode(&file, 0o666);
    let place = directory.path().to_owned();
    without_rights(async move {
        let told = refused(&place).await;
        let expected = "server.sqlite: attempt to write a readonly database";
        assert!(told.starts_with("read and write the database file ") && told.ends_with(expected), "{told}");
    });
    mode(directory.path(), 0o755);
}

#[tokio::test]
async fn the_database_is_for_its_owner_alone() {
    let harness = Harness::start().await;
    harness.released("a").await;
    for file in std::fs::read_dir(harness.directory.path()).unwrap() {
        let file = file.unwrap();
        let mode = file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{:?}", file.file_name());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_on_one_new_file_both_begin() {
    for _ in 0..5 {
        let directory = tempfile::tempdir().unwrap();
        let (one, two) = tokio::join!(open(directory.path()), open(directory.path()));
        one.unwrap();
        two.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_on_one_file_do_not_get_in_each_others_way() {
    let mut harness = Harness::start().await;
    harness.released("a").await;
    let engine = harness.engine.clone();
    let second =
        Harness::server(harness.directory.path(), &engine, &["test"], &CancellationToken::new()).await.unwrap();
    let path = format!("{SERVICE}/scale");
    let bodies: Vec<_> = (1..=40).map(|replicas| json!({ "replicas": replicas })).collect();
    let first_router = std::mem::replace(&mut harness.router, second.router());
    let through_second = join_all(bodies[..20].iter().map(|body| harness.post(&path, body))).await;
    harness.router = first_router;
    let through_first = join_all(bodies[20..].iter().map(|body| harness.post(&path, body))).await;
    for (count, answer) in through_second.iter().chain(&through_first).enumerate() {
        assert_eq!(answer.status, 202, "{count}: {}", answer.text);
    }
    assert_eq!(harness.status().await["version"], 42);
    let connection = connect(harness.directory.path()).await;
    let check = connection
        .query_one_raw(sea_orm::Statement::from_string(sea_orm::DbBackend::Sqlite, "PRAGMA integrity_check"))
        .await;
    assert_eq!(check.unwrap().unwrap().try_get_by_index::<String>(0).unwrap(), "ok");
}
