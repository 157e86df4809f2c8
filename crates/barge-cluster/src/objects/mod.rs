//! The objects of an installation, purely from its settings. The gateway's token is none of them: it is made once (`token`), and never shown.

mod parts;
mod roles;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::object::{Object, WriteError};
use crate::settings::{Component, Settings};
use crate::{NAMESPACE, VERSION};

/// What everything that is ours carries; by it that is found which is not needed any more.
pub const SELECTOR: &str = "app.kubernetes.io/managed-by=barge,app.kubernetes.io/part-of=barge";
/// Says which version an object is of.
pub const VERSION_LABEL: &str = "app.kubernetes.io/version";
const NAME_LABEL: &str = "app.kubernetes.io/name";

/// Everything, in the order in which it is applied.
///
/// # Errors
/// An object cannot be written as JSON.
pub fn render(settings: &Settings) -> Result<Vec<Object>, WriteError> {
    let mut objects = vec![Object::new(&namespace())?];
    for mut definition in barge_crds::definitions() {
        definition.metadata.labels = Some(labels(&[]));
        objects.push(Object::new(&definition)?);
    }
    for component in Component::ALL {
        objects.extend(render_part(component, settings)?);
    }
    Ok(objects)
}

/// The objects of one part.
pub(crate) fn render_part(component: Component, settings: &Settings) -> Result<Vec<Object>, WriteError> {
    let mut objects = roles::of(component, settings)?;
    objects.extend(parts::of(component, settings)?);
    Ok(objects)
}

fn namespace() -> Namespace {
    // The cluster itself refuses pods there that could do more than ours.
    let strict = ("pod-security.kubernetes.io/enforce", "restricted");
    let metadata =
        ObjectMeta { name: Some(NAMESPACE.to_owned()), labels: Some(labels(&[strict])), ..ObjectMeta::default() };
    Namespace { metadata, ..Namespace::default() }
}

/// The labels of all objects, and more.
pub(crate) fn labels(more: &[(&str, &str)]) -> BTreeMap<String, String> {
    let all =
        [("app.kubernetes.io/managed-by", "barge"), ("app.kubernetes.io/part-of", "barge"), (VERSION_LABEL, VERSION)];
    all.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// What an object of a part is called, in the namespace of the parts.
pub(crate) fn metadata(component: Component) -> ObjectMeta {
    ObjectMeta {
        name: Some(component.name().to_owned()),
        namespace: Some(NAMESPACE.to_owned()),
        labels: Some(labels(&[(NAME_LABEL, component.name())])),
        ..ObjectMeta::default()
    }
}

/// Finds the pods of a part. It can never be changed.
pub(crate) fn selector(component: Component) -> BTreeMap<String, String> {
    BTreeMap::from([(NAME_LABEL.to_owned(), component.name().to_owned())])
}
