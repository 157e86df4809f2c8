//! Blobs, manifests and tags on disk.
//!
//! `blobs/HEX` holds content, `repositories/NAME/manifests/HEX` and `.../layers/HEX` say what a repository has, `.../tags/TAG`
//! holds a digest. Everything is written beside its place and renamed into it, so that what has a name is whole.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};

use crate::collect;
use crate::error::StorageError;
use crate::name;
use crate::space::Space;
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
}

impl Storage {
    /// Opens or makes the directory; at most `limit` bytes of blobs and uploads are kept there.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn open(root: PathBuf, limit: u64) -> Result<Self, StorageError> {
        for part in ["blobs", "uploads", "repositories"] {
            make_directory(&root.join(part))?;
        }
        let space = Space::new(collect::size_on_disk(&root), limit);
        Ok(Self { root, space, busy: Busy::default(), collecting: Arc::default() })
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

    /// Held by a collection.
    pub(crate) fn collecting(&self) -> RwLockWriteGuard<'_, ()> {
        self.collecting.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn blob_path(&self, hex: &str) -> PathBuf {
        self.root.join("blobs").join(hex)
    }

    pub(crate) fn upload_path(&self, id: &str) -> PathBuf {
        self.root.join("uploads").join(id)
    }

    fn repository(&self, repository: &str) -> Result<PathBuf, StorageError> {
        // `_` cannot begin a part of a name, so a repository never lies in another one's files.
        Ok(self.root.join("repositories").join(name::repository(repository)?).join("_barge"))
    }

    /// A blob's file and size, where `repository` has it.
    pub(crate) fn blob(&self, repository: &str, digest: &str) -> Result<(PathBuf, u64), StorageError> {
        let hex = name::digest(digest)?;
        let link = self.repository(repository)?.join("layers").join(hex);
        let path = self.blob_path(hex);
        match (link.exists(), std::fs::metadata(&path)) {
            (true, Ok(meta)) => Ok((path, meta.len())),
            _ => Err(StorageError::BlobUnknown(digest.to_owned())),
        }
    }

    /// As `blob`, for a client that will name the blob in a manifest soon: it counts as young again, so that no collection takes it
    /// away meanwhile.
    pub(crate) fn blob_wanted(&self, repository: &str, digest: &str) -> Result<(PathBuf, u64), StorageError> {
        let _joining = self.joining();
        let (path, size) = self.blob(repository, digest)?;
        touch(&path)?;
        Ok((path, size))
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
        if self.blob_wanted(from, digest).is_err() {
            return Ok(false);
        }
        let _joining = self.joining();
        self.link_blob(repository, name::digest(digest)?)?;
        Ok(true)
    }

    /// Makes a blob of the file at `path`, whose digest was checked, and gives it to `repository`.
    pub(crate) fn take_in(&self, repository: &str, path: &Path, hex: &str) -> Result<(), StorageError> {
        let _joining = self.joining();
        let blob = self.blob_path(hex);
        let replaced = std::fs::metadata(&blob).map(|meta| meta.len());
        std::fs::rename(path, &blob).map_err(io("write", &blob))?;
        self.space.give_back(replaced.unwrap_or(0));
        self.link_blob(repository, hex)
    }

    fn link_blob(&self, repository: &str, hex: &str) -> Result<(), StorageError> {
        let directory = self.repository(repository)?.join("layers");
        make_directory(&directory)?;
        write_file(&directory.join(hex), b"")
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

    /// Takes a manifest whose parts are all here; the result is its digest.
    pub(crate) fn put_manifest(
        &self,
        repository: &str,
        reference: &str,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<String, StorageError> {
        let hex = hex(&Sha256::digest(bytes));
        let digest = format!("sha256:{hex}");
        let directory = self.repository(repository)?;
        let tag = if reference.starts_with("sha256:") { None } else { Some(name::tag(reference)?) };
        if tag.is_none() && name::digest(reference)? != hex {
            return Err(StorageError::DigestMismatch { named: reference.to_owned(), actual: digest });
        }
        let _joining = self.joining();
        let media_type = self.check_manifest(repository, media_type, bytes)?;
        let blob = self.blob_path(&hex);
        if !blob.exists() {
            self.space.take(bytes.len() as u64)?;
            write_file(&blob, bytes).inspect_err(|_| self.space.give_back(bytes.len() as u64))?;
        }
        make_directory(&directory.join("manifests"))?;
        write_file(&directory.join("manifests").join(&hex), media_type.as_bytes())?;
        if let Some(tag) = tag {
            make_directory(&directory.join("tags"))?;
            write_file(&directory.join("tags").join(tag), digest.as_bytes())?;
        }
        Ok(digest)
    }

    /// Checks that a manifest agrees with what was said of it and that its parts are here; the result is its media type.
    fn check_manifest(&self, repository: &str, media_type: &str, bytes: &[u8]) -> Result<String, StorageError> {
        let invalid = |text: String| StorageError::ManifestInvalid(text);
        let document: serde_json::Value = serde_json::from_slice(bytes).map_err(|error| invalid(error.to_string()))?;
        let media_type = match document.get("mediaType").and_then(|value| value.as_str()) {
            Some(own) if media_type.is_empty() || own == media_type => own,
            Some(own) => return Err(invalid(format!("its mediaType is {own}, its Content-Type {media_type}"))),
            None if media_type.is_empty() => {
                return Err(invalid("it has neither mediaType nor Content-Type".to_owned()));
            }
            None => media_type,
        };
        let digest_of = |value: &serde_json::Value| value.get("digest").and_then(|d| d.as_str()).map(str::to_owned);
        let layers = document.get("layers").and_then(|value| value.as_array()).cloned().unwrap_or_default();
        for part in document.get("config").into_iter().chain(&layers).filter_map(digest_of) {
            self.blob(repository, &part).map_err(|_| invalid(format!("it names {part}, which was not pushed")))?;
        }
        let children = document.get("manifests").and_then(|value| value.as_array()).cloned().unwrap_or_default();
        for child in children.iter().filter_map(digest_of) {
            self.manifest(repository, &child)
                .map_err(|_| invalid(format!("it names {child}, which was not pushed")))?;
        }
        Ok(media_type.to_owned())
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

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn io(verb: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> StorageError {
    let path = path.to_owned();
    move |source| StorageError::Io { verb, path, source }
}

fn missing(
    source: std::io::Error,
    verb: &'static str,
    path: &Path,
    unknown: impl FnOnce() -> StorageError,
) -> StorageError {
    if source.kind() == ErrorKind::NotFound { unknown() } else { io(verb, path)(source) }
}

/// Makes a file young.
fn touch(path: &Path) -> Result<(), StorageError> {
    let file = std::fs::File::options().append(true).open(path).map_err(io("touch", path))?;
    file.set_modified(SystemTime::now()).map_err(io("touch", path))
}

fn remove(path: &Path) -> Result<(), StorageError> {
    std::fs::remove_file(path).map_err(io("remove", path))
}

fn make_directory(path: &Path) -> Result<(), StorageError> {
    std::fs::create_dir_all(path).map_err(io("make directory", path))
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), StorageError> {
    let directory = path.parent().unwrap_or(path);
    let mut file = tempfile::Builder::new().prefix(".new").tempfile_in(directory).map_err(io("write", path))?;
    file.write_all(bytes).map_err(io("write", path))?;
    file.persist(path).map_err(|error| io("write", path)(error.error))?;
    Ok(())
}
