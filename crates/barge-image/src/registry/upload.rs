//! Sends a blob's bytes, whole or a piece of them, and watches that they get on.
//!
//! A limit on the whole would fail large layers on slow lines, and reqwest's read timeout counts from the sending of the request, whatever
//! is sent meanwhile. So the body itself tells when a piece of it is taken.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt, TryStreamExt};
use reqwest::{Body, Method, Response, header};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::io::ReaderStream;

use super::client::{Client, Limits, unreachable};
use super::{Reference, RegistryError};
use crate::cache::Held;
use crate::image::Blob;
use crate::layer;

/// Bytes of a blob on their way to an address.
pub(super) struct Part<'a> {
    pub(super) method: Method,
    pub(super) url: &'a str,
    pub(super) content: &'a Content,
    /// The first byte of the blob that is sent.
    pub(super) start: u64,
    /// So many are sent.
    pub(super) size: u64,
}

/// Who is told how many bytes of a blob have been sent up to now.
pub(super) type Told<'a> = &'a (dyn Fn(u64) + Sync);

impl Client {
    /// Sends a part; what the registry asks for meanwhile is given once.
    pub(super) async fn upload(
        &self,
        reference: &Reference,
        part: &Part<'_>,
        told: Told<'_>,
    ) -> Result<Response, RegistryError> {
        let http = self.transport.pair(&self.allowed(reference, part.url)?)?.uploads;
        let mut attempt = self.attempt(reference, part.url).await?;
        let told = |sent| told(part.start + sent);
        loop {
            let (body, sending) = part.content.body(part.start, part.size);
            let mut request = http
                .request(part.method.clone(), part.url)
                .header(header::CONTENT_TYPE, "application/octet-stream")
                .header(header::CONTENT_LENGTH, part.size)
                .body(body);
            if part.method == Method::PATCH {
                // As the distribution specification has it, without a unit.
                let last = part.start + part.size - 1;
                request = request.header(header::CONTENT_RANGE, format!("{}-{last}", part.start));
            }
            let response = tokio::select! {
                response = attempt.say(request).send() => response.map_err(|source| unreachable(reference, source))?,
                (problem, waited) = sending.stuck(self.limits, &told) => {
                    return Err(RegistryError::Silent { host: reference.host.clone(), problem, waited });
                }
            };
            if !self.goes_on(reference, &mut attempt, &response).await? {
                return Ok(response);
            }
        }
    }
}

/// A blob's bytes, which may be sent more than once.
pub(super) enum Content {
    Bytes(Bytes),
    Stored(Stored),
}

impl Content {
    fn body(&self, start: u64, size: u64) -> (Body, Sending) {
        watched(self.pieces(start, size))
    }

    fn pieces(&self, start: u64, size: u64) -> BoxStream<'static, io::Result<Bytes>> {
        let stored = match self {
            Content::Bytes(bytes) => {
                let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
                return stream::iter([Ok(bytes.slice(place(start)..place(start + size)))]).boxed();
            }
            Content::Stored(stored) => stored.clone(),
        };
        // Opened when it is sent; a file that cannot be read breaks the request off. The body holds the file itself: a connection may look
        // at it after whoever sends it has given up.
        let file = async move {
            let opened = tokio::task::spawn_blocking(move || stored.open()).await;
            let mut file = tokio::fs::File::from_std(opened.map_err(io::Error::other)??);
            if start > 0 {
                file.seek(io::SeekFrom::Start(start)).await?;
            }
            Ok::<_, io::Error>(ReaderStream::with_capacity(file.take(size), 128 * 1024))
        };
        stream::once(file).try_flatten().boxed()
    }
}

/// Bytes on the disk.
#[derive(Clone)]
pub(super) enum Stored {
    /// In somebody else's file.
    File(PathBuf),
    /// In a file of ours.
    Held(Arc<Held>),
}

impl Stored {
    fn path(&self) -> &Path {
        match self {
            Stored::File(path) => path,
            Stored::Held(held) => held.path(),
        }
    }

    fn open(&self) -> io::Result<File> {
        File::open(self.path())
    }

    /// What people know it by.
    fn name(&self) -> &Path {
        match self {
            Stored::File(path) => path,
            Stored::Held(held) => held.name().unwrap_or_else(|| held.path()),
        }
    }

    /// What is wrong with the bytes of `blob`, for which a registry is not to blame. What is damaged in the cache is removed from there.
    pub(super) fn damage(&self, blob: &Blob) -> Option<RegistryError> {
        let failed = |source| Some(RegistryError::File(format!("read {}", self.name().display()), source));
        let read = std::fs::metadata(self.path()).and_then(|found| match found.is_file() {
            true => layer::digest_reader(self.open()?).map(|(digest, _)| digest),
            // What comes out of a pipe comes once.
            false => Ok(blob.digest.clone()),
        });
        let actual = match read {
            Ok(actual) if actual == blob.digest => return None,
            Ok(actual) => actual,
            Err(error) => return failed(error),
        };
        let cached = match self {
            Stored::Held(held) => held.discard(),
            Stored::File(_) => false,
        };
        let (path, digest) = (self.name().to_owned(), blob.digest.clone());
        Some(RegistryError::Damaged { path, digest, actual, cached })
    }
}

/// A body of `pieces`, and the watch over it.
fn watched(pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> (Body, Sending) {
    let (taken, moved) = watch::channel((Instant::now(), 0));
    let pieces = pieces.inspect_ok(move |piece| {
        taken.send_modify(|(at, count)| {
            *at = Instant::now();
            *count += piece.len() as u64;
        });
    });
    (Body::wrap_stream(pieces), Sending { moved })
}

/// When the last piece of a body was taken, and how much of it is. The connection drops a body that is sent to its end, and this is told
/// of it.
struct Sending {
    moved: watch::Receiver<(Instant, u64)>,
}

impl Sending {
    /// Ends when nothing has moved for too long, with words for that.
    async fn stuck(mut self, limits: Limits, told: Told<'_>) -> (&'static str, Duration) {
        loop {
            let (since, count) = *self.moved.borrow_and_update();
            told(count);
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

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[tokio::test]
    async fn a_body_that_is_read_late_holds_the_file_that_was_meant() {
        let file = |text: &str| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            file
        };
        let content = Content::Stored(Stored::Held(Arc::new(Held::new(file("what was meant")))));
        let pieces = content.pieces(5, 3);
        // Whoever sends it gives up, and the numbers that are free then are other files'.
        drop(content);
        let _others: Vec<File> = (0..64).map(|_| file("another file!!")).collect();
        let bytes: Vec<Bytes> = pieces.try_collect().await.unwrap();
        assert_eq!(bytes.concat(), b"was");
    }
}
