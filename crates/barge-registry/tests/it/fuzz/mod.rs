//! Uploads and manifests in any order, with wrong ranges, wrong digests, bodies that break off and bodies that are too large.
//!
//! Judged by the files and not by the registry's word: what has a digest's name has that digest, the limit holds, what is refused leaves
//! nothing, and what is given up makes room for exactly as much.

mod steps;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use barge_registry::{Storage, Verdict, router};
use barge_testkit::fuzz::{Damage, after, fuzz};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::Value;
use steps::{Named, Sent, Start, Step, step};

use crate::support::{Answer, MANIFEST, Registry, digest, manifest};

/// So many sequences are looked at in every run.
const CASES: u32 = 64;
/// The registry's room in bytes: little, so that it is full now and then.
const LIMIT: u64 = 3000;
/// An upload that nobody has begun.
const NOWHERE: &str = "/v2/a/blobs/uploads/01ARZ3NDEKTSV4RRFFQ69G5FAV";

/// An upload, and what of it is known to have arrived.
struct Upload {
    location: String,
    bytes: Vec<u8>,
    open: bool,
}

struct World {
    registry: Registry,
    uploads: Vec<Upload>,
    /// Digests that were stored once, somewhere.
    blobs: Vec<String>,
    /// Repositories and digests of manifests that were stored once.
    manifests: Vec<(&'static str, String)>,
}

type Checked = Result<(), TestCaseError>;

/// No answer is a failure of the registry's own; a full one says so.
fn in_order(answer: &Answer) -> Checked {
    let fails = answer.status.is_server_error() && answer.status != StatusCode::INSUFFICIENT_STORAGE;
    prop_assert!(!fails, "{answer:?}");
    let silent = matches!(answer.status, StatusCode::METHOD_NOT_ALLOWED) || answer.status.is_success();
    prop_assert!(silent || !answer.code().is_empty(), "{answer:?}");
    Ok(())
}

impl World {
    fn new() -> Self {
        let registry = Registry::with_limit(LIMIT);
        Self { registry, uploads: Vec::new(), blobs: Vec::new(), manifests: Vec::new() }
    }

    async fn play(&mut self, step: Step) -> Checked {
        match step {
            Step::Begin(repository) => self.begin(repository, "").await,
            Step::Append(upload, start, sent) => self.append(&upload, &start, &sent).await,
            Step::Finish(upload, start, named, sent) => self.finish(&upload, &start, &named, &sent).await,
            Step::Cancel(upload) => self.cancel(&upload).await,
            Step::Whole(repository, named, sent) => self.whole(repository, &named, &sent).await,
            Step::Mount(repository, blob) => {
                let blob = if self.blobs.is_empty() { "none" } else { blob.get(&self.blobs).as_str() };
                let query = format!("?mount={blob}&from=a");
                self.begin(repository, &query).await
            }
            Step::Manifest(repository, parts, by, damages) => self.manifest(repository, &parts, by, &damages).await,
            Step::Delete(manifest) => {
                if self.manifests.is_empty() {
                    return Ok(());
                }
                let (repository, name) = manifest.get(&self.manifests);
                let path = format!("/v2/{repository}/manifests/{name}");
                in_order(&self.registry.call("DELETE", &path, &[], Body::empty()).await)
            }
            Step::Collect => {
                self.registry.storage.collect(&BTreeSet::new(), Duration::ZERO).unwrap();
                self.uploads.iter_mut().for_each(|upload| upload.open = false);
                Ok(())
            }
            Step::Reopen => {
                let storage = Storage::open(self.registry.directory.path().join("registry"), LIMIT).unwrap();
                self.registry.router = router(storage.clone(), Arc::new(|_, _| Verdict::Granted));
                self.registry.storage = storage;
                Ok(())
            }
        }
    }

    /// Begins an upload; with a query that asks for a mount there may be nothing to upload.
    async fn begin(&mut self, repository: &str, query: &str) -> Checked {
        let path = format!("/v2/{repository}/blobs/uploads/{query}");
        let answer = self.registry.call("POST", &path, &[], Body::empty()).await;
        in_order(&answer)?;
        if answer.status == StatusCode::ACCEPTED {
            let location = answer.header("location").to_owned();
            self.uploads.push(Upload { location, bytes: Vec::new(), open: true });
        }
        Ok(())
    }

