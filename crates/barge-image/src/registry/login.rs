//! Logins: credentials that a registry accepts are put where Docker or Podman keep them, and taken away again.

use std::io::Write;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::client::{Client, checked, unreachable};
use super::config::Places;
use super::helper::{Helper, HelperError};
use super::keychain::{KeychainError, entry_credentials, helper, is_of_host, names_host, read, server_key};
use super::{Reference, RegistryError};

/// Where a login is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// In a file, readable by its owner alone.
    File(PathBuf),
    /// By a credential helper, as the file says.
    Helper {
        /// The program.
        program: String,
        /// The file that names it.
        file: PathBuf,
    },
}

/// A login that is kept somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// What it is for, as the file has it: a registry, or a group of its repositories such as `registry.example/group`.
    pub name: String,
    /// Where it is.
    pub kept: Kept,
}

/// What became of a new login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Where it is.
    pub kept: Kept,
    /// What counts before it: groups of the registry's repositories that have a login of their own there.
    pub narrower: Vec<String>,
}

impl Client {
    /// Asks the registry at `host` whether it knows us; false where it lets everybody in and does not ask.
    ///
    /// # Errors
    /// It does not, or does not answer.
    pub async fn check(&self, host: &str) -> Result<bool, RegistryError> {
        let base = Reference { host: host.to_owned(), repository: String::new(), version: String::new() };
        let url = format!("{}/v2/", self.origin(host));
        let http = self.transport.pair(&self.allowed(&base, &url)?)?.questions;
        // Without a word of who we are: whether it asks for that at all.
        let anonymous = http.get(&url).send().await.map_err(|source| unreachable(&base, source))?;
        let response = self.send(&base, Method::GET, &url, |request| request).await?;
        checked(&base, "it", response).await?;
        Ok(anonymous.status() == StatusCode::UNAUTHORIZED)
    }
}

/// Keeps credentials for the registry at `host`: in the file that is read first, so that nothing else is found instead.
///
/// # Errors
/// The file cannot be read or written, or the helper that it names fails.
pub async fn keep(places: &Places, host: &str, username: &str, password: &str) -> Result<Stored, KeychainError> {
    let path = places.credentials().next().ok_or(KeychainError::Nowhere)?;
    let mut document = read(path)?.unwrap_or_else(|| json!({}));
    let key = server_key(host);
    if let Some(asked) = Asked::new(path, &document, host)? {
        asked.helper.store(&key, username, password).await.map_err(|source| asked.failed(source))?;
        // It is asked before the file is looked at.
        return Ok(Stored { kept: asked.kept(), narrower: Vec::new() });
    }
    let narrower = of_file(&document, host).filter(|name| !names_host(name, host)).cloned().collect();
    let auths = entries(&mut document, path)?;
    // The same registry under another of its names would be found instead.
    auths.retain(|name, _| !names_host(name, host));
    auths.insert(key, json!({ "auth": STANDARD.encode(format!("{username}:{password}")) }));
    write(path, &document)?;
    Ok(Stored { kept: Kept::File(path.clone()), narrower })
}

/// Forgets the registry at `host` and all of its repositories, where `keep` would keep a login. The result is what was known of it there.
///
/// # Errors
/// As for `keep`.
pub async fn forget(places: &Places, host: &str) -> Result<Vec<Login>, KeychainError> {
    let path = places.credentials().next().ok_or(KeychainError::Nowhere)?;
    let Some(mut document) = read(path)? else { return Ok(Vec::new()) };
    let known = known_in(path, &document, host).await?;
    if known.iter().any(|login| matches!(login.kept, Kept::Helper { .. }))
        && let Some(asked) = Asked::new(path, &document, host)?
    {
        asked.helper.erase(&server_key(host)).await.map_err(|source| asked.failed(source))?;
    }
    let auths = entries(&mut document, path)?;
    let before = auths.len();
    auths.retain(|name, _| !is_of_host(name, host));
    if auths.len() < before {
        write(path, &document)?;
    }
    Ok(known)
}

/// The logins to the registry at `host`, and to some of its repositories alone, in all files that are read.
///
/// # Errors
/// A file cannot be read, or the helper that it names fails.
pub async fn known(places: &Places, host: &str) -> Result<Vec<Login>, KeychainError> {
    let mut found = Vec::new();
    for path in places.credentials() {
        if let Some(document) = read(path)? {
            found.extend(known_in(path, &document, host).await?);
        }
    }
    Ok(found)
}

async fn known_in(path: &Path, document: &Value, host: &str) -> Result<Vec<Login>, KeychainError> {
    let mut found = Vec::new();
    if let Some(asked) = Asked::new(path, document, host)? {
        let said = asked.helper.get(&server_key(host)).await.map_err(|source| asked.failed(source))?;
        found.extend(said.map(|_| Login { name: host.to_owned(), kept: asked.kept() }));
    }
    let names = of_file(document, host);
    found.extend(names.map(|name| Login { name: name.clone(), kept: Kept::File(path.to_owned()) }));
    Ok(found)
}

/// What a file itself holds of a registry, by its names there.
fn of_file<'a>(document: &'a Value, host: &str) -> impl Iterator<Item = &'a String> {
    let entries = document["auths"].as_object().into_iter().flatten();
    // Docker leaves an empty entry where a helper has the login.
    let entries = entries.filter(move |(name, entry)| is_of_host(name, host) && entry_credentials(entry) != Ok(None));
    entries.map(|(name, _)| name)
}

/// A helper, and the file that names it.
struct Asked<'a> {
    helper: Helper,
    path: &'a Path,
}

impl<'a> Asked<'a> {
    /// The helper that a file names for a registry.
    fn new(path: &'a Path, document: &Value, host: &str) -> Result<Option<Self>, KeychainError> {
        let Some(name) = helper(document, host) else { return Ok(None) };
        match Helper::new(&name) {
            Ok(helper) => Ok(Some(Self { helper, path })),
            Err(source) => Err(KeychainError::Helper { path: path.to_owned(), source }),
        }
    }

    fn failed(&self, source: HelperError) -> KeychainError {
        KeychainError::Helper { path: self.path.to_owned(), source }
    }

    fn kept(&self) -> Kept {
        Kept::Helper { program: self.helper.program().to_owned(), file: self.path.to_owned() }
    }
}

fn entries<'a>(document: &'a mut Value, path: &Path) -> Result<&'a mut serde_json::Map<String, Value>, KeychainError> {
    let invalid = || KeychainError::Invalid { path: path.to_owned(), problem: "its auths are no object".to_owned() };
    if document["auths"].is_null() {
        document["auths"] = json!({});
    }
    document["auths"].as_object_mut().ok_or_else(invalid)
}

/// Replaces the file, readable by its owner alone, at once: another program that reads it meanwhile finds the old one or the new one.
fn write(path: &Path, document: &Value) -> Result<(), KeychainError> {
    let failed = |source| KeychainError::Write { path: path.to_owned(), source };
    // Where it is a link, what it leads to is replaced.
    let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let directory = real.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory).map_err(failed)?;
    let mut file = tempfile::Builder::new().prefix(".new").tempfile_in(directory).map_err(failed)?;
    file.write_all(format!("{document:#}\n").as_bytes()).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(&real).map(drop).map_err(|error| failed(error.error))
}
