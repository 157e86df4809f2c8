//! The build type `files`: a directory or a file, below /app, on a base.

use std::path::Path;

use crate::base::{self, BaseError};
use crate::image::{Image, Runtime, assemble};
use crate::layer::{self, LayerError};
use crate::registry::Client;
use crate::scan::{ScanError, scan};
use crate::{image, plan};

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
    /// The built files.
    pub path: &'a Path,
    /// What of them does not belong into the image.
    pub leave_out: &'a [&'a str],
    /// `scratch`, `oci:DIRECTORY` or a registry reference.
    pub base: &'a str,
    /// What the image says of itself.
    pub runtime: Runtime,
}

/// Builds an image. `client` is asked for a base that lies in a registry.
///
/// # Errors
/// What cannot be read, written or fetched.
pub async fn build(request: BuildRequest<'_>, client: Option<&Client>) -> Result<Image, BuildError> {
    let found = scan(request.path, request.leave_out).map_err(BuildError::Scan)?;
    let layer_plan = plan::files(&found);
    let written = tokio::task::spawn_blocking(move || layer::write(&layer_plan));
    let base: image::Base = base::load(request.base, client)
        .await
        .map_err(|source| BuildError::Base { name: request.base.to_owned(), source })?;
    let own = written.await.map_err(|_| BuildError::Interrupted)?.map_err(BuildError::Layer)?;
    Ok(assemble(base, &[own], &request.runtime))
}
