//! What a user has set for registries: which of them may be spoken to over plain HTTP, and which have mirrors; and where all files about
//! registries are, Barge's own and those of other tools.
//!
//! Credentials are no part of this file: they are where `docker login` and `podman login` keep them as well ([`super::keychain`]).

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use barge_model::host::is_loopback;
use serde::Deserialize;

use super::certificates::Certificates;
use super::keychain::Keychain;
use super::reference::{canonical, is_host};
use super::whereabouts::Whereabouts;
use super::{Credentials, Limits, Reference};

/// The file below Barge's configuration directory.
pub const FILE: &str = "registries.yaml";

/// Why the configuration of registries cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("read {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("{path}: {problem}")]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// What is wrong, with its line.
        problem: String,
    },
}

/// Where files about registries are.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// Barge's own configuration directory.
    pub barge: Option<PathBuf>,
    /// Barge's directory of what can be made anew.
    pub cache: Option<PathBuf>,
    /// Docker's `config.json`.
    pub docker: Option<PathBuf>,
    /// Files with credentials that take precedence over Docker's, and those that come after it.
    pub before: Vec<PathBuf>,
    /// As above.
    pub after: Vec<PathBuf>,
    /// Directories in which each registry has one with its certificates.
    pub certificates: Vec<PathBuf>,
}

impl Places {
    /// The places of whoever runs this program, as the environment variables of Docker and Podman and the user's home say. `barge` and
    /// `cache` are directories of Barge's own.
    pub fn of_user(barge: Option<PathBuf>, cache: Option<PathBuf>) -> Self {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = variable("HOME");
        let docker = variable("DOCKER_CONFIG").or_else(|| home.as_ref().map(|home| home.join(".docker")));
        let podman = variable("XDG_RUNTIME_DIR").into_iter().chain(home.map(|home| home.join(".config")));
        let certificates = barge.iter().chain(&docker).map(|place| place.join("certs.d"));
        Self {
            certificates: certificates.chain([PathBuf::from("/etc/docker/certs.d")]).collect(),
            before: variable("REGISTRY_AUTH_FILE").into_iter().collect(),
            after: podman.map(|place| place.join("containers/auth.json")).collect(),
            docker: docker.map(|docker| docker.join("config.json")),
            barge,
            cache,
        }
    }

    /// The files with credentials, in the order in which they count.
    pub(super) fn credentials(&self) -> impl Iterator<Item = &PathBuf> {
        self.before.iter().chain(&self.docker).chain(&self.after)
    }
}

/// What a client knows of registries before it asks one.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Credentials by host and port, sent with the first request already.
    pub credentials: HashMap<String, Credentials>,
    /// Where other credentials are looked up, once a registry asks for them.
    pub keychain: Keychain,
    /// Plain HTTP and mirrors.
    pub registries: Registries,
    /// Own authorities and client certificates.
    pub certificates: Certificates,
    /// What is known of where blobs are.
    pub whereabouts: Whereabouts,
    /// How long a registry may keep us waiting.
    pub limits: Limits,
}

impl Settings {
    /// What the files in `places` say.
    ///
    /// # Errors
    /// Barge's own file is there and cannot be used. Other files are read when a registry needs them.
    pub fn read(places: &Places) -> Result<Self, ConfigError> {
        Ok(Self {
            keychain: Keychain::new(places),
            registries: match &places.barge {
                Some(directory) => Registries::read(&directory.join(FILE))?,
                None => Registries::default(),
            },
            certificates: Certificates::new(places.certificates.clone()),
            whereabouts: Whereabouts::new(places.cache.as_ref().map(|cache| cache.join("whereabouts"))),
            ..Self::default()
        })
    }
}

/// The registries that have settings of their own, by host and port.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Registries(BTreeMap<String, Registry>);

/// The settings of one registry.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registry {
    /// Whether it is spoken to over plain HTTP. Unless this is said, registries on this machine are, and no others.
    #[serde(default)]
    pub http: Option<bool>,
    /// Whether it is sent credentials over plain HTTP, where everybody on the way can read them.
    #[serde(default)]
    pub credentials_over_http: bool,
    /// Who is asked for images before it, in this order: a registry, or a repository below which the same names are.
    #[serde(default)]
    pub mirrors: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    registries: BTreeMap<String, Registry>,
}

