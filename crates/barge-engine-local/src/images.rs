//! Images on this machine: fetched once for each digest, then copied for each instance, so that no instance can change another one's files.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use barge_image::base::{BaseError, Means, manifest_for};
use barge_image::image::here;
use barge_image::unpack::{UnpackError, unpack_app};
use barge_image::{Client, Reference, RegistryError};
use barge_model::{Digest, Release};
use tokio::sync::{Mutex, RwLock};

use crate::durable;
use crate::store::{self, StoreError};

/// Why an image cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImageError {
    #[error("understand the image name {0:?}")]
    Name(String),
    #[error("fetch the image {image}")]
    Fetch { image: String, source: RegistryError },
    #[error("understand the manifest of {image}")]
    Manifest { image: String, source: BaseError },
    #[error("unpack the image {image}")]
    Unpack { image: String, source: UnpackError },
    #[error("store the image")]
    Store(#[source] StoreError),
    #[error("copy the image's files to {to}")]
    Copy { to: PathBuf, source: std::io::Error },
    #[error("bring the image's files in {to} to the disk")]
    Sync { to: PathBuf, source: std::io::Error },
    #[error("the work was interrupted")]
    Interrupted,
}

impl ImageError {
    /// Whether the same may succeed a little later. The client has tried more than once already.
    pub(crate) fn passing(&self) -> bool {
        match self {
            ImageError::Fetch { source: RegistryError::Unreachable { .. }, .. } => true,
            ImageError::Fetch { source: RegistryError::Status { status, .. }, .. } => *status >= 500,
            _ => false,
        }
    }
}

/// The images of an engine.
#[derive(Debug)]
pub(crate) struct Images {
    directory: PathBuf,
    client: Client,
    /// One fetch at a time for each digest.
    under_way: Mutex<HashMap<Digest, Arc<Mutex<()>>>>,
    /// Held shared by who uses images, and alone by who removes some.
    removing: RwLock<()>,
}

impl Images {
    pub(crate) fn new(directory: PathBuf, client: Client) -> Self {
        Self { directory, client, under_way: Mutex::default(), removing: RwLock::default() }
    }

    /// Brings the release's files to `target`, a directory that does not exist yet.
    pub(crate) async fn place(&self, release: &Release, target: &Path) -> Result<(), ImageError> {
        let _using = self.removing.read().await;
        let app = self.fetch(release).await?;
        let to = target.to_owned();
        let copied = tokio::task::spawn_blocking(move || copy_tree(&app, &to).map_err(|source| (to, source))).await;
        copied.map_err(|_| ImageError::Interrupted)?.map_err(|(to, source)| ImageError::Copy { to, source })
    }

    async fn fetch(&self, release: &Release) -> Result<PathBuf, ImageError> {
        let place = self.directory.join(release.digest.hex());
        let app = place.join("app");
        if app.is_dir() {
            return Ok(app);
        }
        let turn = Arc::clone(self.under_way.lock().await.entry(release.digest.clone()).or_default());
        let fetched = {
            let _turn = turn.lock().await;
            // Somebody else may have had the turn before.
            if app.is_dir() { Ok(()) } else { self.fetch_to(release, &place).await }
        };
        let mut under_way = self.under_way.lock().await;
        // Two hold the lock when nobody waits for it: the map and we.
        if Arc::strong_count(&turn) <= 2 {
            under_way.remove(&release.digest);
        }
        drop(under_way);
        fetched.map(|()| app)
    }

    async fn fetch_to(&self, release: &Release, place: &Path) -> Result<(), ImageError> {
        // What has its final name is whole; anything else is left from an interrupted fetch.
        let partial = self.directory.join(format!("{}.part", release.digest.hex()));
        let _ = tokio::fs::remove_dir_all(&partial).await;
        store::make_directory(&partial.join("app")).map_err(ImageError::Store)?;
        self.fetch_into(release, &partial).await?;
        // Before it gets its name: nobody looks at it again, and a power cut would leave files that are empty or cut short.
        let written = partial.clone();
        let synced = tokio::task::spawn_blocking(move || durable::sync_tree(&written)).await;
        synced
            .map_err(|_| ImageError::Interrupted)?
            .map_err(|source| ImageError::Sync { to: partial.clone(), source })?;
        tokio::fs::rename(&partial, place).await.map_err(|source| ImageError::Copy { to: place.to_owned(), source })
    }

    async fn fetch_into(&self, release: &Release, partial: &Path) -> Result<(), ImageError> {
        let image = format!("{}@{}", release.image, release.digest);
        let reference: Reference = image.parse().map_err(|_| ImageError::Name(image.clone()))?;
        let fetch = |source| ImageError::Fetch { image: image.clone(), source };
        // An image for several kinds of machines is an index, of which this one's is taken.
        let means = Means { client: Some(&self.client), cache: None };
        let manifest = manifest_for(&reference, &here(), means).await.map_err(|error| match error {
            BaseError::Registry(source) => fetch(source),
            source => ImageError::Manifest { image: image.clone(), source },
        })?;
        let layers = manifest["layers"].as_array().cloned().unwrap_or_default();
        for layer in &layers {
            let (Some(digest), Some(size)) = (layer["digest"].as_str(), layer["size"].as_u64()) else {
                let source = BaseError::Invalid { what: "the image's manifest".to_owned() };
                return Err(ImageError::Manifest { image, source });
            };
            let file = partial.join("layer");
            self.client.blob_to_file(&reference, digest, size, &file).await.map_err(fetch)?;
            let (layer, app) = (file.clone(), partial.join("app"));
            let unpacked = tokio::task::spawn_blocking(move || unpack_app(&layer, &app)).await;
            unpacked
                .map_err(|_| ImageError::Interrupted)?
                .map_err(|source| ImageError::Unpack { image: image.clone(), source })?;
            let _ = tokio::fs::remove_file(&file).await;
        }
        Ok(())
    }

    /// Removes the images whose digest is not among those that are `needed`, which is asked once nobody uses any; where
    /// that is not known, none.
    pub(crate) async fn keep_only(&self, needed: impl FnOnce() -> Option<BTreeSet<String>>) {
        let _alone = self.removing.write().await;
        let Some(needed) = needed() else { return };
        let directory = self.directory.clone();
        let removed = tokio::task::spawn_blocking(move || {
            for entry in std::fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok) {
                if !needed.contains(&*entry.file_name().to_string_lossy()) {
                    store::remove_tree(&entry.path());
                }
            }
        });
        // What could not be removed now is tried again the next time.
        let _ = removed.await;
    }
}

/// Copies files, directories and links; where the file system can share blocks, the kernel does.
fn copy_tree(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(std::fs::read_link(entry.path())?, &target)?;
        } else {
            std::fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}
