//! Pushes: layers and config, several at once, then the manifest.

use futures_util::{StreamExt, TryStreamExt, stream};

use super::client::Client;
use super::manifest::Document;
use super::{Reference, RegistryError};
use crate::image::{Blob, Image};

/// What is told of a blob while a push goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The blob's digest.
    pub digest: String,
    /// Its size in bytes.
    pub size: u64,
    /// How far it is.
    pub step: Step,
}

/// How far a blob is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It belongs to the image. All blobs are told of before the first one is sent.
    Planned,
    /// It is being sent; a try that failed begins at 0 again.
    Moved {
        /// So many bytes are on their way or there.
        bytes: u64,
    },
    /// The registry has it already.
    Present,
    /// The registry took it over from another repository.
    Mounted,
    /// It was sent.
    Sent,
}

impl Progress {
    pub(super) fn of(blob: &Blob, step: Step) -> Self {
        Self { digest: blob.digest.clone(), size: blob.size, step }
    }
}

/// What a push did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pushed {
    /// Bytes that went over the wire.
    pub sent: u64,
    /// Bytes that were there already or were mounted.
    pub present: u64,
}

/// How many blobs are under way at once.
const PARALLEL: usize = 4;

impl Client {
    /// Pushes an image. What the registry has already is not sent again.
    ///
    /// # Errors
    /// The registry refuses or does not answer, or a file of ours cannot be read.
    pub async fn push(
        &self,
        image: &Image,
        target: &Reference,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Pushed, RegistryError> {
        let manifest = Document::from(image);
        let blobs = image.blobs();
        for blob in &blobs {
            progress(Progress::of(blob, Step::Planned));
        }
        if self.has(manifest, target).await? {
            for blob in &blobs {
                progress(Progress::of(blob, Step::Present));
            }
            self.have_tagged(manifest, target).await?;
            return Ok(Pushed { sent: 0, present: blobs.iter().map(|blob| blob.size).sum() });
        }
        let results: Vec<(u64, Step)> = stream::iter(blobs)
            .map(|blob| async move { Ok((blob.size, self.push_blob(blob, target, progress).await?)) })
            .buffer_unordered(PARALLEL)
            .try_collect()
            .await?;
        self.put_named(manifest, target).await?;
        let mut pushed = Pushed::default();
        for (size, step) in results {
            match step {
                Step::Sent => pushed.sent += size,
                _ => pushed.present += size,
            }
        }
        Ok(pushed)
    }
}
