//! Carries an upgraded connection: what comes from one side goes to the other, whatever it means.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

/// Carries until both sides have ended, or one has and nothing has moved for `limit`; that is looked at so often as well. Before
/// one ends, both may be silent for ever.
pub(crate) async fn carry(client: Upgraded, instance: Upgraded, limit: Duration) {
    let flow = Flow::default();
    let side = |io| Side { io: TokioIo::new(io), flow: &flow };
    let (mut client, mut instance) = (side(client), side(instance));
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut client, &mut instance) => {}
        () = flow.half_and_still(limit) => {}
    }
}

/// What is known of both sides together.
#[derive(Debug, Default)]
struct Flow {
    /// Grows with every piece that is read or written.
    pieces: AtomicU64,
    /// One side has ended.
    half: Notify,
}

impl Flow {
    fn moved(&self) {
        self.pieces.fetch_add(1, Ordering::Relaxed);
    }

    async fn half_and_still(&self, limit: Duration) {
        self.half.notified().await;
        loop {
            let before = self.pieces.load(Ordering::Relaxed);
            tokio::time::sleep(limit).await;
            if self.pieces.load(Ordering::Relaxed) == before {
                return;
            }
        }
    }
}

/// One side, which notes what goes on.
struct Side<'a> {
    io: TokioIo<Upgraded>,
    flow: &'a Flow,
}

impl AsyncRead for Side<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = into.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(context, into))?;
        if into.filled().len() > before {
            self.flow.moved();
        } else {
            self.flow.half.notify_one();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Side<'_> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<std::io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write(context, from))?;
        self.flow.moved();
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
