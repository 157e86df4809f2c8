//! Manifests that say something of another one, such as a list of what an image is made of (distribution specification 1.1, "Pushing
//! manifests with subject" and "Listing referrers").
//!
//! `repositories/NAME/referrers/SUBJECT/HEX` holds the descriptor by which manifest HEX is listed. A file of a manifest that is gone
//! is not heeded, and removed by the next collection.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::disk::{io, make_directory, remove_if_there, write_file};
use crate::error::StorageError;
use crate::name;
use crate::storage::{MAX_MANIFEST, Storage};

/// What a manifest says of another one.
#[derive(Debug, PartialEq)]
pub(crate) struct Referrer {
    /// The digest of the manifest of which it says something. That one may be missing.
    pub(crate) subject: String,
    /// How it is listed.
    descriptor: Value,
}

impl Referrer {
    /// Of a manifest with a subject.
    pub(crate) fn of(
        document: &Value,
        media_type: &str,
        digest: &str,
        size: usize,
    ) -> Result<Option<Self>, StorageError> {
        let Some(subject) = document.get("subject").filter(|subject| !subject.is_null()) else { return Ok(None) };
        let subject = subject.get("digest").and_then(Value::as_str).unwrap_or_default();
        let invalid = |_| StorageError::ManifestInvalid("its subject has no SHA-256 digest".to_owned());
        name::digest(subject).map_err(invalid)?;
        let mut descriptor = Map::new();
        descriptor.insert("mediaType".to_owned(), json!(media_type));
        descriptor.insert("digest".to_owned(), json!(digest));
        descriptor.insert("size".to_owned(), json!(size));
        let text =
            |value: Option<&Value>| value.and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
        // What has no kind of its own has that of its configuration.
        let kind = text(document.get("artifactType"))
            .or_else(|| text(document.get("config").and_then(|config| config.get("mediaType"))));
        if let Some(kind) = kind {
            descriptor.insert("artifactType".to_owned(), json!(kind));
        }
        if let Some(annotations) = document.get("annotations").filter(|annotations| annotations.is_object()) {
            descriptor.insert("annotations".to_owned(), annotations.clone());
        }
        Ok(Some(Self { subject: subject.to_owned(), descriptor: Value::Object(descriptor) }))
    }
}

/// A part of a list of referrers.
pub(crate) struct Page {
    pub(crate) descriptors: Vec<Value>,
    /// The digest after which the list goes on.
    pub(crate) next: Option<String>,
}

impl Storage {
    /// Lists a manifest among those of its subject. Before it has its own name, so that no manifest is without its place in the list.
    pub(crate) fn note_referrer(&self, repository: &Path, hex: &str, referrer: &Referrer) -> Result<(), StorageError> {
        let directory = repository.join("referrers").join(name::digest(&referrer.subject)?);
        self.space().check_files()?;
        make_directory(&directory)?;
        write_file(&directory.join(hex), referrer.descriptor.to_string().as_bytes())
    }

    /// The referrers of a manifest, which itself may be missing, sorted by digest: those after `last`, of the given kind.
    pub(crate) fn referrers(
        &self,
        repository: &str,
        subject: &str,
        kind: Option<&str>,
        last: Option<&str>,
    ) -> Result<Page, StorageError> {
        let repository = self.repository(repository)?;
        let directory = repository.join("referrers").join(name::digest(subject)?);
        let after = last.map(name::digest).transpose()?;
        let mut page = Page { descriptors: Vec::new(), next: None };
        let (mut size, mut latest) = (0, String::new());
        for hex in sorted_names(&directory)? {
            if after.is_some_and(|after| hex.as_str() <= after) || !exists(&repository.join("manifests").join(&hex))? {
                continue;
            }
            let path = directory.join(&hex);
            let bytes = match std::fs::read(&path) {
                // A collection is just taking it away.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                bytes => bytes.map_err(io("read", &path))?,
            };
            let Ok(descriptor) = serde_json::from_slice::<Value>(&bytes) else { continue };
            if kind.is_some_and(|kind| descriptor.get("artifactType").and_then(Value::as_str) != Some(kind)) {
                continue;
            }
            // No list is larger than the largest manifest that clients take.
            size += bytes.len() + 1;
            if size > MAX_MANIFEST - 1024 && !page.descriptors.is_empty() {
                page.next = Some(format!("sha256:{latest}"));
                break;
            }
            page.descriptors.push(descriptor);
            latest = hex;
        }
        Ok(page)
    }
}

/// The manifests that say something of the one with this digest, as a collection sees it.
pub(crate) fn noted(repository: &Path, subject: &str) -> Result<Vec<String>, StorageError> {
    sorted_names(&repository.join("referrers").join(subject))
}

/// Removes what is listed and gone.
pub(crate) fn tidy(repository: &Path) -> Result<(), StorageError> {
    let all = repository.join("referrers");
    for subject in sorted_names(&all)? {
        let directory = all.join(&subject);
        let mut left = BTreeSet::new();
        for hex in sorted_names(&directory)? {
            if exists(&repository.join("manifests").join(&hex))? {
                left.insert(hex);
            } else {
                remove_if_there(&directory.join(&hex))?;
            }
        }
        if left.is_empty() {
            remove_empty(&directory)?;
        }
    }
    Ok(())
}

fn remove_empty(directory: &Path) -> Result<(), StorageError> {
    match std::fs::remove_dir(directory) {
        // What a write that never ended has left is no reason to give up.
        Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty) => {
            Err(io("remove", directory)(error))
        }
        _ => Ok(()),
    }
}

fn exists(path: &Path) -> Result<bool, StorageError> {
    path.try_exists().map_err(io("read", path))
}

/// The digests that a directory holds files of; none where there is no directory.
fn sorted_names(directory: &Path) -> Result<Vec<String>, StorageError> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(io("list", directory))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(io("list", directory))?.file_name().to_string_lossy().into_owned();
        // What begins with a dot is left from a write that never ended.
        if !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}
