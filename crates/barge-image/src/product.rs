//! What a build makes: an image, or one for each kind of machine and an index over them.

use serde_json::json;

use crate::image::{Image, canonical, media_type, platform};
use crate::layer;

/// The images of one build.
#[derive(Debug, Clone)]
pub struct Product {
    /// One for each kind of machine, at least one.
    pub images: Vec<Image>,
    /// What names all of them, where kinds of machines were asked for.
    pub index: Option<Index>,
}

/// An index of images (OCI image specification, "Image Index").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// Its bytes.
    pub manifest: Vec<u8>,
    /// Its digest, by which the right image for each machine is found.
    pub digest: String,
}

impl Product {
    /// An image alone.
    pub fn single(image: Image) -> Self {
        Self { images: vec![image], index: None }
    }

    /// Images with an index, in the order of their platforms.
    pub fn indexed(mut images: Vec<Image>) -> Self {
        images.sort_by(|one, other| one.platform.cmp(&other.platform));
        let entry = |image: &Image| {
            json!({
                "mediaType": media_type::MANIFEST,
                "digest": image.digest,
                "size": image.manifest.len(),
                "platform": platform(&image.platform),
            })
        };
        let index = json!({
            "schemaVersion": 2,
            "mediaType": media_type::INDEX,
            "manifests": images.iter().map(entry).collect::<Vec<_>>(),
        });
        let manifest = canonical(index);
        Self { images, index: Some(Index { digest: layer::digest(&manifest), manifest }) }
    }

    /// The digest that names the whole.
    pub fn digest(&self) -> &str {
        match (&self.index, self.images.first()) {
            (Some(index), _) => &index.digest,
            (None, Some(image)) => &image.digest,
            (None, None) => "",
        }
    }

    /// The size of all layers in bytes; those that images share count once.
    pub fn size(&self) -> u64 {
        let mut layers: Vec<_> = self.images.iter().flat_map(|image| &image.layers).collect();
        layers.sort_by(|one, other| one.digest.cmp(&other.digest));
        layers.dedup_by(|one, other| one.digest == other.digest);
        layers.iter().map(|layer| layer.size).sum()
    }
}
