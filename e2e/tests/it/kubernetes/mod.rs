//! Barge installed on a real Kubernetes, releases under constant load, and whatever fails meanwhile. Tests take turns: what they break is everybody's.

mod environments;
mod faults;
mod java;
mod two_operators;
mod world;

use tokio::sync::{Mutex, MutexGuard};

static TURN: Mutex<()> = Mutex::const_new(());

/// For as long as it is held, nobody else of this program has to do with the cluster.
pub(crate) async fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().await
}
