//! Credentials where other tools keep them: Docker's `config.json` with its credential helpers, and Podman's `auth.json`.
//!
//! For each file: `credHelpers` names a helper for one registry, `credsStore` one for all, `auths` holds the credentials themselves. The
//! first that knows the registry counts. Files are read when a registry asks who we are, and never before.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tokio::sync::Mutex;

use super::config::Places;
use super::helper::{Helper, HelperError};
use super::reference::{DOCKER_HUB, canonical};
use super::{Credentials, Reference};

/// What Docker calls its own registry where credentials are kept.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// Why credentials cannot be looked up.
#[derive(Debug, thiserror::Error)]
pub enum KeychainError {
    /// A file cannot be read.
    #[error("read {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file cannot be written.
    #[error("write {path}")]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("{path} is not a JSON document of credentials: {problem}")]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A helper does not help.
    #[error("ask as {path} says")]
    Helper {
        /// The file that names the helper.
        path: PathBuf,
        /// Why not.
        source: HelperError,
    },
    /// There is no place for credentials.
    #[error("there is no place for credentials: neither HOME, DOCKER_CONFIG nor REGISTRY_AUTH_FILE is set")]
    Nowhere,
}

/// Answers of helpers, by helper and registry.
type Said = HashMap<(String, String), Option<Credentials>>;

/// Where credentials are looked up.
#[derive(Debug, Clone, Default)]
pub struct Keychain {
    files: Vec<PathBuf>,
    /// What helpers have said: they may take long, and ask somebody.
    said: Arc<Mutex<Said>>,
}

impl Keychain {
    /// The files in `places`, in the order in which they count.
    pub fn new(places: &Places) -> Self {
        Self { files: places.credentials().cloned().collect(), said: Arc::default() }
    }

    /// The credentials for a repository.
    ///
    /// # Errors
    /// A file is there and cannot be used, or a helper fails.
    pub async fn find(&self, reference: &Reference) -> Result<Credentials, KeychainError> {
        for path in &self.files {
            let Some(document) = read(path)? else { continue };
            let found = match helper(&document, &reference.host) {
                Some(name) => self.ask(path, &name, &reference.host).await?,
                None => None,
            };
            // A helper for one registry may know nothing of what an earlier login has left in the file.
            let found = match found {
                Some(found) => Some(found),
                None => in_file(path, &document, reference)?,
            };
            if let Some(found) = found {
                return Ok(found);
            }
        }
        Ok(Credentials::Anonymous)
    }

    async fn ask(&self, path: &Path, name: &str, host: &str) -> Result<Option<Credentials>, KeychainError> {
        let failed = |source| KeychainError::Helper { path: path.to_owned(), source };
        let helper = Helper::new(name).map_err(failed)?;
        // Held while it is asked: the blobs of one push need the same answer at the same time.
        let mut said = self.said.lock().await;
        let key = (helper.program().to_owned(), host.to_owned());
        if let Some(known) = said.get(&key) {
            return Ok(known.clone());
        }
        let answer = helper.get(&server_key(host)).await.map_err(failed)?;
        said.insert(key, answer.clone());
        Ok(answer)
    }
}

/// Reads a file of credentials; none where there is no file, or nothing in it.
pub(super) fn read(path: &Path) -> Result<Option<Value>, KeychainError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(KeychainError::Read { path: path.to_owned(), source }),
    };
    if bytes.trim_ascii().is_empty() {
        return Ok(None);
    }
    let invalid = |problem: String| KeychainError::Invalid { path: path.to_owned(), problem };
    let document: Value = serde_json::from_slice(&bytes).map_err(|error| invalid(error.to_string()))?;
    if document.is_object() { Ok(Some(document)) } else { Err(invalid("it is no object".to_owned())) }
}

/// The helper that has a registry's credentials.
pub(super) fn helper(document: &Value, host: &str) -> Option<String> {
    let own = document["credHelpers"].as_object().into_iter().flatten();
    let own = own.filter(|(key, _)| names_host(key, host)).find_map(|(_, name)| name.as_str());
    own.or(document["credsStore"].as_str()).filter(|name| !name.is_empty()).map(str::to_owned)
}

/// What helpers and Docker's file call a registry.
pub(super) fn server_key(host: &str) -> String {
    if canonical(host) == DOCKER_HUB { DOCKER_HUB_KEY.to_owned() } else { host.to_owned() }
}

/// Whether a key of a file means the registry.
pub(super) fn names_host(key: &str, host: &str) -> bool {
    plain(key).1.is_empty() && is_of_host(key, host)
}

/// Whether a key of a file means the registry or some of its repositories.
pub(super) fn is_of_host(key: &str, host: &str) -> bool {
    canonical(plain(key).0) == canonical(host)
}

/// A key's host and the repository below it, without what older versions of Docker write around it.
fn plain(key: &str) -> (&str, &str) {
    let rest = key.split_once("://").map_or(key, |(_, rest)| rest);
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    match path.trim_end_matches('/') {
        "v1" | "v2" => (host, ""),
        path => (host, path),
    }
}

