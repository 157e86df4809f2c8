//! One blob on its way into a repository: asked for, mounted, sent whole, or sent in pieces where something on the way takes no more at
//! once.

use std::sync::Arc;

use bytes::Bytes;
use reqwest::{Method, Response, StatusCode, header};

use super::client::{Client, checked, location};
use super::push::{Progress, Step};
use super::retry::{Retries, passing};
use super::upload::{Content, Part, Stored, Told};
use super::{Reference, RegistryError, address};
use crate::base::fetch;
use crate::image::{Blob, Source};

/// The sizes of pieces, in bytes, that are tried one after the other where a blob is not taken whole. Proxies commonly allow 1 MiB.
const PIECES: [u64; 3] = [8 << 20, 1 << 20, 256 << 10];

/// How a registry answers to the beginning of an upload.
enum Begun {
    /// It took the blob over from another repository.
    Mounted,
    /// The bytes are to be sent there.
    Session {
        location: String,
        /// The smallest piece that it takes, in bytes, but for the last one.
        least: u64,
    },
}

impl Client {
    /// Pushes one blob; a try that failed is begun again from its POST, never continued.
    pub(super) async fn push_blob(
        &self,
        blob: &Blob,
        target: &Reference,
        told: &(dyn Fn(Progress) + Sync),
    ) -> Result<Step, RegistryError> {
        let mut retries = Retries::new();
        let mut content = None;
        let result = loop {
            let result = self.try_push_blob(blob, target, &mut content, told).await;
            let Some(error) = result.as_ref().err().filter(|error| error.passing()) else { break result };
            let Some(pause) = retries.next(error.retry_after()) else { break result };
            tracing::debug!(digest = %blob.digest, %error, "pushing again");
            tokio::time::sleep(pause).await;
        };
        let step = match (result, content) {
            (Err(error), Some(Content::Stored(stored))) => return Err(blame(error, stored, blob).await),
            (result, _) => result?,
        };
        self.whereabouts.remember(target, &blob.digest, blob.size);
        told(Progress::of(blob, step));
        Ok(step)
    }

    async fn try_push_blob(
        &self,
        blob: &Blob,
        target: &Reference,
        content: &mut Option<Content>,
        told: &(dyn Fn(Progress) + Sync),
    ) -> Result<Step, RegistryError> {
        // Also after an answer that was lost: the registry may have all of it already.
        if self.has_blob(blob, target).await? {
            return Ok(Step::Present);
        }
        let what = format!("an upload of {}", blob.digest);
        loop {
            let (location, least) = match self.begin(blob, target, &what).await? {
                Begun::Mounted => return Ok(Step::Mounted),
                Begun::Session { location, least } => (location, least),
            };
            let content = match &mut *content {
                Some(content) => content,
                empty => empty.insert(self.open(blob).await?),
            };
            let moved = |bytes| told(Progress::of(blob, Step::Moved { bytes }));
            // What was learned meanwhile by another blob's push holds as well.
            let piece = self.piece(&target.host).map(|piece| piece.max(least)).filter(|piece| *piece < blob.size);
            let response = match piece {
                None => self.send_whole(blob, target, &location, content, &moved).await?,
                Some(piece) => self.send_pieces(blob, target, location, piece, (content, &moved)).await?,
            };
            let smaller = PIECES.iter().find(|smaller| **smaller < piece.unwrap_or(blob.size));
            match smaller.filter(|_| response.status() == StatusCode::PAYLOAD_TOO_LARGE) {
                None => return checked(target, &what, response).await.map(|_| Step::Sent),
                Some(smaller) => self.learn_piece(&target.host, *smaller),
            }
        }
    }

    async fn has_blob(&self, blob: &Blob, target: &Reference) -> Result<bool, RegistryError> {
        let url = self.url(target, &format!("blobs/{}", blob.digest));
        let head = self.send_once(target, &Method::HEAD, &url, &|request| request).await?;
        if passing(head.status().as_u16()) {
            checked(target, &blob.digest, head).await?;
            return Ok(false);
        }
        Ok(head.status().is_success())
    }

