//! From planned layers and a base to an image.

use std::collections::BTreeSet;
use std::path::Path;

use barge_model::manifest::Platform;
use futures_util::future::try_join_all;

use crate::base::{self, BaseError, Means, Place};
use crate::cache::Cache;
use crate::entrypoint::{self, Programs};
use crate::image::{Base, Image, Runtime, assemble, here};
use crate::layer::{Layer, LayerError};
use crate::layers;
use crate::plan::{self, PlannedLayer};
use crate::product::Product;
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
    /// `scratch`, `oci:DIRECTORY`, `tar:FILE` or a registry reference.
    pub base: &'a str,
    /// What the image says of itself.
    pub runtime: Runtime,
    /// What earlier builds have made.
    pub cache: Option<&'a Cache>,
    /// The kinds of machines that it is for; with one, or none for this machine's, an image is built, with more an index.
    pub platforms: &'a [Platform],
    /// What starts the command where nobody else does.
    pub programs: Option<Programs>,
}

impl<'a> BuildRequest<'a> {
    /// A build for this machine, without a cache, that starts the command itself.
    pub fn new(layers: Vec<PlannedLayer>, base: &'a str, runtime: Runtime) -> Self {
        Self { layers, base, runtime, cache: None, platforms: &[], programs: None }
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

/// Builds the image for this machine, without an index. `client` is asked for a base that lies in a registry.
///
/// # Errors
/// What cannot be read, written or fetched.
pub async fn build(request: BuildRequest<'_>, client: Option<&Client>) -> Result<Image, BuildError> {
    let request = BuildRequest { platforms: &[], ..request };
    build_all(request, client).await?.images.pop().ok_or(BuildError::Interrupted)
}

/// Builds an image for each kind of machine that is asked for. `client` is asked for a base that lies in a registry.
///
/// # Errors
/// What cannot be read, written or fetched.
pub async fn build_all(request: BuildRequest<'_>, client: Option<&Client>) -> Result<Product, BuildError> {
    let BuildRequest { layers, base, runtime, cache, platforms, programs } = request;
    let platforms: BTreeSet<Platform> =
        if platforms.is_empty() { [here()].into() } else { platforms.iter().cloned().collect() };
    let starters: Vec<_> = platforms.iter().map(|platform| entrypoint::layer(programs?, platform)).collect();
    let planned: Vec<_> = starters.iter().flatten().cloned().chain(layers).collect();
    let means = Means { client, cache };
    let cache = cache.cloned();
    let written = tokio::task::spawn_blocking(move || layers::make(&planned, cache.as_ref()));
    let place: Place = base.parse().map_err(|source| failed(base, source))?;
    let loading = platforms.iter().map(|platform| base::load_for(&place, platform, means));
    let bases = try_join_all(loading).await.map_err(|source| failed(base, source))?;
    let mut written = written.await.map_err(|_| BuildError::Interrupted)?.map_err(BuildError::Layer)?.into_iter();
    let starters: Vec<Option<Layer>> =
        starters.iter().map(|starter| starter.as_ref().and_then(|_| written.next())).collect();
    let common: Vec<Layer> = written.collect();
    let assemble = |(base, starter): (Base, Option<Layer>)| {
        let entrypoint = if starter.is_some() { entrypoint::words() } else { runtime.entrypoint.clone() };
        let own: Vec<Layer> = starter.into_iter().chain(common.iter().cloned()).collect();
        assemble(base, &own, &Runtime { entrypoint, ..runtime.clone() })
    };
    let mut images: Vec<Image> = bases.into_iter().zip(starters).map(assemble).collect();
    match images.pop() {
        Some(image) if images.is_empty() => Ok(Product::single(image)),
        last => Ok(Product::indexed(images.into_iter().chain(last).collect())),
    }
}

fn failed(base: &str, source: BaseError) -> BuildError {
    BuildError::Base { name: base.to_owned(), source }
}