impl Registries {
    /// Reads the file at `path`; there need not be one.
    ///
    /// # Errors
    /// It cannot be read, or not be understood.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(ConfigError::Read { path: path.to_owned(), source }),
        };
        Self::parse(&text).map_err(|problem| ConfigError::Invalid { path: path.to_owned(), problem })
    }

    /// Understands a file's text.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        // A file of comments alone says nothing, and is fine.
        if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            return Ok(Self::default());
        }
        let document: Document = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        let mut registries = BTreeMap::new();
        for (name, registry) in document.registries {
            let host = name.to_ascii_lowercase();
            if !is_host(&host) {
                return Err(format!(
                    "registries: {name:?} is not a host such as registry.example or registry.example:5000"
                ));
            }
            for mirror in &registry.mirrors {
                mirrored(mirror, "x").ok_or_else(|| {
                    format!("registries: {name}: mirrors: {mirror:?} is not one such as mirror.example/group")
                })?;
            }
            if registry.credentials_over_http && registry.http != Some(true) {
                return Err(format!("registries: {name}: credentials_over_http says nothing without `http: true`"));
            }
            registries.insert(canonical(&host), registry);
        }
        Ok(Self(registries))
    }

    /// Settings for one registry more.
    #[must_use]
    pub fn with(mut self, host: &str, registry: Registry) -> Self {
        self.0.insert(canonical(host), registry);
        self
    }

    fn of(&self, host: &str) -> Option<&Registry> {
        self.0.get(&canonical(host))
    }

    /// Whether plain HTTP to this host is asked for or ruled out; nothing where nothing is said of it.
    pub fn http(&self, host: &str) -> Option<bool> {
        self.of(host)?.http
    }

    /// Whether this host may be sent credentials over plain HTTP.
    pub fn credentials_over_http(&self, host: &str) -> bool {
        is_loopback(host) || self.of(host).is_some_and(|registry| registry.credentials_over_http)
    }

    /// The same image at its registry's mirrors, in the order in which they are asked.
    pub fn mirrors(&self, reference: &Reference) -> Vec<Reference> {
        let mirrors = self.of(&reference.host).map(|registry| registry.mirrors.as_slice()).unwrap_or_default();
        let names = mirrors.iter().filter_map(|mirror| mirrored(mirror, &reference.repository));
        names.map(|name| Reference { version: reference.version.clone(), ..name }).collect()
    }
}

/// A repository at a mirror.
fn mirrored(mirror: &str, repository: &str) -> Option<Reference> {
    format!("{}/{repository}", mirror.trim_end_matches('/')).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_which_registries_may_be_spoken_to_openly_and_which_have_mirrors() {
        let text = "registries:\n  Registry.Example:5000: {http: true, credentials_over_http: true}\n  docker.io:\n    mirrors: [mirror.example/hub, 127.0.0.1:5000/]\n  127.0.0.1:5001: {http: false}\n";
        let registries = Registries::parse(text).unwrap();
        assert_eq!(registries.http("registry.example:5000"), Some(true));
        assert_eq!(registries.http("registry.example"), None);
        assert_eq!(registries.http("127.0.0.1:5001"), Some(false));
        assert!(registries.credentials_over_http("REGISTRY.example:5000"));
        assert!(registries.credentials_over_http("localhost:80"));
        assert!(!registries.credentials_over_http("registry.example:5001"));
        let names = |name: &str| -> Vec<String> {
            registries.mirrors(&name.parse().unwrap()).iter().map(ToString::to_string).collect()
        };
        assert_eq!(
            names("docker.io/debian:12"),
            ["mirror.example/hub/library/debian:12", "127.0.0.1:5000/library/debian:12"]
        );
        assert!(names("registry.example/debian:12").is_empty());
        for nothing in ["", "# later\n\n", "registries: {}"] {
            assert_eq!(Registries::parse(nothing).unwrap(), Registries::default(), "{nothing:?}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        for (text, expected) in [
            ("registries: {a b: {}}", "is not a host"),
            ("registries: {registry.example/group: {}}", "is not a host"),
            ("registries: {registry.example: {mirrors: [mirror]}}", "\"mirror\" is not one such as"),
            ("registries: {registry.example: {mirrors: ['https://mirror.example']}}", "is not one such as"),
            ("registries: {registry.example: {insecure: true}}", "unknown field"),
            ("registries: {registry.example: {credentials_over_http: true}}", "without `http: true`"),
            ("mirrors: []", "unknown field"),
            ("registries: [", "line 1"),
        ] {
            let error = Registries::parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
