//! From planned layers to their bytes, of which the cache has as many as possible.

use std::io;

use crate::cache::{self, Cache};
use crate::digests::Digests;
use crate::layer::{self, Layer, LayerError};
use crate::plan::PlannedLayer;

/// Makes all layers. A cache that does not work costs time and nothing else.
///
/// # Errors
/// A file cannot be read or changes meanwhile, or there is no place for a layer even outside of the cache.
pub fn make(planned: &[PlannedLayer], cache: Option<&Cache>) -> Result<Vec<Layer>, LayerError> {
    let Some(cache) = cache else {
        return planned.iter().map(|layer| layer::write(&layer.entries)).collect();
    };
    let mut making = Making {
        cache,
        digests: Digests::new(cache, planned.iter().map(|layer| &layer.entries)),
        kept: false,
        works: true,
    };
    let layers = planned.iter().map(|layer| making.layer(layer)).collect::<Result<Vec<_>, _>>()?;
    let Making { digests, kept, .. } = making;
    digests.keep();
    if kept {
        cache.prune();
    }
    Ok(layers)
}

struct Making<'a> {
    cache: &'a Cache,
    digests: Digests<'a>,
    /// Whether anything was added.
    kept: bool,
    /// Until it could not be written to.
    works: bool,
}

impl Making<'_> {
    fn layer(&mut self, planned: &PlannedLayer) -> Result<Layer, LayerError> {
        let plan = &planned.entries;
        let shape = cache::shape(plan);
        // Where nothing in the cache looks like it, its files are read once, while they are compressed.
        if self.cache.has_shape(&shape) {
            let contents = self.digests.of(plan)?;
            if let Some(layer) = self.cache.layer(&cache::key(&shape, &contents)) {
                return Ok(layer);
            }
        }
        if self.works {
            match self.write(planned, &shape) {
                Err(LayerError::Write(error)) => self.warn(&error),
                done => return done,
            }
        }
        layer::write(plan)
    }

    fn write(&mut self, planned: &PlannedLayer, shape: &str) -> Result<Layer, LayerError> {
        let mut temporary = self.cache.temporary().map_err(LayerError::Write)?;
        let written = layer::write_to(&planned.entries, temporary.file())?;
        self.digests.note(&planned.entries, &written.contents);
        let key = cache::key(shape, &written.contents);
        let layer = self.cache.keep_layer(&key, temporary, &written).map_err(LayerError::Write)?;
        self.kept = true;
        Ok(layer)
    }

    fn warn(&mut self, error: &io::Error) {
        self.works = false;
        let directory = self.cache.directory().display();
        tracing::warn!(%directory, %error, "the cache cannot be written to; the build goes on without it");
    }
}
