//! Blobs, manifests and tags on disk.
//!
//! `blobs/HEX` holds content, `repositories/NAME/manifests/HEX` and `.../layers/HEX` say what a repository has, `.../tags/TAG`
//! holds a digest, `.../referrers` is described there. Everything is written beside its place, brought to the disk and renamed into its place, so that what has a name is
//! whole, after a power cut as well. `trash` holds what lost its name and is about to be removed.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::body::STALL_LIMIT;
use crate::collect;
use crate::disk::{io, make_directory, missing, remove, sync_directory, sync_file, touch, write_file};
use crate::error::StorageError;
use crate::name;
use crate::referrers::Referrer;
use crate::space::{Reserve, Space};
use crate::upload::Busy;

/// The largest manifest that is taken, in bytes (distribution specification, "Pushing manifests").
pub(crate) const MAX_MANIFEST: usize = 4 * 1024 * 1024;

/// A registry's directory. Clones share it; nobody else may write to it.
#[derive(Debug, Clone)]
pub struct Storage {
    root: PathBuf,
    space: Space,
    busy: Busy,
    collecting: Arc<RwLock<()>>,
    tidying: Arc<Mutex<()>>,
    placing: Arc<Mutex<()>>,
    stall_limit: Duration,
}

impl Storage {
    /// Opens or makes the directory; at most `limit` bytes of blobs and uploads are kept there.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn open(root: PathBuf, limit: u64) -> Result<Self, StorageError> {
        for part in ["blobs", "uploads", "repositories", "trash"] {
            make_directory(&root.join(part))?;
        }
        let space = Space::new(collect::size_on_disk(&root), limit);
        let busy = Busy::default();
        let (collecting, tidying, placing) = (Arc::default(), Arc::default(), Arc::default());
        Ok(Self { root, space, busy, collecting, tidying, placing, stall_limit: STALL_LIMIT })
    }

    /// The same, leaving so much of its disk free. Said before anybody else has it.
    #[must_use]
    pub fn with_reserve(mut self, reserve: Reserve) -> Self {
        self.space = self.space.leaving(self.root.clone(), reserve);
        self
    }

    /// The same, giving a client up that has sent nothing more of what it began for so long.
    #[must_use]
    pub fn with_stall_limit(self, stall_limit: Duration) -> Self {
        Self { stall_limit, ..self }
    }

    pub(crate) fn stall_limit(&self) -> Duration {
        self.stall_limit
    }

    /// Runs `work` on a thread that may wait: for the disk, and for a collection.
    pub(crate) async fn blocking<T, F>(&self, work: F) -> Result<T, StorageError>
    where
        T: Send + 'static,
        F: FnOnce(&Storage) -> Result<T, StorageError> + Send + 'static,
    {
        let storage = self.clone();
        tokio::task::spawn_blocking(move || work(&storage)).await.map_err(|_| StorageError::Interrupted)?
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn space(&self) -> &Space {
        &self.space
    }

    pub(crate) fn busy(&self) -> &Busy {
        &self.busy
    }

    /// Held by whoever joins blobs to names, so that no collection comes between its look at a blob and its mention of it.
    fn joining(&self) -> RwLockReadGuard<'_, ()> {
        self.collecting.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held by whoever takes names away, a collection or a client, while it decides and does so.
    pub(crate) fn collecting(&self) -> RwLockWriteGuard<'_, ()> {
        self.collecting.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held by a collection from its beginning to its end.
    pub(crate) fn tidying(&self) -> MutexGuard<'_, ()> {
        self.tidying.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held from the look at what is in a blob's place until the blob is there: of two at once, neither would give back the other's room.
    fn placing(&self) -> MutexGuard<'_, ()> {
        self.placing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn blob_path(&self, hex: &str) -> PathBuf {
        self.root.join("blobs").join(hex)
    }

    pub(crate) fn trash(&self) -> PathBuf {
        self.root.join("trash")
    }

    pub(crate) fn repository(&self, repository: &str) -> Result<PathBuf, StorageError> {
        // `_` cannot begin a part of a name, so a repository never lies in another one's files.
        Ok(self.root.join("repositories").join(name::repository(repository)?).join("_barge"))
    }

    /// A blob's file and size, where `repository` has it.
    pub(crate) fn blob(&self, repository: &str, digest: &str) -> Result<(PathBuf, u64), StorageError> {
        let unknown = || StorageError::BlobUnknown(digest.to_owned());
        let hex = name::digest(digest)?;
        let link = self.repository(repository)?.join("layers").join(hex);
        if !link.try_exists().map_err(io("read", &link))? {
            return Err(unknown());
        }
        let path = self.blob_path(hex);
        let size = std::fs::metadata(&path).map_err(|source| missing(source, "read", &path, unknown))?.len();
        Ok((path, size))
    }

    /// As `blob`, opened: a collection may take its name away and it can still be read.
    pub(crate) fn open_blob(&self, repository: &str, digest: &str) -> Result<(std::fs::File, u64), StorageError> {
        let unknown = || StorageError::BlobUnknown(digest.to_owned());
        let (path, size) = self.blob(repository, digest)?;
        let file = std::fs::File::open(&path).map_err(|source| missing(source, "read", &path, unknown))?;
        Ok((file, size))
    }

    /// The size of a blob, for a client that will name it in a manifest soon: it counts as young again, so that no collection takes it
    /// away meanwhile.
    pub(crate) fn blob_wanted(&self, repository: &str, digest: &str) -> Result<u64, StorageError> {
        let _joining = self.joining();
        let (path, size) = self.blob(repository, digest)?;
        touch(&path)?;
        Ok(size)
    }

    /// As `manifest`, for a client that asks because it wants to use it: it counts as young again, with all that it names.
    pub(crate) fn manifest_wanted(
        &self,
        repository: &str,
        reference: &str,
    ) -> Result<(Vec<u8>, String, String), StorageError> {
        let _joining = self.joining();
        let found = self.manifest(repository, reference)?;
        touch(&self.repository(repository)?.join("manifests").join(name::digest(&found.2)?))?;
        Ok(found)
    }

    /// Lets `repository` have a blob that is here already, if it is.
    pub(crate) fn mount(&self, repository: &str, from: &str, digest: &str) -> Result<bool, StorageError> {
        let _joining = self.joining();
        let Ok((path, _)) = self.blob(from, digest) else { return Ok(false) };
        touch(&path)?;
        self.link_blob(repository, name::digest(digest)?)?;
        Ok(true)
    }

    /// Makes a blob of the file at `path`, whose digest was checked, and gives it to `repository`.
    pub(crate) fn take_in(&self, repository: &str, path: &Path, hex: &str) -> Result<(), StorageError> {
        // Before the lock, because it may take long.
        sync_file(path)?;
        let _joining = self.joining();
        let blob = self.blob_path(hex);
        {
            let _placing = self.placing();
            let replaced = std::fs::metadata(&blob).map(|meta| meta.len());
            std::fs::rename(path, &blob).map_err(io("write", &blob))?;
            self.space.give_back(replaced.unwrap_or(0));
        }
        sync_directory(&self.root.join("blobs"))?;
        self.link_blob(repository, hex)
    }

    fn link_blob(&self, repository: &str, hex: &str) -> Result<(), StorageError> {
        let directory = self.repository(repository)?.join("layers");
        let link = directory.join(hex);
        self.space.check_files()?;
        make_directory(&directory)?;
        std::fs::File::create(&link).map_err(io("write", &link))?;
        sync_directory(&directory)
    }

    /// A manifest's bytes, media type and digest.
    pub(crate) fn manifest(
        &self,
        repository: &str,
        reference: &str,
    ) -> Result<(Vec<u8>, String, String), StorageError> {
        let unknown = || StorageError::ManifestUnknown(reference.to_owned());
        let directory = self.repository(repository)?;
        let digest = if reference.starts_with("sha256:") {
            reference.to_owned()
        } else {
            let path = directory.join("tags").join(name::tag(reference)?);
            std::fs::read_to_string(&path).map_err(|source| missing(source, "read", &path, unknown))?
        };
        let hex = name::digest(&digest)?;
        let path = directory.join("manifests").join(hex);
        let media_type = std::fs::read_to_string(&path).map_err(|source| missing(source, "read", &path, unknown))?;
        let blob = self.blob_path(hex);
        let bytes = std::fs::read(&blob).map_err(|source| missing(source, "read", &blob, unknown))?;
        Ok((bytes, media_type, digest))
    }

    /// Takes a manifest whose parts are all here; the result is its digest, and that of what it says something of.
    pub(crate) fn put_manifest(
        &self,
        repository: &str,
        reference: &str,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<(String, Option<String>), StorageError> {
        let hex = hex(&Sha256::digest(bytes));
        let digest = format!("sha256:{hex}");
        let directory = self.repository(repository)?;
        let tag = if reference.starts_with("sha256:") { None } else { Some(name::tag(reference)?) };
        if tag.is_none() && name::digest(reference)? != hex {
            return Err(StorageError::DigestMismatch { named: reference.to_owned(), actual: digest });
        }
        let _joining = self.joining();
        let (media_type, document) = self.check_manifest(repository, media_type, bytes)?;
        let referrer = Referrer::of(&document, &media_type, &digest, bytes.len())?;
        self.space.check_files()?;
        self.write_counted(&self.blob_path(&hex), bytes)?;
        if let Some(referrer) = &referrer {
            self.note_referrer(&directory, &hex, referrer)?;
        }
        make_directory(&directory.join("manifests"))?;
        write_file(&directory.join("manifests").join(&hex), media_type.as_bytes())?;
        if let Some(tag) = tag {
            make_directory(&directory.join("tags"))?;
            write_file(&directory.join("tags").join(tag), digest.as_bytes())?;
        }
        Ok((digest, referrer.map(|referrer| referrer.subject)))
    }

    /// Writes a blob of a manifest. One that is there is written again: a damaged one would stay damaged for ever.
    fn write_counted(&self, blob: &Path, bytes: &[u8]) -> Result<(), StorageError> {
        let _placing = self.placing();
        let before = match std::fs::metadata(blob) {
            Err(error) if error.kind() == ErrorKind::NotFound => 0,
            meta => meta.map_err(io("read", blob))?.len(),
        };
        let after = bytes.len() as u64;
        let more = after.saturating_sub(before);
        self.space.take(more)?;
        write_file(blob, bytes).inspect_err(|_| self.space.give_back(more))?;
        self.space.give_back(before.saturating_sub(after));
        Ok(())
    }

    /// Checks that a manifest agrees with what was said of it and that its parts are here; the result is its media type, and what it
    /// says.
    fn check_manifest(
        &self,
        repository: &str,
        content_type: &str,
        bytes: &[u8],
    ) -> Result<(String, serde_json::Value), StorageError> {
        let invalid = |text: String| StorageError::ManifestInvalid(text);
        let document: serde_json::Value = serde_json::from_slice(bytes).map_err(|error| invalid(error.to_string()))?;
        let media_type = media_type(&document, content_type)?;
        let digest_of = |value: &serde_json::Value| value.get("digest").and_then(|d| d.as_str()).map(str::to_owned);
        let parts = |name: &str| document.get(name).and_then(|value| value.as_array()).cloned().unwrap_or_default();
        let pushed = |found: Result<(), StorageError>, part: &str| match found {
            // A disk that cannot be read says nothing of what was pushed.
            Ok(()) | Err(StorageError::Io { .. }) => found,
            Err(_) => Err(invalid(format!("it names {part}, which was not pushed"))),
        };
        let mut layers = parts("layers");
        layers.retain(|layer| !is_elsewhere(layer));
        for part in document.get("config").into_iter().chain(&layers).filter_map(digest_of) {
            pushed(self.blob(repository, &part).map(drop), &part)?;
        }
        for child in parts("manifests").iter().filter_map(digest_of) {
            pushed(self.manifest(repository, &child).map(drop), &child)?;
        }
        Ok((media_type, document))
    }

    /// The tags of a repository, sorted.
    pub(crate) fn tags(&self, repository: &str) -> Result<Vec<String>, StorageError> {
        let directory = self.repository(repository)?;
        let path = directory.join("tags");
        if directory.exists() && !path.exists() {
            return Ok(Vec::new());
        }
        let unknown = || StorageError::NameUnknown(repository.to_owned());
        let entries = std::fs::read_dir(&path).map_err(|source| missing(source, "list", &path, unknown))?;
        let mut tags: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|t| !t.starts_with('.'))
            .collect();
        tags.sort();
        Ok(tags)
    }

    /// Removes a tag, or a manifest with the tags that point to it.
    pub(crate) fn delete_manifest(&self, repository: &str, reference: &str) -> Result<(), StorageError> {
        // Whoever is just reading the tags, or taking the same away, would stumble over what vanishes.
        let _collecting = self.collecting();
        let (_, _, digest) = self.manifest(repository, reference)?;
        let directory = self.repository(repository)?;
        let tags = self.tags(repository).unwrap_or_default();
        let by_digest = reference.starts_with("sha256:");
        for tag in tags {
            let path = directory.join("tags").join(&tag);
            let points_here = by_digest && std::fs::read_to_string(&path).is_ok_and(|text| text == digest);
            if tag == reference || points_here {
                remove(&path)?;
            }
        }
        if by_digest {
            remove(&directory.join("manifests").join(name::digest(&digest)?))?;
        }
        Ok(())
    }
}

