//! Any bytes in the place of a registration or of a snapshot: nothing panics, nothing good is lost, and what is damaged is kept to be
//! looked at.
//!
//! A few hundred cases, the same in every run; with `BARGE_FUZZ_SECONDS=60` others, for as long in each test.

use std::time::{Duration, Instant};

use axum::body::Body;
use barge_gateway::{Listed, Put, PutError, PutState, SnapshotError, Table, api};
use http::{Request, StatusCode};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};
use tempfile::TempDir;
use tower::ServiceExt;

use crate::support::{address, key, put, uid};

const TOKEN: &str = "a-token";

/// Looks at many cases.
fn fuzz<S: Strategy>(strategy: &S, test: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let config = Config { cases: 256, failure_persistence: None, ..Config::default() };
    let seconds: Option<u64> = std::env::var("BARGE_FUZZ_SECONDS").ok().map(|seconds| seconds.parse().unwrap());
    let Some(seconds) = seconds else {
        let rng = TestRunner::deterministic().rng().clone();
        TestRunner::new_with_rng(config, rng).run(strategy, test).unwrap();
        return;
    };
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        TestRunner::new(config.clone()).run(strategy, &test).unwrap();
    }
}

/// What becomes of bytes on a bad disk, or in bad hands.
#[derive(Debug, Clone)]
enum Damage {
    Change(Index, u8),
    Cut(Index),
    Remove(Index, usize),
    Insert(Index, Vec<u8>),
    /// Puts something else into the place of a value.
    Value(Index, Vec<u8>),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        3 => any::<(Index, u8)>().prop_map(|(at, byte)| Damage::Change(at, byte)),
        1 => any::<Index>().prop_map(Damage::Cut),
        2 => (any::<Index>(), 1usize..20).prop_map(|(at, count)| Damage::Remove(at, count)),
        2 => (any::<Index>(), nasty()).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        4 => (any::<Index>(), nasty()).prop_map(|(at, bytes)| Damage::Value(at, bytes)),
    ]
}

/// Values that are seldom thought of.
fn nasty() -> impl Strategy<Value = Vec<u8>> {
    let known = [
        "0",
        "1",
        "2",
        "-1",
        "1.5",
        "1e999",
        "4294967295",
        "4294967296",
        "18446744073709551615",
        "18446744073709551616",
        "null",
        "true",
        "\"\"",
        "[]",
        "{}",
        "[[]]",
        "\"online\"",
        "\"terminal\"",
        "\"0.0.0.0:0\"",
        "\"[::1]:65535\"",
        "\"\\u0000\"",
        "\"\\ud800\"",
        "\"x\",\"x\":1",
        "{\"\":\"\"}",
    ];
    prop_oneof![
        6 => prop::sample::select(known.to_vec()).prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..20),
        1 => (1usize..300).prop_map(|depth| "[".repeat(depth).into_bytes()),
    ]
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let count = bytes.len();
        match self {
            Damage::Change(at, byte) => bytes[at.index(count)] = *byte,
            Damage::Cut(at) => bytes.truncate(at.index(count)),
            Damage::Remove(at, length) => {
                let from = at.index(count);
                bytes.drain(from..(from + length).min(count));
            }
            Damage::Insert(at, more) => {
                let from = at.index(count);
                drop(bytes.splice(from..from, more.iter().copied()));
            }
            Damage::Value(at, value) => {
                let begins: Vec<usize> = (1..count).filter(|at| bytes[at - 1] == b':').collect();
                if begins.is_empty() {
                    return;
                }
                let from = *at.get(&begins);
                let length = bytes[from..].iter().position(|byte| b",}]".contains(byte)).unwrap_or(count - from);
                drop(bytes.splice(from..from + length, value.iter().copied()));
            }
        }
    }
}

/// Good bytes with some damage, and now and then none or nothing but noise.
fn damaged(good: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let hurt = prop::collection::vec(damage(), 0..4).prop_map(move |list| {
        let mut bytes = good.clone();
        list.iter().for_each(|damage| damage.apply(&mut bytes));
        bytes
    });
    prop_oneof![9 => hurt, 1 => prop::collection::vec(any::<u8>(), 0..200)]
}

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
    fuzz(&damaged(serde_json::to_vec(&good).unwrap()), |bytes| {
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
    fuzz(&damaged(good), |bytes| {
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
