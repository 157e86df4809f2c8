//! Logins: credentials that a registry accepts are put where Docker keeps them, and taken away again.

use std::io::Write;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::client::{Client, checked, unreachable};
use super::config::Places;
use super::helper::Helper;
use super::keychain::{KeychainError, helper, names_host, read, server_key};
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

/// Keeps credentials for the registry at `host`.
///
/// # Errors
/// Docker's file cannot be read or written, or the helper that it names fails.
pub async fn keep(places: &Places, host: &str, username: &str, password: &str) -> Result<Kept, KeychainError> {
    let path = places.docker.as_ref().ok_or(KeychainError::Nowhere)?;
    let mut document = read(path)?.unwrap_or_else(|| json!({}));
    let key = server_key(host);
    if let Some(name) = helper(&document, host) {
        let failed = |source| KeychainError::Helper { path: path.clone(), source };
        let helper = Helper::new(&name).map_err(failed)?;
        helper.store(&key, username, password).await.map_err(failed)?;
        let program = helper.program().to_owned();
        return Ok(Kept::Helper { program, file: path.clone() });
    }
    let auths = entries(&mut document, path)?;
    // The same registry under another of its names would be found instead.
    auths.retain(|name, _| !names_host(name, host));
    auths.insert(key, json!({ "auth": STANDARD.encode(format!("{username}:{password}")) }));
    write(path, &document)?;
    Ok(Kept::File(path.clone()))
}

/// Forgets the registry at `host`; nothing where nothing was known of it.
///
/// # Errors
/// As for `keep`.
pub async fn forget(places: &Places, host: &str) -> Result<Option<Kept>, KeychainError> {
    let path = places.docker.as_ref().ok_or(KeychainError::Nowhere)?;
    let Some(mut document) = read(path)? else { return Ok(None) };
    let mut kept = None;
    if let Some(name) = helper(&document, host) {
        let failed = |source| KeychainError::Helper { path: path.clone(), source };
        let helper = Helper::new(&name).map_err(failed)?;
        let key = server_key(host);
        if helper.get(&key).await.map_err(failed)?.is_some() {
            helper.erase(&key).await.map_err(failed)?;
            kept = Some(Kept::Helper { program: helper.program().to_owned(), file: path.clone() });
        }
    }
    let auths = entries(&mut document, path)?;
    let before = auths.len();
    auths.retain(|name, _| !names_host(name, host));
    if auths.len() < before {
        write(path, &document)?;
        kept = kept.or(Some(Kept::File(path.clone())));
    }
    Ok(kept)
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