    /// Begins an upload, or has the blob mounted from where it is known to be.
    async fn begin(&self, blob: &Blob, target: &Reference, what: &str) -> Result<Begun, RegistryError> {
        let begin = self.url(target, "blobs/uploads/");
        let from = match &blob.source {
            Source::Remote { reference, .. } if reference.host == target.host => Some(reference.repository.clone()),
            _ => self.whereabouts.of(target, &blob.digest),
        };
        let mut response = None;
        if let Some(from) = from {
            let mounted = address::with(&address::with(&begin, "mount", &blob.digest), "from", &from);
            // Whoever may not read there, or a registry that mounts nothing, is no reason to fail.
            response = match self.post(target, &mounted).await {
                Err(RegistryError::Unauthorized { .. }) => None,
                answer => Some(answer?).filter(|answer| answer.status().is_success()),
            };
        }
        let response = match response {
            Some(response) => response,
            None => self.post(target, &begin).await?,
        };
        let response = checked(target, what, response).await?;
        if response.status() == StatusCode::CREATED {
            return Ok(Begun::Mounted);
        }
        let least = response.headers().get("oci-chunk-min-length").and_then(|value| value.to_str().ok()?.parse().ok());
        let location = self.session(target, &begin, &response)?;
        Ok(Begun::Session { location, least: least.unwrap_or_default() })
    }

    async fn post(&self, target: &Reference, url: &str) -> Result<Response, RegistryError> {
        self.send_once(target, &Method::POST, url, &|request| request.header(header::CONTENT_LENGTH, 0)).await
    }

    /// Where an upload goes on.
    fn session(&self, target: &Reference, url: &str, response: &Response) -> Result<String, RegistryError> {
        let location = location(url, response).ok_or_else(|| RegistryError::Protocol {
            host: target.host.clone(),
            problem: "its answer to an upload has no Location".to_owned(),
        })?;
        let begin = self.url(target, "");
        let Some(right) = address::behind_tls(&begin, &location) else { return Ok(location) };
        tracing::warn!(
            host = %target.host,
            "the registry gives Locations with http:// behind TLS: its external address is set wrongly there; going on with https://"
        );
        Ok(right)
    }

    async fn send_whole(
        &self,
        blob: &Blob,
        target: &Reference,
        location: &str,
        content: &Content,
        told: Told<'_>,
    ) -> Result<Response, RegistryError> {
        let url = address::with(location, "digest", &blob.digest);
        let part = Part { method: Method::PUT, url: &url, content, start: 0, size: blob.size };
        self.upload(target, &part, told).await
    }

    /// Sends a blob in pieces, one after the other, each to the address that the answer before it names.
    async fn send_pieces(
        &self,
        blob: &Blob,
        target: &Reference,
        mut location: String,
        piece: u64,
        (content, told): (&Content, Told<'_>),
    ) -> Result<Response, RegistryError> {
        let mut start = 0;
        while start < blob.size {
            let size = piece.min(blob.size - start);
            let part = Part { method: Method::PATCH, url: &location, content, start, size };
            let response = self.upload(target, &part, told).await?;
            if !response.status().is_success() {
                return Ok(response);
            }
            location = self.session(target, &location, &response)?;
            start += size;
        }
        let url = address::with(&location, "digest", &blob.digest);
        self.send_once(target, &Method::PUT, &url, &|request| request.header(header::CONTENT_LENGTH, 0)).await
    }

    async fn open(&self, blob: &Blob) -> Result<Content, RegistryError> {
        Ok(match &blob.source {
            Source::Bytes(bytes) => Content::Bytes(Bytes::from_owner(Arc::clone(bytes))),
            Source::Temporary(held) => Content::Stored(Stored::Held(Arc::clone(held))),
            Source::File(path) => Content::Stored(Stored::File(path.clone())),
            Source::Remote { reference, cache } => {
                let held = fetch::blob(Some(self), reference, blob, cache.as_ref()).await?;
                Content::Stored(Stored::Held(Arc::new(held)))
            }
        })
    }
}

/// Why an upload has failed: since the bytes on this side are not the right ones, where that is so, and otherwise as it seems. They are
/// not looked at before, which would take as long as many an upload.
async fn blame(error: RegistryError, stored: Stored, blob: &Blob) -> RegistryError {
    let blob = blob.clone();
    let damage = tokio::task::spawn_blocking(move || stored.damage(&blob)).await;
    damage.ok().flatten().unwrap_or(error)
}
