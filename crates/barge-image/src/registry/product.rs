//! Pushes what a build has made: its images one after the other, and then the index that names them.

use super::client::Client;
use super::push::{Progress, Pushed};
use super::{Reference, RegistryError};
use crate::product::Product;

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
            self.put_named(index.into(), target).await?;
        }
        Ok(pushed)
    }
}
