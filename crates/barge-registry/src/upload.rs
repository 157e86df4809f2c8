//! Uploads: pieces appended to a file, hashed when they are complete, renamed to their digest.

use std::collections::HashSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use sha2::{Digest as _, Sha256};
use tokio::fs::File;
use tokio::io::AsyncWriteExt;

use crate::body::Pieces;
use crate::disk::{io, missing, remove};
use crate::error::StorageError;
use crate::name;
use crate::storage::{Storage, hex};

/// The uploads that a request is working on, by their files. A second request for one of them is refused: their pieces would mix.
#[derive(Debug, Clone, Default)]
pub(crate) struct Busy(Arc<Mutex<HashSet<PathBuf>>>);

/// Holds an upload for one request.
pub(crate) struct Claim {
    busy: Busy,
    upload: PathBuf,
}

impl Busy {
    /// Holds the upload, if nobody does.
    pub(crate) fn claim(&self, upload: &Path) -> Option<Claim> {
        let mut uploads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        uploads.insert(upload.to_owned()).then(|| Claim { busy: self.clone(), upload: upload.to_owned() })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.busy.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.upload);
    }
}

impl Storage {
    /// Begins an upload to `repository`; the result is its id, which no other repository knows.
    pub(crate) async fn begin_upload(&self, repository: &str) -> Result<String, StorageError> {
        let id = ulid::Ulid::new().to_string();
        let path = self.upload_path(repository, &id)?;
        self.space().check_files()?;
        File::create(&path).await.map_err(io("write", &path))?;
        Ok(id)
    }

    /// Takes a blob in one piece. An upload that does not come through is given up at once: nobody has heard of its id.
    pub(crate) async fn upload_whole(&self, repository: &str, digest: &str, body: Body) -> Result<(), StorageError> {
        let (storage, repository, digest) = (self.clone(), repository.to_owned(), digest.to_owned());
        // In a task of its own, as a piece is taken, for the same reason.
        let whole = tokio::spawn(async move {
            let id = storage.begin_upload(&repository).await?;
            let stored = match storage.take_piece(&repository, &id, None, body).await {
                Ok(_) => storage.finish_upload(&repository, &id, &digest).await,
                Err(error) => Err(error),
            };
            if stored.is_err() {
                // What had another digest is gone already.
                let _ = storage.cancel_upload(&repository, &id).await;
            }
            stored
        });
        whole.await.map_err(|_| StorageError::Interrupted)?
    }

    /// How many bytes of an upload are here.
    pub(crate) async fn upload_size(&self, repository: &str, id: &str) -> Result<u64, StorageError> {
        let path = self.upload_path(repository, id)?;
        let found = tokio::fs::metadata(&path).await;
        found.map(|meta| meta.len()).map_err(|source| missing(source, "read", &path, || unknown(id)))
    }

    /// An upload's file. Its name holds the repository's as well, as a hash, so that it is not found in another one.
    fn upload_path(&self, repository: &str, id: &str) -> Result<PathBuf, StorageError> {
        ulid::Ulid::from_string(id).map_err(|_| unknown(id))?;
        let repository = hex(&Sha256::digest(name::repository(repository)?.as_bytes()));
        Ok(self.root().join("uploads").join(format!("{id}-{}", &repository[..16])))
    }

    fn claim(&self, upload: &Path, id: &str) -> Result<Claim, StorageError> {
        self.busy().claim(upload).ok_or_else(|| StorageError::UploadBusy(id.to_owned()))
    }

    /// Appends a piece; the result is the upload's new size. A piece that breaks off leaves the upload as long as it was.
    pub(crate) async fn append(
        &self,
        repository: &str,
        id: &str,
        start: Option<u64>,
        body: Body,
    ) -> Result<u64, StorageError> {
        let (storage, repository, id) = (self.clone(), repository.to_owned(), id.to_owned());
        // In a task of its own: a request whose client goes away is dropped where it stands, and half a piece would stay. The task
        // sees the body's end instead, so it ends with the connection.
        let piece = tokio::spawn(async move { storage.take_piece(&repository, &id, start, body).await });
        piece.await.map_err(|_| StorageError::Interrupted)?
    }

    async fn take_piece(
        &self,
        repository: &str,
        id: &str,
        start: Option<u64>,
        body: Body,
    ) -> Result<u64, StorageError> {
        let path = self.upload_path(repository, id)?;
        let _claim = self.claim(&path, id)?;
        let have = self.upload_size(repository, id).await?;
        if let Some(start) = start.filter(|start| *start != have) {
            return Err(StorageError::Range { have, start });
        }
        let mut file = File::options().append(true).open(&path).await.map_err(io("write", &path))?;
        let mut taken = 0;
        let Err(error) = self.write_piece(&mut file, &path, body, &mut taken).await else { return Ok(have + taken) };
        match file.set_len(have).await {
            Ok(()) => self.space().give_back(taken),
            // What stays keeps its room, until a collection takes the whole upload.
            Err(source) => tracing::warn!(path = %path.display(), error = %source, "a part of an upload stays"),
        }
        Err(error)
    }

    /// Writes a piece to its end; `taken` counts the room that was taken for it.
    async fn write_piece(&self, file: &mut File, path: &Path, body: Body, taken: &mut u64) -> Result<(), StorageError> {
        let mut pieces = Pieces::of(body, self.stall_limit());
        while let Some(bytes) = pieces.next().await.map_err(|error| StorageError::Broken(error.to_string()))? {
            self.space().take(bytes.len() as u64)?;
            *taken += bytes.len() as u64;
            file.write_all(&bytes).await.map_err(io("write", path))?;
        }
        // Only here is it said that the last bytes could not be written.
        file.flush().await.map_err(io("write", path))
    }

    /// Checks a complete upload against its digest and gives it to `repository`.
    pub(crate) async fn finish_upload(&self, repository: &str, id: &str, digest: &str) -> Result<(), StorageError> {
        let wanted = name::digest(digest)?.to_owned();
        let path = self.upload_path(repository, id)?;
        let claim = self.claim(&path, id)?;
        let (repository, id) = (repository.to_owned(), id.to_owned());
        self.blocking(move |storage| {
            // Held by the work and not by the request, which may be dropped before the work ends.
            let _claim = claim;
            let size =
                std::fs::metadata(&path).map_err(|source| missing(source, "read", &path, || unknown(&id)))?.len();
            let actual = hash_file(&path).map_err(io("read", &path))?;
            if actual != wanted {
                remove(&path)?;
                storage.space().give_back(size);
                let (named, actual) = (format!("sha256:{wanted}"), format!("sha256:{actual}"));
                return Err(StorageError::DigestMismatch { named, actual });
            }
            storage.take_in(&repository, &path, &wanted)
        })
        .await
    }

    /// Gives an upload up.
    pub(crate) async fn cancel_upload(&self, repository: &str, id: &str) -> Result<(), StorageError> {
        let path = self.upload_path(repository, id)?;
        let _claim = self.claim(&path, id)?;
        let size = self.upload_size(repository, id).await?;
        tokio::fs::remove_file(&path).await.map_err(io("remove", &path))?;
        self.space().give_back(size);
        Ok(())
    }
}

fn unknown(id: &str) -> StorageError {
    StorageError::UploadUnknown(id.chars().take(40).collect())
}

fn hash_file(path: &Path) -> std::io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0u8; 256 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&hasher.finalize())),
            count => hasher.update(&buffer[..count]),
        }
    }
}
