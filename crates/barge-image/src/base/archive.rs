//! A base in a tar: an OCI layout, or what `docker save` has written before it wrote layouts as well.
//!
//! Nothing of it is unpacked under the names that stand in it: they are only looked up. Layers get into the cache under their digests;
//! those of `docker save` are not compressed and are compressed then, to the same bytes on every machine.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use barge_model::Digest;
use barge_model::manifest::Platform;

use super::layout::{self, Layout};
use super::{BaseError, document};
use crate::cache::{self, Cache, Held, Key};
use crate::hash;
use crate::image::{Base, Blob, Source, media_type};
use crate::layer::{self, Layer, LayerError, Written};

/// The most files that a base's tar may hold.
const MOST: usize = 10_000;

/// Loads a base.
pub(super) fn load(path: &Path, platform: &Platform, cache: Option<&Cache>) -> Result<Base, BaseError> {
    let tar = Tar::open(path)?;
    if !tar.members.contains_key("index.json") {
        return tar.of_docker(platform, cache);
    }
    let (manifest, config) = layout::documents(&tar, platform)?;
    // What is not for this platform is not copied.
    let mut base = document::base(&manifest, config, platform, |_| Source::Bytes(Arc::from([])))?;
    for layer in &mut base.layers {
        layer.source = Source::Temporary(tar.layer(layer, cache)?);
    }
    Ok(base)
}

/// Where the bytes of a member are.
#[derive(Clone, Copy)]
struct Member {
    start: u64,
    size: u64,
}

struct Tar {
    path: PathBuf,
    members: HashMap<String, Member>,
}

