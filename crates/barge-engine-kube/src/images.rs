//! Images in the registry of a platform, which nodes know under another name, and the secret with which they pull.

use std::collections::BTreeMap;

use barge_crds::GROUP;
use barge_model::Release;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ObjectMeta, Patch, PatchParams};
use serde_json::json;

/// What the secret is called in each namespace; pods name it whether it is there or not.
pub const SECRET: &str = "barge-pull";
/// Docker's type for it.
const TYPE: &str = "kubernetes.io/dockerconfigjson";
const KEY: &str = ".dockerconfigjson";

/// A registry that has two names.
#[derive(Clone)]
pub struct Images {
    /// As people and pipelines push to it: HOST:PORT.
    pub pushed: String,
    /// As nodes pull from it.
    pub pulled: String,
    /// The token with which they do.
    pub token: String,
}

impl Images {
    /// The same release, with the name that nodes know its image by.
    pub(crate) fn as_pulled(&self, release: Release) -> Release {
        let rest = release.image.strip_prefix(&self.pushed).filter(|rest| rest.starts_with('/'));
        match rest {
            Some(rest) => Release { image: format!("{}{rest}", self.pulled), ..release },
            None => release,
        }
    }

    /// The secret of a namespace.
    pub(crate) fn secret(&self, namespace: &str) -> Secret {
        let access = json!({ "auths": { &self.pulled: { "username": "engine", "password": self.token } } });
        Secret {
            metadata: ObjectMeta {
                name: Some(SECRET.to_owned()),
                namespace: Some(namespace.to_owned()),
                labels: Some([("app.kubernetes.io/managed-by".to_owned(), "barge".to_owned())].into()),
                ..ObjectMeta::default()
            },
            type_: Some(TYPE.to_owned()),
            data: Some(BTreeMap::from([(KEY.to_owned(), ByteString(access.to_string().into_bytes()))])),
            ..Secret::default()
        }
    }

    /// Writes it.
    ///
    /// # Errors
    /// The API server refuses, or is not there.
    pub async fn write(&self, client: &kube::Client, namespace: &str) -> kube::Result<()> {
        let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
        let parameters = PatchParams::apply(&format!("server.{GROUP}")).force();
        secrets.patch(SECRET, &parameters, &Patch::Apply(self.secret(namespace))).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn only_images_of_that_registry_have_another_name() {
        let images =
            Images { pushed: "127.0.0.1:7401".to_owned(), pulled: "10.0.0.1:7401".to_owned(), token: "t".to_owned() };
        for (pushed, pulled) in [
            ("127.0.0.1:7401/greeter", "10.0.0.1:7401/greeter"),
            ("127.0.0.1:74011/greeter", "127.0.0.1:74011/greeter"),
            ("registry.example.com/127.0.0.1:7401/greeter", "registry.example.com/127.0.0.1:7401/greeter"),
        ] {
            let release = Release { image: pushed.to_owned(), ..barge_world::release(1) };
            assert_eq!(images.as_pulled(release).image, pulled);
        }
        let secret = images.secret("shop").data.unwrap().remove(KEY).unwrap();
        let secret: serde_json::Value = serde_json::from_slice(&secret.0).unwrap();
        assert_eq!(secret["auths"]["10.0.0.1:7401"]["password"], "t");
    }
}
