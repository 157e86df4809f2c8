//! What is said of an image beside it in the registry: what it is made of, and from which commit. A registry that does not take that is no
//! reason for a deploy to fail.
//!
//! Libraries are looked for once in each layer: what was found is kept in the user's cache under the layer's digest.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use barge_image::plan::PlannedLayer;
use barge_image::registry::{Attachment, Subject};
use barge_image::{Cache, Client, Product, Reference, RegistryError, layer};
use barge_model::Digest;
use barge_model::manifest::{Provenance, Sbom};
use barge_sbom::{Base, Bill, Commit, Found, LibraryError, cyclonedx, git, libraries, provenance, spdx};

use super::ImagePlan;
use crate::commands::build::{Event, Sink};
use crate::failure::{Failure, Kind};
use crate::project::{Project, SCRATCH};

/// Under which the libraries of a layer are kept; changed with what is found.
const KNOWLEDGE: &str = "libraries-3";

/// Under which it is kept what the documents about libraries are called in a registry: to write and compress them only to find that they are
/// there took longer than all the rest of a build in which nothing changed. Changed with how they are written.
const BILLS: &str = "bills-1";

/// Why nothing is said of an image.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StatementError {
    /// Its libraries cannot be looked at.
    #[error("look at the libraries")]
    Libraries(#[source] LibraryError),
    /// The registry does not say what it has, or does not take it.
    #[error("attach documents to the image")]
    Registry(#[source] RegistryError),
    /// The work was given up.
    #[error("the look at the libraries was interrupted")]
    Interrupted,
}

/// What an image comes from, as far as something is said of it.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    service: String,
    directory: PathBuf,
    sbom: Sbom,
    provenance: Provenance,
    base: Option<Base>,
    /// Of its own layers, lowest first, those in which there is something to find.
    layers: Vec<Option<PlannedLayer>>,
    /// The digests of these layers.
    digests: Vec<String>,
    cache: Option<Cache>,
}

/// What is said of an image.
struct Said {
    /// Under which digests documents are in the registry, unless they were never attached there.
    known: Vec<String>,
    /// Documents to be attached unless they are there.
    written: Vec<Attachment>,
}

impl Origin {
    /// Of what is about to be built, on `base` by its digest.
    pub(crate) fn new(project: &Project, plan: &ImagePlan, base: &str) -> Self {
        let digest = base.parse::<Reference>().ok().map(|reference| reference.version);
        let digest = digest.filter(|version| version.starts_with("sha256:"));
        let base = (plan.base.name != SCRATCH).then(|| Base { name: plan.base.name.clone(), digest });
        let looked_at = |layer: &PlannedLayer| libraries::concern(layer).then(|| layer.clone());
        Self {
            service: project.manifest.name.to_string(),
            directory: project.directory.clone(),
            sbom: project.manifest.build.sbom,
            provenance: project.manifest.build.provenance,
            base,
            layers: plan.layers.iter().map(looked_at).collect(),
            digests: Vec::new(),
            cache: None,
        }
    }

    /// The same, of what was built. Its own layers are the last ones of each image.
    pub(crate) fn of(self, product: &Product, cache: Option<Cache>) -> Self {
        let all = product.images.first().map(|image| image.layers.as_slice()).unwrap_or_default();
        let own = &all[all.len().saturating_sub(self.layers.len())..];
        Self { digests: own.iter().map(|layer| layer.digest.clone()).collect(), cache, ..self }
    }

    /// Looks at the libraries.
    fn bill(&self, image: &str) -> Result<Bill, LibraryError> {
        let layers =
            self.layers.iter().zip(&self.digests).filter_map(|(layer, digest)| Some((layer.as_ref()?, digest)));
        let found = layers.map(|(layer, digest)| self.found(layer, digest)).collect::<Result<Vec<_>, _>>()?;
        Ok(Bill::new(&self.service, image, self.base.clone(), found))
    }

    fn found(&self, layer: &PlannedLayer, digest: &str) -> Result<Found, LibraryError> {
        let kept = self.cache.as_ref().zip(Digest::new(digest).ok());
        if let Some(found) = kept.as_ref().and_then(|(cache, digest)| cache.derived(KNOWLEDGE, digest)) {
            return Ok(found);
        }
        let found = libraries::of_layer(layer)?;
        if let Some((cache, digest)) = kept {
            cache.keep_derived(KNOWLEDGE, &digest, &found);
        }
        Ok(found)
    }

    /// What is said of the image, as far as it has to be written to be compared with what the registry has.
    fn said(&self, subject: &Subject) -> Result<Said, LibraryError> {
        let mut said = Said { known: self.known(subject).unwrap_or_default(), written: Vec::new() };
        if said.known.is_empty() {
            said.written = self.bills(subject)?;
        }
        if self.provenance != Provenance::None
            && let Some(commit) = git::commit(&self.directory)
        {
            said.written.push(self.provenance(&subject.digest, &commit));
        }
        Ok(said)
    }

