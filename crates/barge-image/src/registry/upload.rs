//! Sends a blob's bytes, and watches that they get on.
//!
//! A limit on the whole would fail large layers on slow lines, and reqwest's read timeout counts from the sending of the request, whatever
//! is sent meanwhile. So the body itself tells when a piece of it is taken.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt, stream};
use reqwest::{Body, Method, Response, header};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::io::ReaderStream;

use super::client::{Client, Limits, challenge, unreachable};
use super::{Reference, RegistryError};

impl Client {
    /// Sends `content` with PUT; a challenge for a token is met once.
    pub(super) async fn upload(
        &self,
        reference: &Reference,
        url: &str,
        size: u64,
        content: &Content,
    ) -> Result<Response, RegistryError> {
        let known = self.known_token(reference).await;
        let response = self.upload_once(reference, url, size, content, known).await?;
        let Some(challenge) = challenge(&self.url(reference, ""), url, &response) else { return Ok(response) };
        drop(response);
        let token = self.token(reference, &challenge).await?;
        self.upload_once(reference, url, size, content, Some(token)).await
    }

    async fn upload_once(
        &self,
        reference: &Reference,
        url: &str,
        size: u64,
        content: &Content,
        token: Option<String>,
    ) -> Result<Response, RegistryError> {
        let (body, sending) = content.body();
        let request = self
            .request(&self.uploads, reference, &Method::PUT, url, token)
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .header(header::CONTENT_LENGTH, size)
            .body(body);
        tokio::select! {
            response = request.send() => response.map_err(|source| unreachable(reference, source)),
            (problem, waited) = sending.stuck(self.limits) => {
                Err(RegistryError::Silent { host: reference.host.clone(), problem, waited })
            }
        }
    }
}

/// A blob's bytes, which may be sent more than once.
pub(super) enum Content {
    Bytes(Bytes),
    File(PathBuf),
    Temporary(tempfile::NamedTempFile),
}

impl Content {
    fn body(&self) -> (Body, Sending) {
        let path = match self {
            Content::Bytes(bytes) => return watched(stream::iter([Ok(bytes.clone())])),
            Content::File(path) => path.clone(),
            Content::Temporary(file) => file.path().to_owned(),
        };
        // Opened when it is sent; a file that cannot be read breaks the request off.
        let file = async move { tokio::fs::File::open(path).await.map(|f| ReaderStream::with_capacity(f, 128 * 1024)) };
        watched(stream::once(file).try_flatten())
    }
}

/// A body of `pieces`, and the watch over it.
fn watched(pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> (Body, Sending) {
    let (taken, moved) = watch::channel(Instant::now());
    let pieces = pieces.inspect_ok(move |_| {
        taken.send_replace(Instant::now());
    });
    (Body::wrap_stream(pieces), Sending { moved })
}

/// When the last piece of a body was taken. The connection drops a body that is sent to its end, and this is told of it.
struct Sending {
    moved: watch::Receiver<Instant>,
}

impl Sending {
    /// Ends when nothing has moved for too long, with words for that.
    async fn stuck(mut self, limits: Limits) -> (&'static str, Duration) {
        loop {
            let since = *self.moved.borrow_and_update();
            match timeout_at(since + limits.silence, self.moved.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => break,
                Err(_) => return ("took nothing more of an upload", limits.silence),
            }
        }
        sleep(limits.upload_answer).await;
        ("did not answer an upload", limits.upload_answer)
    }
}
