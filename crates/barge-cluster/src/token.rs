//! The gateway's token: made once, kept for ever, and shown to nobody.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::NAMESPACE;
use crate::objects::labels;
use crate::settings::Component;

/// What its Secret is called.
pub const SECRET: &str = Component::Gateway.name();
/// Under which name the token is in it.
pub const KEY: &str = "token";

/// The Secret for a cluster that has none yet.
pub fn secret(token: String) -> Secret {
    Secret {
        metadata: ObjectMeta {
            name: Some(SECRET.to_owned()),
            namespace: Some(NAMESPACE.to_owned()),
            labels: Some(labels(&[])),
            ..ObjectMeta::default()
        },
        string_data: Some(BTreeMap::from([(KEY.to_owned(), token)])),
        ..Secret::default()
    }
}
