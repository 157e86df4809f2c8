//! The table on disk.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use barge_gateway::{GatewayConfig, PutError, PutState, SnapshotError, Table};

use crate::support::{Instance, Rig, address, key, put, uid};

#[tokio::test]
async fn a_restarted_gateway_serves_at_once_from_its_snapshot() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gateway.json");
    let instance = Instance::named("hello").await;
    let revision = {
        let table = Table::open(path.clone()).unwrap();
        table.put(&key(), &uid(1), put(instance.address, 1, PutState::Online)).unwrap();
        table.put(&key(), &uid(2), put(address(1), 2, PutState::Terminal)).unwrap()
    };
    let rig = Rig::with(Table::open(path).unwrap(), GatewayConfig::default()).await;
    assert_eq!(rig.get("/").await.text, "hello");
    assert_eq!(rig.table.list(&key()).0, revision);
    let late = rig.table.put(&key(), &uid(2), put(address(1), 3, PutState::Online));
    assert!(matches!(late, Err(PutError::Older { terminal: true, .. })), "tombstones outlive the gateway: {late:?}");
}

#[test]
fn the_snapshot_is_readable_by_its_owner_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gateway.json");
    Table::open(path.clone()).unwrap().put(&key(), &uid(1), put(address(1), 1, PutState::Online)).unwrap();
    assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
}

fn damaged(content: &[u8]) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gateway.json");
    std::fs::write(&path, content).unwrap();
    let table = Table::open(path).unwrap();
    assert_eq!(table.list(&key()).1, []);
    assert_eq!(std::fs::read(directory.path().join("gateway.damaged")).unwrap(), content, "it is kept to be looked at");
}

#[test]
fn a_damaged_snapshot_is_set_aside() {
    damaged(b"");
    damaged(b"{\"format\":1,\"revision\":3,\"instan");
    damaged(b"{\"format\":1,\"revision\":3,\"instances\":[[{},{}]]}");
    damaged(&[0; 4096]);
}

fn newer(content: &str) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gateway.json");
    std::fs::write(&path, content).unwrap();
    let error = Table::open(path.clone()).unwrap_err();
    assert!(matches!(error, SnapshotError::Newer { found: 2, .. }), "{error:?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), content, "it is left as it is");
}

#[test]
fn a_snapshot_of_a_later_version_is_refused_whatever_it_holds() {
    newer(r#"{"format":2,"revision":3,"instances":[]}"#);
    newer(r#"{"format":2,"tables":{}}"#);
}

#[test]
fn a_registration_that_cannot_be_stored_is_not_taken() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state/gateway.json");
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    let table = Table::open(path.clone()).unwrap();
    table.put(&key(), &uid(1), put(address(1), 1, PutState::Online)).unwrap();
    std::fs::rename(path.parent().unwrap(), directory.path().join("away")).unwrap();
    let before = table.list(&key());
    let result = table.put(&key(), &uid(1), put(address(1), 2, PutState::Terminal));
    assert!(matches!(result, Err(PutError::Snapshot(_))), "{result:?}");
    assert!(table.put(&key(), &uid(2), put(address(2), 1, PutState::Online)).is_err());
    assert_eq!(table.list(&key()), before);
    std::fs::rename(directory.path().join("away"), path.parent().unwrap()).unwrap();
    table.put(&key(), &uid(1), put(address(1), 2, PutState::Terminal)).unwrap();
    same_after_reading(&path, &table);
}

fn same_after_reading(path: &Path, table: &Table) {
    assert_eq!(Table::open(path.to_owned()).unwrap().list(&key()), table.list(&key()));
}
