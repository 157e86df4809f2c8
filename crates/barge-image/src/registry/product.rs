//! Pushes what a build has made: its images one after the other, and then the index that names them.

use reqwest::{Method, header};

use super::client::{Client, checked};
use super::push::{Progress, Pushed};
use super::{Reference, RegistryError};
use crate::image::media_type;
use crate::product::{Index, Product};

impl Client {
    /// Pushes all images of a build, and the index once all of them are there: nobody finds an index that names what is missing.
    ///
    /// # Errors
    /// As for [`Client::push`].
    pub async fn push_all(
        &self,
        product: &Product,
        target: &Reference,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Pushed, RegistryError> {
        let mut pushed = Pushed::default();
        for image in &product.images {
            // An image of several has no tag of its own.
            let own = target.with_digest(&image.digest);
            let done = self.push(image, if product.index.is_some() { &own } else { target }, progress).await?;
            pushed.sent += done.sent;
            pushed.present += done.present;
        }
        if let Some(index) = &product.index {
            self.put_index(index, &target.with_digest(&index.digest)).await?;
            if !target.version.starts_with("sha256:") {
                self.tag_index(index, target).await?;
            }
        }
        Ok(pushed)
    }

    /// Tags an index. A registry whose tags are immutable refuses even what changes nothing; that is as good as done.
    async fn tag_index(&self, index: &Index, target: &Reference) -> Result<(), RegistryError> {
        match self.put_index(index, target).await {
            Err(error @ RegistryError::Status { status: 400..=499, .. }) => match self.manifest(target).await {
                Ok((bytes, _)) if bytes == index.manifest => Ok(()),
                _ => Err(error),
            },
            other => other,
        }
    }

    async fn put_index(&self, index: &Index, reference: &Reference) -> Result<(), RegistryError> {
        let url = self.url(reference, &format!("manifests/{}", reference.version));
        let put = |request: reqwest::RequestBuilder| {
            request.header(header::CONTENT_TYPE, media_type::INDEX).body(index.manifest.clone())
        };
        let response = self.send(reference, Method::PUT, &url, put).await?;
        checked(reference, &format!("index {reference}"), response).await.map(|_| ())
    }
}
