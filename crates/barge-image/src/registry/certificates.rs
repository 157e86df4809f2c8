//! Own authorities and client certificates, in the layout that Docker has: `certs.d/HOST:PORT/` with `*.crt` for authorities, and pairs
//! of `NAME.cert` and `NAME.key` for who we are.
//!
//! The system's authorities stay valid beside them; `SSL_CERT_FILE` takes their place.

use std::path::{Path, PathBuf};

use reqwest::{Certificate, ClientBuilder, Identity};

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file or directory cannot be read.
    #[error("read {path}")]
    Read {
        /// Which one.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("{path} holds no {what} in PEM")]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// What the TLS library says; nothing where it is satisfied with an empty file.
        source: Option<reqwest::Error>,
    },
    /// A client certificate has no key.
    #[error("the client certificate {0} has no key beside it (the same name with .key)")]
    NoKey(PathBuf),
}

/// Where certificates of registries are.
#[derive(Debug, Clone, Default)]
pub struct Certificates {
    directories: Vec<PathBuf>,
}

impl Certificates {
    /// Looks into these directories; the first that has one for a registry counts.
    pub fn new(directories: Vec<PathBuf>) -> Self {
        Self { directories }
    }

    /// The directory with the certificates of a registry.
    pub(super) fn directory(&self, host: &str) -> Option<PathBuf> {
        // A name that is none of a host could lead out of the directory.
        if host.contains(['/', '\\']) || host.starts_with('.') {
            return None;
        }
        let names = [host.to_owned(), host.to_ascii_lowercase(), format!("{host}:443")];
        let places = self.directories.iter().flat_map(|place| names.iter().map(move |name| place.join(name)));
        places.into_iter().find(|place| place.is_dir())
    }
}

/// Adds what a directory holds.
pub(super) fn add(mut builder: ClientBuilder, directory: &Path) -> Result<ClientBuilder, CertificateError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| CertificateError::Read { path, source }
    };
    let entries = std::fs::read_dir(directory).map_err(failed(directory))?;
    let mut files = entries
        .map(|entry| entry.map(|entry| entry.path()).map_err(failed(directory)))
        .collect::<Result<Vec<_>, _>>()?;
    files.sort();
    let read = |path: &Path| std::fs::read(path).map_err(failed(path));
    let mut identity = None;
    for path in files {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => builder = builder.tls_certs_merge(authorities(&path, &read(&path)?)?),
            Some("cert") if identity.is_none() => {
                let key = path.with_extension("key");
                if !key.is_file() {
                    return Err(CertificateError::NoKey(path));
                }
                // Both in one, as the TLS library wants it.
                let pem = [read(&path)?, b"\n".to_vec(), read(&key)?].concat();
                let what = "certificate with its key";
                let known = Identity::from_pem(&pem);
                identity =
                    Some(known.map_err(|source| CertificateError::Invalid { path, what, source: Some(source) })?);
            }
            _ => {}
        }
    }
    Ok(match identity {
        Some(identity) => builder.identity(identity),
        None => builder,
    })
}

fn authorities(path: &Path, pem: &[u8]) -> Result<Vec<Certificate>, CertificateError> {
    let invalid = |source| CertificateError::Invalid { path: path.to_owned(), what: "certificate", source };
    let found = Certificate::from_pem_bundle(pem).map_err(|source| invalid(Some(source)))?;
    if found.is_empty() { Err(invalid(None)) } else { Ok(found) }
}