    /// What the image is made of. Of one without libraries it is not said: its files are in its layers.
    fn bills(&self, subject: &Subject) -> Result<Vec<Attachment>, LibraryError> {
        if self.sbom != Sbom::Attached || self.layers.iter().all(Option::is_none) {
            return Ok(Vec::new());
        }
        let bill = self.bill(&subject.digest)?;
        if bill.libraries.is_empty() {
            return Ok(Vec::new());
        }
        let bills = vec![
            attachment(cyclonedx::MEDIA_TYPE, cyclonedx::write(&bill)),
            attachment(spdx::MEDIA_TYPE, spdx::write(&bill)),
        ];
        if let Some((cache, digest)) = self.cache.as_ref().zip(self.sources(subject)) {
            let names: Vec<_> = bills.iter().map(|bill| layer::digest(&bill.manifest(subject))).collect();
            cache.keep_derived(BILLS, &digest, &names);
        }
        Ok(bills)
    }

    /// Under which digests the bills are in a registry, where they were written before.
    fn known(&self, subject: &Subject) -> Option<Vec<String>> {
        if self.sbom != Sbom::Attached {
            return None;
        }
        self.cache.as_ref()?.derived(BILLS, &self.sources(subject)?)
    }

    /// Of all that the bills are written from.
    fn sources(&self, subject: &Subject) -> Option<Digest> {
        let base = self.base.as_ref().map(|base| (&base.name, &base.digest));
        let sources = (env!("CARGO_PKG_VERSION"), KNOWLEDGE, &self.service, &subject.digest, base, &self.digests);
        Digest::new(layer::digest(&serde_json::to_vec(&sources).ok()?)).ok()
    }

    fn provenance(&self, image: &str, commit: &Commit) -> Attachment {
        let bytes = provenance::write(&self.service, image, commit, self.base.as_ref());
        Attachment { annotations: provenance::labels(commit), ..attachment(provenance::MEDIA_TYPE, bytes) }
    }
}

fn attachment(kind: &str, bytes: Vec<u8>) -> Attachment {
    Attachment { kind: kind.to_owned(), bytes, annotations: BTreeMap::new() }
}

/// Labels that say the commit, where the project wants them.
pub(crate) async fn labels(project: &Project) -> BTreeMap<String, String> {
    if project.manifest.build.provenance != Provenance::Labels {
        return BTreeMap::new();
    }
    let directory = project.directory.clone();
    let commit = tokio::task::spawn_blocking(move || git::commit(&directory)).await;
    commit.ok().flatten().map(|commit| provenance::labels(&commit)).unwrap_or_default()
}

/// What is to be said of an image and the registry does not have yet.
pub(crate) async fn missing(
    origin: &Origin,
    product: &Product,
    reference: &Reference,
    client: &Client,
) -> Result<Vec<Attachment>, StatementError> {
    let subject = Subject::of(product);
    let said = {
        let subject = subject.clone();
        blocking(origin, move |origin| origin.said(&subject)).await?
    };
    let Said { known, written: mut documents } = said;
    if known.is_empty() && documents.is_empty() {
        return Ok(documents);
    }
    let there = client.referrers(&reference.with_digest(product.digest())).await.map_err(StatementError::Registry)?;
    if !known.iter().all(|name| there.contains(name)) {
        let subject = subject.clone();
        documents.extend(blocking(origin, move |origin| origin.bills(&subject)).await?);
    }
    documents.retain(|document| !there.contains(&layer::digest(&document.manifest(&subject))));
    Ok(documents)
}

async fn blocking<T: Send + 'static>(
    origin: &Origin,
    work: impl FnOnce(&Origin) -> Result<T, LibraryError> + Send + 'static,
) -> Result<T, StatementError> {
    let origin = origin.clone();
    let done = tokio::task::spawn_blocking(move || work(&origin)).await;
    done.map_err(|_| StatementError::Interrupted)?.map_err(StatementError::Libraries)
}

/// Attaches it. Where that fails, people are told why, and the image is what it is.
pub(crate) async fn attach(
    said: Result<Vec<Attachment>, StatementError>,
    product: &Product,
    reference: &Reference,
    client: &Client,
    sink: Sink<'_>,
) {
    let attached = match said {
        Ok(documents) if documents.is_empty() => Ok(()),
        Ok(documents) => {
            let done = client.attach(&Subject::of(product), &documents, &reference.with_digest(product.digest())).await;
            done.map_err(StatementError::Registry)
        }
        Err(error) => Err(error),
    };
    if let Err(error) = attached {
        sink(Event::Warning(format!(
            "the image is pushed without word of what it is made of and from which commit: {}; `build: {{sbom: none, provenance: none}}` \
             in barge.yaml leaves that away",
            barge_runtime::chain(&error)
        )));
    }
}

/// Writes what an image is made of into a file, where one is named.
pub(crate) async fn write(origin: &Origin, image: &str, path: Option<&Path>) -> Result<(), Failure> {
    let Some(path) = path.map(Path::to_owned) else { return Ok(()) };
    let (work, image, target) = (origin.clone(), image.to_owned(), path.clone());
    let written = tokio::task::spawn_blocking(move || {
        let bill = work.bill(&image).map_err(|error| Failure::from_error(Kind::General, &error))?;
        let is_spdx = target.to_string_lossy().ends_with(".spdx.json");
        let bytes = if is_spdx { spdx::write(&bill) } else { cyclonedx::write(&bill) };
        std::fs::write(&target, bytes).map_err(|error| Failure::from_error(Kind::General, &error))
    });
    let written = written.await.unwrap_or_else(|_| Err(Failure::new(Kind::General, "the work was interrupted")));
    written.map_err(|failure| failure.context(&format!("write {}", path.display())))
}
