//! From planned layers and a base to an image.

use std::path::Path;

use crate::base::{self, BaseError};
use crate::cache::Cache;
use crate::image::{Image, Runtime, assemble};
use crate::layer::LayerError;
use crate::layers;
use crate::plan::{self, PlannedLayer};
use crate::registry::Client;
use crate::scan::{ScanError, scan};

/// Why an image could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The files cannot become an image.
    #[error("look at the built files")]
    Scan(#[source] ScanError),
    /// The layer could not be written.
    #[error("write the image's layer")]
    Layer(#[source] LayerError),
    /// The base cannot be used.
    #[error("prepare the base image {name:?}")]
    Base {
        /// The base as named.
        name: String,
        /// Why not.
        source: BaseError,
    },
    /// The work was given up.
    #[error("the build was interrupted")]
    Interrupted,
}

/// What to build.
#[derive(Debug, Clone)]
pub struct BuildRequest<'a> {
    /// The application's own layers, lowest first.
    pub layers: Vec<PlannedLayer>,
    /// `scratch`, `oci:DIRECTORY` or a registry reference.
    pub base: &'a str,
    /// What the image says of itself.
    pub runtime: Runtime,
    /// What earlier builds have made.
    pub cache: Option<&'a Cache>,
}

impl<'a> BuildRequest<'a> {
    /// A build without a cache.
    pub fn new(layers: Vec<PlannedLayer>, base: &'a str, runtime: Runtime) -> Self {
        Self { layers, base, runtime, cache: None }
    }
}

/// The one layer of the build type `files`: a directory or a file, below /app, without what is left out.
///
/// # Errors
/// The files cannot become an image.
pub fn files(path: &Path, leave_out: &[&str]) -> Result<PlannedLayer, BuildError> {
    let found = scan(path, leave_out).map_err(BuildError::Scan)?;
    Ok(PlannedLayer { name: "files".into(), why: "everything that was built".into(), entries: plan::files(&found) })
}

/// Builds an image. `client` is asked for a base that lies in a registry.
///
/// # Errors
/// What cannot be read, written or fetched.
pub async fn build(request: BuildRequest<'_>, client: Option<&Client>) -> Result<Image, BuildError> {
    let BuildRequest { layers, base, runtime, cache } = request;
    let cache = cache.cloned();
    let written = tokio::task::spawn_blocking(move || layers::make(&layers, cache.as_ref()));
    let base = base::load(base, client).await.map_err(|source| BuildError::Base { name: base.to_owned(), source })?;
    let own = written.await.map_err(|_| BuildError::Interrupted)?.map_err(BuildError::Layer)?;
    Ok(assemble(base, &own, &runtime))
}