impl Tar {
    fn open(path: &Path) -> Result<Self, BaseError> {
        let fail = |source| BaseError::Read { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(fail)?;
        let mut magic = [0; 2];
        if file.read(&mut magic).map_err(fail)? == 2 && magic == [0x1f, 0x8b] {
            return Err(Self::unusable(path, "it is compressed; `gunzip` it first"));
        }
        file.rewind().map_err(fail)?;
        let mut members = HashMap::new();
        for entry in tar::Archive::new(file).entries_with_seek().map_err(fail)? {
            let entry = entry.map_err(|error| Self::unusable(path, &error.to_string()))?;
            if members.len() >= MOST {
                return Err(Self::unusable(path, &format!("it holds more than {MOST} files")));
            }
            let Some(name) = entry.path().ok().and_then(|name| Some(name.to_str()?.to_owned())) else { continue };
            if entry.header().entry_type().is_file() {
                let member = Member { start: entry.raw_file_position(), size: entry.size() };
                members.insert(name.trim_start_matches("./").to_owned(), member);
            }
        }
        Ok(Self { path: path.to_owned(), members })
    }

    fn unusable(path: &Path, problem: &str) -> BaseError {
        BaseError::Tar { path: path.to_owned(), problem: problem.to_owned() }
    }

    fn member(&self, name: &str) -> Result<Member, BaseError> {
        let missing =
            || Self::unusable(&self.path, &format!("it has no file {:?}", name.chars().take(200).collect::<String>()));
        self.members.get(name).copied().ok_or_else(missing)
    }

    fn bytes(&self, member: Member) -> Result<io::Take<File>, BaseError> {
        let fail = |source| BaseError::Read { path: self.path.clone(), source };
        let mut file = File::open(&self.path).map_err(fail)?;
        file.seek(SeekFrom::Start(member.start)).map_err(fail)?;
        Ok(file.take(member.size))
    }

    /// A layer of a layout, copied and checked unless the cache has it.
    fn layer(&self, wanted: &Blob, cache: Option<&Cache>) -> Result<Arc<Held>, BaseError> {
        let digest = Digest::new(wanted.digest.as_str())
            .map_err(|_| BaseError::Digest { what: super::MANIFEST.to_owned(), digest: wanted.digest.clone() })?;
        let name = layout::blob_name(&digest);
        let copy = |mut file: &File| {
            let bytes = self.bytes(self.member(&name)?)?;
            let (sum, size) = hash::copy(bytes, &mut file).map_err(|error| self.failed(error))?;
            let actual = sum.digest();
            if actual != wanted.digest {
                return Err(BaseError::Changed { path: self.path(&name), actual });
            }
            Ok(Written { diff_id: actual.clone(), digest: actual, size, contents: Vec::new() })
        };
        self.kept(&cache::blob_key(&digest), cache, copy).map(|layer| layer.file)
    }

    /// What the cache has under that key, else what `write` writes, which is kept.
    fn kept(
        &self,
        key: &Key,
        cache: Option<&Cache>,
        write: impl Fn(&File) -> Result<Written, BaseError>,
    ) -> Result<Layer, BaseError> {
        if let Some(cache) = cache {
            if let Some(layer) = cache.layer(key) {
                return Ok(layer);
            }
            if let Ok(mut temporary) = cache.temporary()
                && let Ok(written) = write(temporary.file())
                && let Ok(layer) = cache.keep_layer(key, temporary, &written)
            {
                return Ok(layer);
            }
        }
        // Without a cache, with one that is full, or once more to say what is wrong.
        let file = tempfile::tempfile().map_err(|error| self.failed(error))?;
        Ok(write(&file)?.into_layer(Held::new(file)))
    }

    fn failed(&self, error: io::Error) -> BaseError {
        BaseError::Copy(LayerError::Read { path: self.path.clone(), source: error })
    }

    /// What `docker save` writes: `manifest.json` names a configuration and layers by their paths.
    fn of_docker(&self, platform: &Platform, cache: Option<&Cache>) -> Result<Base, BaseError> {
        if !self.members.contains_key("manifest.json") {
            return Err(Self::unusable(&self.path, "it has neither index.json nor manifest.json"));
        }
        let list = document::parse(&self.read("manifest.json")?, "manifest.json")?;
        let invalid = || BaseError::Invalid { what: "manifest.json".to_owned() };
        let [manifest] = list.as_array().ok_or_else(invalid)?.as_slice() else {
            return Err(Self::unusable(&self.path, "it holds several images, or none"));
        };
        let name = manifest["Config"].as_str().ok_or_else(invalid)?;
        let config = document::config(&self.read(name)?, "the config")?;
        document::check_platform(&config, platform)?;
        let names = manifest["Layers"].as_array().ok_or_else(invalid)?;
        let diff_ids = config["rootfs"]["diff_ids"].as_array().cloned().unwrap_or_default();
        if names.len() != diff_ids.len() {
            return Err(BaseError::Layers { named: diff_ids.len(), found: names.len() });
        }
        let layers = names.iter().zip(&diff_ids).map(|(name, diff_id)| {
            let name = name.as_str().ok_or_else(invalid)?;
            self.compressed(name, &document::digest(&serde_json::json!({ "digest": diff_id }), "the config")?, cache)
        });
        let layers = layers.collect::<Result<Vec<_>, _>>()?;
        Ok(Base { platform: platform.clone(), config: Some(config), layers })
    }

    fn compressed(&self, name: &str, diff_id: &Digest, cache: Option<&Cache>) -> Result<Blob, BaseError> {
        let write = |file: &File| {
            let written = layer::compress(self.bytes(self.member(name)?)?, file).map_err(BaseError::Copy)?;
            match written.diff_id == diff_id.as_str() {
                true => Ok(written),
                false => Err(BaseError::Changed { path: self.path(name), actual: written.diff_id }),
            }
        };
        let layer = self.kept(&cache::tar_key(diff_id), cache, write)?;
        let source = Source::Temporary(layer.file);
        Ok(Blob { digest: layer.digest, size: layer.size, media_type: media_type::LAYER.to_owned(), source })
    }
}

impl Layout for Tar {
    fn read(&self, name: &str) -> Result<Vec<u8>, BaseError> {
        let member = self.member(name)?;
        layout::limited(name, member.size)?;
        let mut bytes = Vec::new();
        let read = self.bytes(member)?.read_to_end(&mut bytes);
        read.map_err(|source| BaseError::Read { path: self.path(name), source })?;
        Ok(bytes)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}
