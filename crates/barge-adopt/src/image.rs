//! Which image a Deployment runs: by the digest that its nodes have, since what a tag means may have changed.

use std::collections::BTreeSet;

use barge_image::base::{BaseError, load};
use barge_image::{Client, Reference};
use barge_model::Digest;
use barge_model::release::check_image;
use k8s_openapi::api::core::v1::{Container, Pod};
use kube::ResourceExt;
use serde_json::Value;

use crate::{Refusal, Source};

/// What runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// The image's repository.
    pub image: String,
    /// The digest of what runs.
    pub digest: Digest,
    /// Whether the image has to be asked what it starts: the Deployment does not say it.
    pub starts_by_itself: bool,
}

/// What an image says of how it is run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Runtime {
    /// What is started whatever else is said.
    pub entrypoint: Vec<String>,
    /// Its arguments, where nobody says others.
    pub command: Vec<String>,
}

impl Runtime {
    /// Asks the registry.
    ///
    /// # Errors
    /// The image is not there, or is none.
    pub async fn fetch(reference: &Reference, client: &Client) -> Result<Self, BaseError> {
        let base = load(&reference.to_string(), Some(client)).await?;
        Ok(base.config.as_ref().map(Self::of).unwrap_or_default())
    }

    /// What the document says that images have (OCI image specification, "Image configuration").
    pub fn of(document: &Value) -> Self {
        let words = |name: &str| {
            let list = document["config"][name].as_array().map(Vec::as_slice).unwrap_or_default();
            list.iter().filter_map(|word| word.as_str().map(str::to_owned)).collect()
        };
        Self { entrypoint: words("Entrypoint"), command: words("Cmd") }
    }
}

/// The one image that all pods of a Deployment run.
///
/// # Errors
/// There is not exactly one.
pub fn running(source: &Source, container: Option<&str>) -> Result<Running, Refusal> {
    refuse_unsettled(source)?;
    let container = source.container(container)?;
    let mut digests = BTreeSet::new();
    for pod in &source.pods {
        digests.insert(digest(pod, &container.name)?);
    }
    let mut all = digests.iter();
    let (Some(digest), None) = (all.next(), all.next()) else {
        return Err(match digests.len() {
            0 => Refusal::NothingRuns,
            _ => Refusal::Images(digests.iter().map(|digest| digest.short().to_string()).collect()),
        });
    };
    let image = repository(&container).filter(|image| check_image(image).is_ok());
    let image = image.ok_or_else(|| Refusal::ImageName(container.image.clone().unwrap_or_default()))?;
    let starts_by_itself = container.command.as_ref().is_none_or(Vec::is_empty);
    Ok(Running { image, digest: digest.clone(), starts_by_itself })
}

fn refuse_unsettled(source: &Source) -> Result<(), Refusal> {
    let (spec, status) = (source.deployment.spec.clone().unwrap_or_default(), source.deployment.status.clone());
    let status = status.unwrap_or_default();
    let wanted = spec.replicas.unwrap_or(1);
    let (updated, available) = (status.updated_replicas.unwrap_or(0), status.available_replicas.unwrap_or(0));
    let under_way = |why: String| Err(Refusal::UnderWay(why));
    match () {
        () if wanted == 0 => Err(Refusal::NothingRuns),
        () if spec.paused == Some(true) => under_way("it is paused".to_owned()),
        () if status.observed_generation < source.deployment.metadata.generation => {
            under_way("Kubernetes has not begun yet with its last change".to_owned())
        }
        () if updated < wanted || status.replicas.unwrap_or(0) != updated => {
            under_way(format!("{updated} of {wanted} instances are of the last change"))
        }
        () if available < wanted => under_way(format!("{available} of {wanted} instances are available")),
        () => Ok(()),
    }
}

/// `REPOSITORY@DIGEST`, as containerd and CRI-O say it; the Docker of earlier days put a scheme before.
fn digest(pod: &Pod, container: &str) -> Result<Digest, Refusal> {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_deref()).unwrap_or_default();
    let found = statuses.iter().find(|status| status.name == container);
    let image = found.map(|status| status.image_id.clone()).unwrap_or_default();
    let digest = image.split_once('@').and_then(|(_, digest)| digest.parse().ok());
    digest.ok_or_else(|| Refusal::NoDigest { pod: pod.name_any(), image })
}

/// The repository of the image that the Deployment names, written out: without a registry Docker's own is meant.
fn repository(container: &Container) -> Option<String> {
    let name = container.image.as_deref()?;
    let name = name.split_once('@').map_or(name, |(name, _)| name);
    let name = match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => name,
    };
    let is_host = |host: &str| host.contains(['.', ':']) || host == "localhost";
    Some(match name.split_once('/') {
        Some((host, _)) if is_host(host) => name.to_owned(),
        Some(_) => format!("docker.io/{name}"),
        None => format!("docker.io/library/{name}"),
    })
}
