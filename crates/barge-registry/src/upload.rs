//! Uploads: pieces appended to a file, hashed when they are complete, renamed to their digest.

use std::collections::HashSet;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use futures_util::StreamExt;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt;

use crate::error::StorageError;
use crate::name;
use crate::storage::{Storage, hex, io};

/// The uploads that a request is working on. A second request for one of them is refused: their pieces would mix.
#[derive(Debug, Clone, Default)]
pub(crate) struct Busy(Arc<Mutex<HashSet<String>>>);

/// Holds an upload for one request.
struct Claim {
    busy: Busy,
    id: String,
}

impl Busy {
    fn claim(&self, id: &str) -> Result<Claim, StorageError> {
        let mut ids = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !ids.insert(id.to_owned()) {
            return Err(StorageError::UploadBusy(id.to_owned()));
        }
        Ok(Claim { busy: self.clone(), id: id.to_owned() })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.busy.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

impl Storage {
    /// Begins an upload; the result is its id.
    pub(crate) async fn begin_upload(&self) -> Result<String, StorageError> {
        let id = ulid::Ulid::new().to_string();
        let path = self.upload_path(&id);
        tokio::fs::File::create(&path).await.map_err(io("write", &path))?;
        Ok(id)
    }

    /// How many bytes of an upload are here.
    pub(crate) async fn upload_size(&self, id: &str) -> Result<u64, StorageError> {
        let unknown = || StorageError::UploadUnknown(id.chars().take(40).collect());
        ulid::Ulid::from_string(id).map_err(|_| unknown())?;
        tokio::fs::metadata(self.upload_path(id)).await.map(|meta| meta.len()).map_err(|_| unknown())
    }

    /// Appends a piece; the result is the upload's new size. A piece that breaks off leaves the upload as long as it was.
    pub(crate) async fn append(&self, id: &str, start: Option<u64>, body: Body) -> Result<u64, StorageError> {
        let (storage, id) = (self.clone(), id.to_owned());
        // In a task of its own: a request whose client goes away is dropped where it stands, and half a piece would stay. The task
        // sees the body's end instead, so it ends with the connection.
        let piece = tokio::spawn(async move { storage.take_piece(&id, start, body).await });
        piece.await.map_err(|error| StorageError::Broken(error.to_string()))?
    }

    async fn take_piece(&self, id: &str, start: Option<u64>, body: Body) -> Result<u64, StorageError> {
        let _claim = self.busy().claim(id)?;
        let have = self.upload_size(id).await?;
        if let Some(start) = start.filter(|start| *start != have) {
            return Err(StorageError::Range { have, start });
        }
        let path = self.upload_path(id);
        let mut file = tokio::fs::OpenOptions::new().append(true).open(&path).await.map_err(io("write", &path))?;
        let mut stream = body.into_data_stream();
        let mut size = have;
        while let Some(piece) = stream.next().await {
            let result = match piece {
                Ok(bytes) => match self.space().take(bytes.len() as u64) {
                    Ok(()) => {
                        size += bytes.len() as u64;
                        file.write_all(&bytes).await.map_err(io("write", &path))
                    }
                    Err(full) => Err(full),
                },
                Err(error) => Err(StorageError::Broken(error.to_string())),
            };
            if let Err(error) = result {
                file.set_len(have).await.map_err(io("shorten", &path))?;
                self.space().give_back(size - have);
                return Err(error);
            }
        }
        file.flush().await.map_err(io("write", &path))?;
        Ok(size)
    }

    /// Checks a complete upload against its digest and gives it to `repository`.
    pub(crate) async fn finish_upload(&self, repository: &str, id: &str, digest: &str) -> Result<(), StorageError> {
        let wanted = name::digest(digest)?.to_owned();
        name::repository(repository)?;
        let _claim = self.busy().claim(id)?;
        let size = self.upload_size(id).await?;
        let path = self.upload_path(id);
        let hashed = {
            let path = path.clone();
            tokio::task::spawn_blocking(move || hash_file(&path)).await
        };
        let actual = hashed.map_err(|error| StorageError::Broken(error.to_string()))?.map_err(io("read", &path))?;
        if actual != wanted {
            tokio::fs::remove_file(&path).await.map_err(io("remove", &path))?;
            self.space().give_back(size);
            return Err(StorageError::DigestMismatch { named: digest.to_owned(), actual: format!("sha256:{actual}") });
        }
        self.take_in(repository, &path, &wanted)
    }

    /// Gives an upload up.
    pub(crate) async fn cancel_upload(&self, id: &str) -> Result<(), StorageError> {
        let _claim = self.busy().claim(id)?;
        let size = self.upload_size(id).await?;
        let path = self.upload_path(id);
        tokio::fs::remove_file(&path).await.map_err(io("remove", &path))?;
        self.space().give_back(size);
        Ok(())
    }
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
