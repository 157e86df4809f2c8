//! Images as files: an OCI layout (image specification, "Image Layout Specification"), as a directory or inside a tar.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use barge_model::Digest;
use serde_json::json;

use crate::base::fetch;
use crate::image::{Blob, Image, Source, media_type};
use crate::layer;
use crate::registry::{Client, RegistryError};

/// Why an image could not be written as files.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// A file could not be written.
    #[error("write {path}")]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A layer's file could not be read.
    #[error("read {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// What should name a blob is no digest; as a path it could lead anywhere.
    #[error("{0:?} is not a SHA-256 digest")]
    Digest(String),
    /// A layer's file does not hold what it should.
    #[error("a layer should have digest {digest} and has {actual}; its file was changed or damaged")]
    Changed {
        /// The digest that it should have.
        digest: String,
        /// The digest that it has.
        actual: String,
    },
    /// A layer of the base could not be fetched.
    #[error("fetch layer {digest} of the base")]
    Fetch {
        /// Which layer.
        digest: String,
        /// Why not.
        source: RegistryError,
    },
}

/// Writes the image into `directory`, which is made where it is missing.
///
/// # Errors
/// A file cannot be written, or a layer of the base not be fetched.
pub async fn write_directory(image: &Image, directory: &Path, client: Option<&Client>) -> Result<(), LayoutError> {
    let blobs = directory.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).map_err(write_error(&blobs))?;
    let put = |path: PathBuf, bytes: &[u8]| std::fs::write(&path, bytes).map_err(write_error(&path));
    for blob in image.layers.iter().chain([&image.config]) {
        let path = blobs.join(digest(&blob.digest)?.hex());
        write_blob(blob, &path, client).await?;
    }
    put(blobs.join(digest(&image.digest)?.hex()), &image.manifest)?;
    let index = json!({
        "schemaVersion": 2,
        "mediaType": media_type::INDEX,
        "manifests": [{ "mediaType": media_type::MANIFEST, "digest": image.digest, "size": image.manifest.len() }],
    });
    put(directory.join("index.json"), index.to_string().as_bytes())?;
    put(directory.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#)
}

/// Writes the image as an uncompressed tar of its layout.
///
/// # Errors
/// As for `write_directory`.
pub async fn write_tar(image: &Image, path: &Path, client: Option<&Client>) -> Result<(), LayoutError> {
    let directory = tempfile::tempdir().map_err(write_error(path))?;
    write_directory(image, directory.path(), client).await?;
    let mut tar = tar::Builder::new(File::create(path).map_err(write_error(path))?);
    tar.mode(tar::HeaderMode::Deterministic);
    let mut names = vec!["oci-layout".to_owned(), "index.json".to_owned()];
    let mut digests: Vec<&str> = image.layers.iter().map(|layer| layer.digest.as_str()).collect();
    digests.extend([image.config.digest.as_str(), image.digest.as_str()]);
    digests.sort_unstable();
    digests.dedup();
    names.extend(digests.iter().map(|digest| format!("blobs/sha256/{}", digest.trim_start_matches("sha256:"))));
    for name in names {
        tar.append_path_with_name(directory.path().join(&name), &name).map_err(write_error(path))?;
    }
    tar.finish().map_err(write_error(path))
}

async fn write_blob(blob: &Blob, path: &Path, client: Option<&Client>) -> Result<(), LayoutError> {
    match &blob.source {
        Source::Bytes(bytes) => std::fs::write(path, bytes).map_err(write_error(path)),
        Source::Temporary(file) => copy(file.reopen().map_err(read_error(file.path()))?, &blob.digest, path),
        Source::File(from) => copy(File::open(from).map_err(read_error(from))?, &blob.digest, path),
        Source::Remote { reference, cache } => {
            let fail = |source| LayoutError::Fetch { digest: blob.digest.clone(), source };
            fetch::blob_to_file(client, reference, blob, cache.as_ref(), path).await.map_err(fail)
        }
    }
}

fn digest(text: &str) -> Result<Digest, LayoutError> {
    Digest::new(text).map_err(|_| LayoutError::Digest(text.chars().take(100).collect()))
}

/// Copies a layer; the copy gets its name only when its digest is right.
fn copy(from: impl Read, digest: &str, path: &Path) -> Result<(), LayoutError> {
    let temporary = path.with_extension("part");
    let copied = File::create(&temporary).and_then(|to| layer::copy(from, to)).map_err(write_error(path));
    let named = match copied {
        Ok((actual, _)) if actual != digest => Err(LayoutError::Changed { digest: digest.to_owned(), actual }),
        copied => copied.and_then(|_| std::fs::rename(&temporary, path).map_err(write_error(path))),
    };
    if named.is_err() {
        // It may not even have been made.
        let _ = std::fs::remove_file(&temporary);
    }
    named
}

fn read_error(path: &Path) -> impl FnOnce(io::Error) -> LayoutError {
    let path = path.to_owned();
    move |source| LayoutError::Read { path, source }
}

fn write_error(path: &Path) -> impl FnOnce(io::Error) -> LayoutError {
    let path = path.to_owned();
    move |source| LayoutError::Write { path, source }
}
