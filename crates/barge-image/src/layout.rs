//! Images as files: an OCI layout (image specification, "Image Layout Specification"), as a directory or inside a tar.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::json;

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
        let path = blobs.join(blob.digest.trim_start_matches("sha256:"));
        write_blob(blob, &path, client).await?;
    }
    put(blobs.join(image.digest.trim_start_matches("sha256:")), &image.manifest)?;
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
        Source::Temporary(file) => {
            let mut from = layer::reopen(file).map_err(write_error(path))?;
            let mut to = File::create(path).map_err(write_error(path))?;
            io::copy(&mut from, &mut to).map(|_| ()).map_err(write_error(path))
        }
        Source::File(from) => std::fs::copy(from, path).map(|_| ()).map_err(write_error(path)),
        Source::Remote { reference } => {
            let fail = |source| LayoutError::Fetch { digest: blob.digest.clone(), source };
            let client = client.ok_or_else(|| fail(RegistryError::NoClient))?;
            client.blob_to_file(reference, &blob.digest, path).await.map_err(fail)
        }
    }
}

fn write_error(path: &Path) -> impl FnOnce(io::Error) -> LayoutError {
    let path = path.to_owned();
    move |source| LayoutError::Write { path, source }
}
