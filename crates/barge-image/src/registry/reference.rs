//! Names of images: `HOST[:PORT]/REPOSITORY[:TAG][@DIGEST]`.

use std::fmt;
use std::str::FromStr;

use barge_model::host::is_loopback;

/// The name of an image in a registry. The registry is always written out; there is no default one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    /// Host and port.
    pub host: String,
    /// The repository.
    pub repository: String,
    /// Tag or digest.
    pub version: String,
}

/// Why a text is not a reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a reference such as registry.example/group/name:tag")]
pub struct InvalidReference(String);

impl FromStr for Reference {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        let error = || InvalidReference(text.chars().take(100).collect());
        let (host, rest) = text.split_once('/').ok_or_else(error)?;
        let looks_like_host = host.contains(['.', ':']) || host == "localhost";
        let (name, digest) = match rest.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (rest, None),
        };
        let (repository, tag) = match name.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
            _ => (name, None),
        };
        let word = |part: &str, extra: &[u8]| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || extra.contains(&b))
        };
        let repository_ok = repository
            .split('/')
            .all(|part| word(part, b"._-$") && !part.contains("..") && !part.bytes().any(|b| b.is_ascii_uppercase()));
        let version = digest.or(tag).unwrap_or("latest");
        let version_ok = match digest {
            Some(digest) => barge_model::Digest::new(digest).is_ok() && tag.is_none_or(|tag| word(tag, b"._-")),
            None => word(version, b"._-"),
        };
        if !looks_like_host || !word(host, b".-:[]") || !repository_ok || !version_ok {
            return Err(error());
        }
        let repository = match canonical(host) == DOCKER_HUB && !repository.contains('/') {
            true => format!("library/{repository}"),
            false => repository.to_owned(),
        };
        Ok(Self { host: host.to_owned(), repository, version: version.to_owned() })
    }
}

impl Reference {
    /// The same repository, another tag or digest.
    #[must_use]
    pub fn with_digest(&self, digest: &str) -> Self {
        Self { version: digest.to_owned(), ..self.clone() }
    }

    /// Whether its version is a digest, which always means the same.
    pub fn is_by_digest(&self) -> bool {
        self.version.starts_with("sha256:")
    }

    /// Host and repository, without a version.
    pub fn name(&self) -> String {
        format!("{}/{}", self.host, self.repository)
    }

    /// Whether the registry is on this machine, so that plain HTTP is no risk.
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.host)
    }
}

/// Whether a text names a registry: a host, with a port or not.
pub fn is_host(text: &str) -> bool {
    !text.contains('/') && format!("{text}/x").parse::<Reference>().is_ok()
}

/// Docker's own registry, as people call it.
pub(super) const DOCKER_HUB: &str = "docker.io";

/// One spelling of a registry's host and port, of all that mean the same.
pub(super) fn canonical(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    let host = host.strip_suffix(":443").unwrap_or(&host);
    match host {
        "index.docker.io" | "registry-1.docker.io" => DOCKER_HUB.to_owned(),
        host => host.to_owned(),
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = if self.is_by_digest() { '@' } else { ':' };
        write!(f, "{}/{}{separator}{}", self.host, self.repository, self.version)
    }
}