/// Whether a layer is of those that registries do not have, since their makers do not let others hand them on (image specification,
/// "Non-Distributable Layers").
fn is_elsewhere(layer: &serde_json::Value) -> bool {
    let media_type = layer.get("mediaType").and_then(|value| value.as_str()).unwrap_or_default();
    let kinds = ["application/vnd.oci.image.layer.nondistributable.", "application/vnd.docker.image.rootfs.foreign."];
    kinds.iter().any(|kind| media_type.starts_with(kind))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A manifest's media type: its own word, else the request's. Both must agree, and it must be fit for a header.
fn media_type(document: &serde_json::Value, content_type: &str) -> Result<String, StorageError> {
    let invalid = |text: String| StorageError::ManifestInvalid(text);
    // Parameters, such as a charset, are no part of it.
    let said = content_type.split(';').next().unwrap_or_default().trim();
    let media_type = match document.get("mediaType").and_then(|value| value.as_str()) {
        Some(own) if said.is_empty() || own == said => own,
        Some(own) => return Err(invalid(format!("its mediaType is {own:?}, its Content-Type {said:?}"))),
        None if said.is_empty() => return Err(invalid("it has neither mediaType nor Content-Type".to_owned())),
        None => said,
    };
    if media_type.is_empty() || media_type.len() > 255 || !media_type.bytes().all(|byte| byte.is_ascii_graphic()) {
        let short: String = media_type.chars().take(100).collect();
        return Err(invalid(format!("its mediaType {short:?} is not one of 1 to 255 visible ASCII characters")));
    }
    Ok(media_type.to_owned())
}
