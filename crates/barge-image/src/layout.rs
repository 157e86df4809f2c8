//! Images as files: an OCI layout (image specification, "Image Layout Specification"), as a directory or inside a tar.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Cursor, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use barge_model::Digest;
use serde_json::json;

use crate::base::fetch;
use crate::hash::{self, Hashing};
use crate::image::{Blob, Image, Source, media_type};
use crate::product::Product;
use crate::registry::{Client, RegistryError};
use crate::temporary::Temporary;

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

/// What a layout holds.
struct Layout<'a> {
    /// Each once, by digest.
    blobs: BTreeMap<Digest, Blob>,
    /// What index.json names: media type, digest and bytes.
    top: (&'static str, &'a str, &'a [u8]),
}

impl<'a> Layout<'a> {
    fn new(images: &'a [Image], top: (&'static str, &'a str, &'a [u8])) -> Result<Self, LayoutError> {
        let mut blobs = BTreeMap::new();
        let document = |media_type: &str, digest: &str, bytes: &[u8]| Blob {
            digest: digest.to_owned(),
            size: bytes.len() as u64,
            media_type: media_type.to_owned(),
            source: Source::Bytes(Arc::from(bytes)),
        };
        let manifests = images.iter().map(|image| document(media_type::MANIFEST, &image.digest, &image.manifest));
        let parts = images.iter().flat_map(|image| image.layers.iter().chain([&image.config])).cloned();
        for blob in parts.chain(manifests).chain([document(top.0, top.1, top.2)]) {
            blobs.insert(digest(&blob.digest)?, blob);
        }
        Ok(Self { blobs, top })
    }

    fn of(product: &'a Product) -> Result<Self, LayoutError> {
        match (&product.index, product.images.first()) {
            (Some(index), _) => Self::new(&product.images, (media_type::INDEX, &index.digest, &index.manifest)),
            (None, Some(image)) => Self::of_image(image),
            (None, None) => Err(LayoutError::Digest(String::new())),
        }
    }

    fn of_image(image: &'a Image) -> Result<Self, LayoutError> {
        Self::new(std::slice::from_ref(image), (media_type::MANIFEST, &image.digest, &image.manifest))
    }

    /// The files that are no blobs.
    fn documents(&self) -> [(&'static str, Vec<u8>); 2] {
        let (media_type, digest, bytes) = self.top;
        let index = json!({
            "schemaVersion": 2,
            "mediaType": media_type::INDEX,
            "manifests": [{
                "mediaType": media_type,
                "digest": digest,
                "size": bytes.len(),
                // Some tools find an image by a name alone.
                "annotations": { "org.opencontainers.image.ref.name": "latest" },
            }],
        });
        [("index.json", index.to_string().into_bytes()), ("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec())]
    }

    async fn write_directory(&self, directory: &Path, client: Option<&Client>) -> Result<(), LayoutError> {
        let blobs = directory.join("blobs/sha256");
        std::fs::create_dir_all(&blobs).map_err(write_error(&blobs))?;
        for (digest, blob) in &self.blobs {
            copy(blob, &blobs.join(digest.hex()), client).await?;
        }
        // The index comes last: what it names is there.
        for (name, bytes) in self.documents().into_iter().rev() {
            let path = directory.join(name);
            let mut temporary = Temporary::beside(&path).map_err(write_error(&path))?;
            let written = temporary.file().write_all(&bytes).and_then(|()| temporary.persist(&path));
            written.map_err(write_error(&path))?;
        }
        Ok(())
    }

    async fn write_tar(&self, file: &File, path: &Path, client: Option<&Client>) -> Result<(), LayoutError> {
        let mut tar = tar::Builder::new(io::BufWriter::with_capacity(256 * 1024, file));
        for (name, bytes) in self.documents().into_iter().rev() {
            let mut header = header(bytes.len() as u64);
            tar.append_data(&mut header, name, bytes.as_slice()).map_err(write_error(path))?;
        }
        for (digest, blob) in &self.blobs {
            let mut bytes = Hashing::new(open(blob, client).await?.take(blob.size));
            let name = format!("blobs/sha256/{}", digest.hex());
            tar.append_data(&mut header(blob.size), name, &mut bytes).map_err(write_error(path))?;
            let (_, sum, _) = bytes.finish();
            check(blob, &sum)?;
        }
        tar.into_inner().and_then(|mut out| out.flush()).map_err(write_error(path))
    }
}

/// Writes an image into `directory`, which is made where it is missing.
///
/// # Errors
/// A file cannot be written, or a layer of the base not be fetched.
pub async fn write_directory(image: &Image, directory: &Path, client: Option<&Client>) -> Result<(), LayoutError> {
    Layout::of_image(image)?.write_directory(directory, client).await
}

/// Writes all that a build has made into `directory`, which is made where it is missing.
///
/// # Errors
/// As for `write_directory`.
pub async fn write_all(product: &Product, directory: &Path, client: Option<&Client>) -> Result<(), LayoutError> {
    Layout::of(product)?.write_directory(directory, client).await
}

/// Writes all that a build has made as an uncompressed tar of its layout. The file gets its name when it is whole.
///
/// # Errors
/// As for `write_directory`.
pub async fn write_tar(product: &Product, path: &Path, client: Option<&Client>) -> Result<(), LayoutError> {
    let layout = Layout::of(product)?;
    let mut temporary = Temporary::beside(path).map_err(write_error(path))?;
    layout.write_tar(temporary.file(), path, client).await?;
    temporary.persist(path).map(drop).map_err(write_error(path))
}

fn header(size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1);
    header.set_size(size);
    header
}

/// Opens a blob, which is fetched where it lies in a registry.
async fn open(blob: &Blob, client: Option<&Client>) -> Result<Box<dyn Read + Send>, LayoutError> {
    let opened: (io::Result<File>, &Path) = match &blob.source {
        Source::Bytes(bytes) => return Ok(Box::new(Cursor::new(Arc::clone(bytes)))),
        Source::Temporary(held) => (held.reopen(), held.path()),
        Source::File(path) => (File::open(path), path),
        Source::Remote { reference, cache } => {
            let fail = |source| LayoutError::Fetch { digest: blob.digest.clone(), source };
            let held = fetch::blob(client, reference, blob, cache.as_ref()).await.map_err(fail)?;
            return held.reopen().map(|file| Box::new(file) as _).map_err(read_error(held.path()));
        }
    };
    opened.0.map(|file| Box::new(file) as _).map_err(read_error(opened.1))
}

fn digest(text: &str) -> Result<Digest, LayoutError> {
    Digest::new(text).map_err(|_| LayoutError::Digest(text.chars().take(100).collect()))
}

/// Copies a blob; the copy gets its name only when its digest is right.
async fn copy(blob: &Blob, path: &Path, client: Option<&Client>) -> Result<(), LayoutError> {
    let bytes = open(blob, client).await?;
    let mut temporary = Temporary::beside(path).map_err(write_error(path))?;
    let (sum, _) = hash::copy(bytes, temporary.file()).map_err(write_error(path))?;
    check(blob, &sum)?;
    temporary.persist(path).map(drop).map_err(write_error(path))
}

fn check(blob: &Blob, sum: &hash::Sum) -> Result<(), LayoutError> {
    let actual = sum.digest();
    if actual == blob.digest {
        return Ok(());
    }
    if let Source::Temporary(held) = &blob.source {
        // The next build makes it again.
        held.discard();
    }
    Err(LayoutError::Changed { digest: blob.digest.clone(), actual })
}

fn read_error(path: &Path) -> impl FnOnce(io::Error) -> LayoutError {
    let path = path.to_owned();
    move |source| LayoutError::Read { path, source }
}

fn write_error(path: &Path) -> impl FnOnce(io::Error) -> LayoutError {
    let path = path.to_owned();
    move |source| LayoutError::Write { path, source }
}
