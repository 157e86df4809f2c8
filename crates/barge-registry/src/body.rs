//! What a client sends, for as long as it goes on sending: one that stops in the middle and keeps its connection would hold its upload, and
//! a place among the connections, for ever.

use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use futures_util::StreamExt;

/// How long a client may send nothing of what it has begun.
pub(crate) const STALL_LIMIT: Duration = Duration::from_secs(60);

/// Why a body does not arrive in full.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("{0}")]
    Broke(axum::Error),
    #[error("nothing more of it has come for {0:?}")]
    Stalled(Duration),
}

/// A body, piece by piece.
pub(crate) struct Pieces {
    stream: BodyDataStream,
    stall_limit: Duration,
}

impl Pieces {
    pub(crate) fn of(body: Body, stall_limit: Duration) -> Self {
        Self { stream: body.into_data_stream(), stall_limit }
    }

    /// The next piece; none at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        let next = tokio::time::timeout(self.stall_limit, self.stream.next()).await;
        next.map_err(|_| BodyError::Stalled(self.stall_limit))?.transpose().map_err(BodyError::Broke)
    }
}