/// The credentials that the file itself holds; where it has some for a group of repositories, those with the longest name.
fn in_file(path: &Path, document: &Value, reference: &Reference) -> Result<Option<Credentials>, KeychainError> {
    let entries = document["auths"].as_object().into_iter().flatten();
    let mut fitting: Vec<(&str, &String, &Value)> = entries
        .filter_map(|(key, entry)| {
            let (host, below) = plain(key);
            let fits = below.is_empty()
                || reference
                    .repository
                    .strip_prefix(below)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            (fits && canonical(host) == canonical(&reference.host)).then_some((below, key, entry))
        })
        .collect();
    fitting.sort_by_key(|(below, ..)| std::cmp::Reverse(below.len()));
    for (_, key, entry) in fitting {
        let known = entry_credentials(entry).map_err(|problem| KeychainError::Invalid {
            path: path.to_owned(),
            problem: format!("auths: {key}: {problem}"),
        })?;
        if known.is_some() {
            return Ok(known);
        }
    }
    Ok(None)
}

pub(super) fn entry_credentials(entry: &Value) -> Result<Option<Credentials>, &'static str> {
    let field = |name: &str| entry[name].as_str().filter(|text| !text.is_empty());
    if let Some(token) = field("identitytoken") {
        return Ok(Some(Credentials::Identity { token: token.to_owned() }));
    }
    let (username, password) = match field("auth") {
        Some(auth) => {
            let bytes = STANDARD.decode(auth.trim()).map_err(|_| "auth is not in base 64")?;
            let text = String::from_utf8(bytes).map_err(|_| "auth is not in UTF-8")?;
            // Docker fills short ones up.
            let text = text.trim_matches('\0');
            let (username, password) = text.split_once(':').ok_or("auth has no colon")?;
            (username.to_owned(), password.to_owned())
        }
        None => match (field("username"), field("password")) {
            (Some(username), Some(password)) => (username.to_owned(), password.to_owned()),
            _ => return Ok(None),
        },
    };
    Ok(Some(Credentials::Basic { username, password }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn basic(username: &str, password: &str) -> Option<Credentials> {
        Some(Credentials::Basic { username: username.to_owned(), password: password.to_owned() })
    }

    fn check(auths: Value, reference: &str, expected: Option<Credentials>) {
        let document = json!({ "auths": auths });
        let found = in_file(Path::new("config.json"), &document, &reference.parse().unwrap()).unwrap();
        assert_eq!(found, expected, "{reference} in {document}");
    }

    #[test]
    fn credentials_are_found_under_every_name_that_tools_give_a_registry() {
        // `robot$ci:p:$w`
        let entry = json!({ "auth": "cm9ib3QkY2k6cDokdw==" });
        let robot = || basic("robot$ci", "p:$w");
        for key in [
            "registry.example",
            "Registry.example",
            "https://registry.example",
            "https://registry.example/v1/",
            "registry.example:443",
        ] {
            check(json!({ key: entry }), "registry.example/group/app:1", robot());
        }
        for key in ["registry.example:5000", "registry.example.org", "registry", "registry.example/other"] {
            check(json!({ key: entry }), "registry.example/group/app:1", None);
        }
        for key in [DOCKER_HUB_KEY, "docker.io", "index.docker.io", "registry-1.docker.io"] {
            check(json!({ key: entry }), "docker.io/debian:12", robot());
        }
    }

    #[test]
    fn of_several_entries_the_one_for_the_narrowest_group_counts() {
        let auths = json!({
            "registry.example": { "username": "all", "password": "1" },
            "registry.example/group": { "username": "group", "password": "2" },
            "registry.example/group/app": { "identitytoken": "t" },
            "registry.example/empty": {},
        });
        check(auths.clone(), "registry.example/other/app:1", basic("all", "1"));
        check(auths.clone(), "registry.example/group/other:1", basic("group", "2"));
        check(auths.clone(), "registry.example/groups:1", basic("all", "1"));
        check(auths.clone(), "registry.example/empty:1", basic("all", "1"));
        check(auths, "registry.example/group/app:1", Some(Credentials::Identity { token: "t".to_owned() }));
    }

    #[test]
    fn damaged_credentials_are_told_with_their_place() {
        for (auth, expected) in [("%%", "base 64"), ("YWJj", "no colon"), ("//8=", "UTF-8")] {
            let document = json!({ "auths": { "registry.example": { "auth": auth } } });
            let error =
                in_file(Path::new("config.json"), &document, &"registry.example/a:1".parse().unwrap()).unwrap_err();
            let text = error.to_string();
            assert!(
                text.contains("config.json") && text.contains("registry.example") && text.contains(expected),
                "{text}"
            );
        }
    }

    #[test]
    fn a_helper_for_one_registry_comes_before_that_for_all() {
        let document = json!({ "credsStore": "pass", "credHelpers": { "https://registry.example": "ecr" } });
        assert_eq!(helper(&document, "registry.example").as_deref(), Some("ecr"));
        assert_eq!(helper(&document, "other.example").as_deref(), Some("pass"));
        assert_eq!(helper(&json!({ "credsStore": "" }), "other.example"), None);
    }
}