    /// One of the uploads that there are or were, or one that never was.
    fn pick(&self, upload: &Index) -> (Option<usize>, String, Vec<u8>) {
        if self.uploads.is_empty() {
            return (None, NOWHERE.to_owned(), Vec::new());
        }
        let at = upload.index(self.uploads.len());
        let Upload { location, bytes, open } = &self.uploads[at];
        (open.then_some(at), location.clone(), bytes.clone())
    }

    async fn append(&mut self, upload: &Index, start: &Start, sent: &Sent) -> Checked {
        let (open, location, have) = self.pick(upload);
        let fits = open.is_some() && start.fits(have.len()) && !sent.breaks;
        let room = self.room_for(sent);
        let header = start.header(have.len());
        let headers: Vec<(&str, &str)> = header.iter().map(|text| ("content-range", text.as_str())).collect();
        let answer = self.registry.call("PATCH", &location, &headers, sent.body()).await;
        in_order(&answer)?;
        prop_assert_eq!(answer.status == StatusCode::ACCEPTED, fits && room, "{:?}", answer);
        if let Some(at) = open.filter(|_| fits && room) {
            self.uploads[at].bytes.extend(sent.content());
            let last = self.uploads[at].bytes.len().saturating_sub(1);
            prop_assert_eq!(answer.header("range"), format!("0-{last}"));
        }
        Ok(())
    }

    async fn finish(&mut self, upload: &Index, start: &Start, named: &Named, sent: &Sent) -> Checked {
        let (open, location, mut content) = self.pick(upload);
        let is_digest = !matches!(named, Named::Odd(_));
        let fits = open.is_some() && start.fits(content.len()) && !sent.breaks && is_digest && self.room_for(sent);
        let header = start.header(content.len());
        let headers: Vec<(&str, &str)> = header.iter().map(|text| ("content-range", text.as_str())).collect();
        content.extend(sent.content());
        let name = named.text(&content);
        let answer = self.registry.call("PUT", &format!("{location}?digest={name}"), &headers, sent.body()).await;
        in_order(&answer)?;
        let right = matches!(named, Named::Right);
        prop_assert_eq!(answer.status == StatusCode::CREATED, fits && right, "{:?}", answer);
        if let Some(at) = open.filter(|_| fits) {
            // Content with another digest than it should have is gone with its upload.
            self.uploads[at].open = false;
        }
        if fits && right {
            let found = self.registry.get(answer.header("location")).await;
            prop_assert_eq!(&found.body[..], &content[..]);
            self.blobs.push(name);
        }
        Ok(())
    }

    async fn cancel(&mut self, upload: &Index) -> Checked {
        let (open, location, _) = self.pick(upload);
        let answer = self.registry.call("DELETE", &location, &[], Body::empty()).await;
        in_order(&answer)?;
        prop_assert_eq!(answer.status == StatusCode::NO_CONTENT, open.is_some(), "{:?}", answer);
        if let Some(at) = open {
            self.uploads[at].open = false;
        }
        Ok(())
    }

    async fn whole(&mut self, repository: &str, named: &Named, sent: &Sent) -> Checked {
        let fits = is_name(repository) && matches!(named, Named::Right) && !sent.breaks && self.room_for(sent);
        let name = named.text(&sent.content());
        let path = format!("/v2/{repository}/blobs/uploads/?digest={name}");
        let answer = self.registry.call("POST", &path, &[], sent.body()).await;
        in_order(&answer)?;
        prop_assert_eq!(answer.status == StatusCode::CREATED, fits, "{:?}", answer);
        if fits {
            self.blobs.push(name);
        }
        Ok(())
    }

