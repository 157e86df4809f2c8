//! Watches from the gateway's side that no process is told to stop too early: one that takes no connections any more has been told, and at that moment
//! the gateway must send it nothing more, with no request on its way to it for a while.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use barge_gateway::{PutState, Table};
use barge_model::InstanceId;
use barge_world::key;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::world::QUIET;

/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(10);
/// One that takes no connection for so long takes none: a pod that is gone does not even refuse.
const LIMIT: Duration = Duration::from_millis(500);

pub(crate) struct Watchdog {
    violations: Arc<Mutex<Vec<String>>>,
    ends: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watchdog {
    pub(crate) fn start(table: Arc<Table>) -> Self {
        let (violations, ends) = (Arc::default(), Arc::default());
        let task = tokio::spawn(watch(table, Arc::clone(&violations), Arc::clone(&ends)));
        Self { violations, ends, task }
    }

    /// How many instances have ended so far.
    pub(crate) fn ends(&self) -> usize {
        self.ends.load(Ordering::SeqCst)
    }

    pub(crate) fn check(&self) {
        assert!(!self.task.is_finished());
        assert_eq!(*self.violations.lock().unwrap(), Vec::<String>::new());
    }

    /// What has been seen so far is what a test wanted.
    pub(crate) fn forgive(&self) -> Vec<String> {
        std::mem::take(&mut *self.violations.lock().unwrap())
    }
}

async fn watch(table: Arc<Table>, violations: Arc<Mutex<Vec<String>>>, ends: Arc<AtomicUsize>) {
    let mut ended: BTreeSet<InstanceId> = BTreeSet::new();
    loop {
        let all = table.list(&key()).1;
        let looks = all
            .iter()
            .filter(|one| !ended.contains(&one.uid))
            .map(async |one| (one, takes_connections(one.put.address).await));
        let seen = futures_util::future::join_all(looks).await;
        for (one, _) in seen.into_iter().filter(|(_, takes)| !takes) {
            let state = table.list(&key()).1.into_iter().find(|now| now.uid == one.uid).map(|now| now.put.state);
            let traffic = table.traffic(&key(), &one.uid).unwrap();
            println!("{} has ended: {state:?}, {traffic:?}", one.uid);
            // What came before the wait for silence is counted within a few milliseconds.
            let quiet = Duration::from_millis(traffic.quiet_ms) + Duration::from_millis(20);
            if matches!(state, None | Some(PutState::Online)) || traffic.in_flight > 0 || quiet < QUIET {
                violations.lock().unwrap().push(format!("{} was told to stop while {state:?}, {traffic:?}", one.uid));
            }
            ended.insert(one.uid.clone());
            ends.fetch_add(1, Ordering::SeqCst);
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

async fn takes_connections(address: SocketAddr) -> bool {
    matches!(tokio::time::timeout(LIMIT, TcpStream::connect(address)).await, Ok(Ok(_)))
}
