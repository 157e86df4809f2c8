//! What goes on beside the connections of clients, and ends with the gateway: upgraded connections, and requests that are still on their
//! way to instances.

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Whoever has it can begin something.
#[derive(Debug, Clone, Default)]
pub(crate) struct Background {
    tasks: TaskTracker,
    cut: CancellationToken,
}

impl Background {
    /// Begins `task`, which goes on until it ends or is cut off.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let cut = self.cut.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = task => {}
                () = cut.cancelled() => {}
            }
        });
    }

    /// Waits for the end of all. Nothing new is begun when this is called.
    pub(crate) async fn end(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Cuts off whatever goes on.
    pub(crate) async fn cut(&self) {
        self.cut.cancel();
        self.end().await;
    }
}
