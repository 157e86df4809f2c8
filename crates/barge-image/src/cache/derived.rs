//! What was found out about a layer, such as the libraries in it: it stays true as long as the layer has its digest.

use std::path::PathBuf;

use barge_model::Digest;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Cache, sealed};

impl Cache {
    fn derived_path(&self, what: &str, digest: &Digest) -> PathBuf {
        self.0.directory.join("derived").join(what).join(digest.hex())
    }

    /// What is known of the layer with that digest. `what` names the kind of knowledge and its format, such as `libraries-1`.
    pub fn derived<T: DeserializeOwned>(&self, what: &str, digest: &Digest) -> Option<T> {
        sealed::read(&self.derived_path(what, digest))
    }

    /// Keeps it. Where that fails, it is found out again.
    pub fn keep_derived<T: Serialize>(&self, what: &str, digest: &Digest, known: &T) {
        let path = self.derived_path(what, digest);
        let kept =
            path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| sealed::write(self, &path, known));
        if let Err(error) = kept {
            tracing::debug!(%error, "what was found out about a layer is not kept in the cache");
        }
    }
}
