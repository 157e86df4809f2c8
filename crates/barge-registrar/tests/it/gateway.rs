//! The registrar with the real gateway's table.

use std::sync::Arc;

use barge_gateway::{Put, Table};
use barge_model::registration::{Answer, Call, Intent};
use barge_registrar::{GatewayTarget, RegistrationTarget};
use tempfile::TempDir;

use crate::support::{Bench, dead, ending, id, key, ready};

fn state(table: &Table, number: u128) -> Option<Intent> {
    table.list(&key()).1.into_iter().find(|listed| listed.uid == id(number)).map(|listed| listed.put.state)
}

fn put(generation: u64, state: Intent) -> Put {
    Put {
        address: ready(1).address.unwrap(),
        generation,
        epoch: 0,
        state,
        weight: 1,
        meta: std::collections::BTreeMap::new(),
    }
}

fn bench() -> (Arc<Table>, Bench<GatewayTarget>) {
    let table = Arc::new(Table::in_memory());
    let bench = Bench::start(GatewayTarget::new(Arc::clone(&table)), TempDir::new().unwrap());
    (table, bench)
}

#[tokio::test]
async fn a_life_at_the_gateway() {
    let (table, mut bench) = bench();
    bench.want([ready(1), ready(2)]);
    bench.wait_online(1).await;
    bench.wait_online(2).await;
    bench.want([dead(1), ready(2)]);
    bench.eventually("offline", || state(&table, 1) == Some(Intent::Offline)).await;
    bench.want([ready(1), ending(2)]);
    bench.wait_online(1).await;
    bench.wait(2, false, true).await;
    assert_eq!((state(&table, 1), state(&table, 2)), (Some(Intent::Online), Some(Intent::Terminal)));
    bench.stop().await;
}

#[tokio::test]
async fn a_gateway_with_a_later_generation_is_caught_up_with() {
    let (table, mut bench) = bench();
    table.put(&key(), &id(1), put(40, Intent::Offline)).unwrap();
    bench.want([ready(1)]);
    bench.wait_online(1).await;
    assert_eq!(state(&table, 1), Some(Intent::Online));
}

#[tokio::test]
async fn a_tombstone_at_the_gateway_is_final() {
    let (table, mut bench) = bench();
    table.put(&key(), &id(1), put(3, Intent::Terminal)).unwrap();
    bench.want([ready(1)]);
    bench.wait(1, false, true).await;
    bench.settle(90).await;
    bench.restart().await;
    bench.settle(91).await;
    assert_eq!(state(&table, 1), Some(Intent::Terminal));
    assert!(bench.acknowledged(1).is_some_and(|seen| !seen.online));
}

#[tokio::test]
async fn a_gateway_that_started_empty_is_filled_again() {
    let (_, mut bench) = bench();
    bench.want([ready(1)]);
    bench.wait_online(1).await;
    let empty = Arc::new(Table::in_memory());
    bench.target = GatewayTarget::new(Arc::clone(&empty));
    bench.restart().await;
    bench.eventually("the instance", || state(&empty, 1) == Some(Intent::Online)).await;
    bench.wait_online(1).await;
}

#[test]
fn a_disk_that_hangs_holds_up_nobody_but_the_registration() {
    let directory = TempDir::new().unwrap();
    let target = GatewayTarget::new(Arc::new(Table::open(directory.path().join("gateway.json")).unwrap()));
    let (key, id, address) = (key(), id(1), ready(1).address.unwrap());
    // The one thread for whatever has to wait for the disk waits for it already.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        let (goes_on, hangs) = std::sync::mpsc::channel();
        let disk = tokio::task::spawn_blocking(move || hangs.recv());
        let mut put = target.put(&key, &id, address, Call { generation: 1, state: Intent::Online });
        tokio::select! {
            biased;
            _ = &mut put => panic!("the thread that everybody shares waited for the disk"),
            () = std::future::ready(()) => {}
        }
        goes_on.send(()).unwrap();
        assert_eq!(put.await, Answer::Applied);
        disk.await.unwrap().unwrap();
    });
}