    async fn manifest(&mut self, repository: &'static str, parts: &Index, by: &str, damages: &[Damage]) -> Checked {
        let none = [digest(b"never sent")];
        let known = if self.blobs.is_empty() { &none[..] } else { &self.blobs[..] };
        let (part, first) = (parts.get(known).as_str(), known[0].as_str());
        let body = after(manifest(part, &[(part, 1), (first, 2)]).as_bytes(), damages);
        let name = digest(&body);
        let reference = match by {
            "by digest" => name.clone(),
            "by another digest" => digest(b"another"),
            tag => tag.to_owned(),
        };
        let path = format!("/v2/{repository}/manifests/{reference}");
        let answer = self.registry.call("PUT", &path, &[("content-type", MANIFEST)], body.clone()).await;
        in_order(&answer)?;
        if answer.status != StatusCode::CREATED {
            return Ok(());
        }
        prop_assert!(is_name(repository) && by != "by another digest", "{answer:?}");
        prop_assert_eq!(answer.header("docker-content-digest"), &name);
        let found = self.registry.get(&path).await;
        prop_assert_eq!(&found.body[..], &body[..]);
        let document: Value = serde_json::from_slice(&body).unwrap();
        let layers = document["layers"].as_array().into_iter().flatten();
        for part in layers.chain([&document["config"]]).filter_map(|part| part["digest"].as_str()) {
            let path = format!("/v2/{repository}/blobs/{part}");
            prop_assert_eq!(self.registry.get(&path).await.status, StatusCode::OK, "{} is missing", part);
        }
        self.manifests.push((repository, name));
        Ok(())
    }

    fn files(&self, part: &str) -> Vec<(String, PathBuf, u64)> {
        let entries = std::fs::read_dir(self.registry.directory.path().join("registry").join(part)).unwrap();
        let file = |entry: std::io::Result<std::fs::DirEntry>| {
            let path = entry.unwrap().path();
            let size = std::fs::metadata(&path).unwrap().len();
            (path.file_name().unwrap().to_str().unwrap().to_owned(), path, size)
        };
        entries.map(file).collect()
    }

    fn used(&self) -> u64 {
        ["blobs", "uploads", "trash"].iter().flat_map(|part| self.files(part)).map(|(_, _, size)| size).sum()
    }

    /// Nobody is refused for want of room that is there.
    fn room_for(&self, sent: &Sent) -> bool {
        self.used() + sent.size as u64 <= LIMIT
    }

    /// Looks at what is on the disk.
    fn judge(&self) -> Checked {
        for (name, path, _) in self.files("blobs") {
            prop_assert_eq!(format!("sha256:{name}"), digest(&std::fs::read(path).unwrap()), "a blob's name");
        }
        prop_assert!(self.used() <= LIMIT, "{} bytes are there", self.used());
        prop_assert_eq!(self.files("trash").len(), 0);
        let open: Vec<&Upload> = self.uploads.iter().filter(|upload| upload.open).collect();
        let files = self.files("uploads");
        prop_assert_eq!(files.len(), open.len(), "files of uploads, and uploads");
        for upload in open {
            let id = upload.location.rsplit('/').next().unwrap();
            let size = files.iter().find(|(name, _, _)| name.starts_with(id)).map(|(_, _, size)| *size);
            prop_assert_eq!(size, Some(upload.bytes.len() as u64), "{}", upload.location);
        }
        Ok(())
    }

    /// Once everything is given up, there is room for as much as at the beginning.
    async fn take_everything_back(&mut self) -> Checked {
        for upload in self.uploads.iter().filter(|upload| upload.open) {
            let answer = self.registry.call("DELETE", &upload.location, &[], Body::empty()).await;
            prop_assert_eq!(answer.status, StatusCode::NO_CONTENT);
        }
        for (repository, name) in &self.manifests {
            let path = format!("/v2/{repository}/manifests/{name}");
            let status = self.registry.call("DELETE", &path, &[], Body::empty()).await.status;
            prop_assert!(matches!(status, StatusCode::ACCEPTED | StatusCode::NOT_FOUND), "{status}");
        }
        self.registry.storage.collect(&BTreeSet::new(), Duration::ZERO).unwrap();
        prop_assert_eq!(self.used(), 0);
        let everything = vec![b'x'; usize::try_from(LIMIT).unwrap()];
        let path = format!("/v2/a/blobs/uploads/?digest={}", digest(&everything));
        let answer = self.registry.call("POST", &path, &[], everything).await;
        prop_assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer);
        Ok(())
    }
}

fn is_name(repository: &str) -> bool {
    ["a", "group/b"].contains(&repository)
}

#[test]
fn no_sequence_of_uploads_does_any_harm() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    fuzz(CASES, &prop::collection::vec(step(), 0..24), |steps| {
        let mut world = World::new();
        runtime.block_on(async {
            for step in steps {
                world.play(step).await?;
                world.judge()?;
            }
            world.take_everything_back().await
        })
    });
}
