//! Any bytes in the place of a registration or of a snapshot: nothing panics, nothing good is lost, and what is damaged is kept to be
//! looked at.

use axum::body::Body;
use barge_gateway::{Listed, Put, PutError, PutState, SnapshotError, Table, api};
use barge_testkit::fuzz::{damaged, fuzz};
use http::{Request, StatusCode};
use proptest::prelude::*;
use tempfile::TempDir;
use tower::ServiceExt;

use crate::support::{address, key, put, uid};

const TOKEN: &str = "a-token";
/// So many cases are looked at in every run.
const CASES: u32 = 256;
/// What a registration is made of.
const WORDS: [&str; 4] = ["\"online\"", "\"terminal\"", "\"0.0.0.0:0\"", "\"[::1]:65535\""];

/// A table on disk with two instances in it.
fn table(directory: &TempDir) -> Table {
    let table = Table::open(directory.path().join("gateway.json")).unwrap();
    let mut second = put(address(82), 5, PutState::Online);
    second.meta.insert("zone".to_owned(), "a".to_owned());
    table.put(&key(), &uid(1), put(address(81), 5, PutState::Online)).unwrap();
    table.put(&key(), &uid(2), second).unwrap();
    table
}

fn reopened(directory: &TempDir) -> (u64, Vec<Listed>) {
    Table::open(directory.path().join("gateway.json")).unwrap().list(&key())
}

#[test]
fn no_bytes_in_the_place_of_a_registration_do_any_harm() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut good = put(address(81), 6, PutState::Offline);
    good.meta.insert("zone".to_owned(), "b".to_owned());
    fuzz(CASES, &damaged(serde_json::to_vec(&good).unwrap(), &WORDS), |bytes| {
        let directory = TempDir::new().unwrap();
        let table = std::sync::Arc::new(table(&directory));
        let before = table.list(&key());
        let request = Request::put(format!("/v1/services/greeter/instances/{}?environment=test", uid(1)))
            .header("authorization", format!("Bearer {TOKEN}"))
            .header("content-type", "application/json")
            .body(Body::from(bytes.clone()))
            .unwrap();
        let router = api::router(std::sync::Arc::clone(&table), TOKEN);
        let status = runtime.block_on(router.oneshot(request)).unwrap().status();
        let after = table.list(&key());
        match status {
            StatusCode::OK => {
                let understood: Put = serde_json::from_slice(&bytes).unwrap();
                prop_assert_eq!(&after.1[0].put, &understood);
                prop_assert_eq!(&after.1[1..], &before.1[1..], "the other instance");
            }
            StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY | StatusCode::CONFLICT => {
                prop_assert_eq!(&after, &before);
            }
            other => return Err(TestCaseError::fail(format!("{other} says nothing"))),
        }
        prop_assert_eq!(reopened(&directory), after, "what is in force is what is on disk");
        Ok(())
    });
}

#[test]
fn no_bytes_in_the_place_of_a_snapshot_do_any_harm() {
    let good = {
        let directory = TempDir::new().unwrap();
        table(&directory);
        std::fs::read(directory.path().join("gateway.json")).unwrap()
    };
    fuzz(CASES, &damaged(good, &WORDS), |bytes| {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("gateway.json");
        let aside = directory.path().join("gateway.damaged");
        std::fs::write(&path, &bytes).unwrap();
        let table = match Table::open(path.clone()) {
            Ok(table) => table,
            Err(SnapshotError::Newer { found, .. }) => {
                prop_assert!(found > 1);
                prop_assert_eq!(std::fs::read(&path).unwrap(), bytes, "it is left as it is");
                return Ok(());
            }
            Err(error) => return Err(TestCaseError::fail(format!("{error:?}"))),
        };
        if aside.exists() {
            prop_assert_eq!(std::fs::read(&aside).unwrap(), bytes, "it is kept to be looked at");
            prop_assert_eq!(table.list(&key()), (0, Vec::new()));
        }
        // Whatever it was, the table goes on from there, and so does the next one.
        let before = table.list(&key()).1;
        match table.put(&key(), &uid(9), put(address(89), 1, PutState::Online)) {
            // By chance the damage may have made one instance of another.
            Err(PutError::Older { .. }) => prop_assert!(before.iter().any(|listed| listed.uid == uid(9))),
            Ok(_) => prop_assert!(table.list(&key()).1.iter().any(|listed| listed.uid == uid(9))),
            Err(error) => return Err(TestCaseError::fail(format!("{error:?}"))),
        }
        prop_assert_eq!(reopened(&directory), table.list(&key()));
        Ok(())
    });
}
