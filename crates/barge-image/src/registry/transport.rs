//! HTTP clients for registries: which scheme a host is spoken to with, with which certificates, and whether through a proxy.
//!
//! A proxy is what `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` say, and none is ever asked for this machine itself.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use barge_model::host::is_loopback;
use reqwest::Url;

use super::certificates::{self, Certificates};
use super::config::Registries;
use super::reference::{DOCKER_HUB, canonical};
use super::{Limits, RegistryError};

/// Where Docker's own registry is asked.
const DOCKER_HUB_ADDRESS: &str = "registry-1.docker.io";
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// A client for what is asked, and one for uploads: without a timeout of its own, since an upload is watched instead.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    pub(super) questions: reqwest::Client,
    pub(super) uploads: reqwest::Client,
}

/// What makes one client differ from another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Kind {
    loopback: bool,
    /// No TLS is needed, and so no certificates are read.
    plain: bool,
    certificates: Option<PathBuf>,
}

/// The clients that were needed up to now.
#[derive(Debug, Clone)]
pub(super) struct Transport {
    registries: Registries,
    certificates: Certificates,
    limits: Limits,
    pairs: Arc<Mutex<HashMap<Kind, Pair>>>,
}

impl Transport {
    pub(super) fn new(registries: Registries, certificates: Certificates, limits: Limits) -> Self {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // reqwest panics without one. Where another thread has just set one, that one will do.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        Self { registries, certificates, limits, pairs: Arc::default() }
    }

    /// The beginning of all addresses of a registry.
    pub(super) fn origin(&self, host: &str) -> String {
        if canonical(host) == DOCKER_HUB {
            return format!("https://{DOCKER_HUB_ADDRESS}");
        }
        let plain = match self.registries.http(host) {
            Some(said) => said,
            None => is_loopback(host) && self.certificates.directory(host).is_none(),
        };
        format!("{}://{host}", if plain { "http" } else { "https" })
    }

    /// Whether this address may be asked: over TLS always, and otherwise only where somebody has said so.
    pub(super) fn allows(&self, url: &Url) -> bool {
        url.scheme() == "https" || (url.scheme() == "http" && self.origin(&authority(url)).starts_with("http://"))
    }

    /// The clients for an address.
    ///
    /// # Errors
    /// They cannot be set up, or the certificates for them not be used.
    pub(super) fn pair(&self, url: &Url) -> Result<Pair, RegistryError> {
        let host = authority(url);
        let plain = url.scheme() == "http";
        let certificates = if plain { None } else { self.certificates.directory(&host) };
        let kind = Kind { loopback: is_loopback(&host), plain, certificates };
        let mut pairs = self.pairs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pair) = pairs.get(&kind) {
            return Ok(pair.clone());
        }
        let pair = self.build(&kind)?;
        pairs.insert(kind, pair.clone());
        Ok(pair)
    }

    fn build(&self, kind: &Kind) -> Result<Pair, RegistryError> {
        let builder = || {
            let mut builder = reqwest::Client::builder()
                .user_agent(concat!("barge/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(CONNECT_LIMIT)
                // Followed by us: another host has another client, and must not hear who we are.
                .redirect(reqwest::redirect::Policy::none());
            if kind.loopback {
                builder = builder.no_proxy();
            }
            if kind.plain && kind.loopback {
                // Reading the system's authorities takes longer than many a request.
                builder = builder.tls_certs_only([]);
            }
            match &kind.certificates {
                Some(directory) => certificates::add(builder, directory).map_err(RegistryError::Certificates),
                None => Ok(builder),
            }
        };
        let questions = builder()?.read_timeout(self.limits.silence).build().map_err(RegistryError::Setup)?;
        let uploads = builder()?.build().map_err(RegistryError::Setup)?;
        Ok(Pair { questions, uploads })
    }
}

/// Host and port of an address; the port only where it is written out.
pub(super) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transport(text: &str) -> Transport {
        Transport::new(Registries::parse(text).unwrap(), Certificates::default(), Limits::default())
    }

    #[test]
    fn plain_http_is_spoken_where_it_is_allowed_and_nowhere_else() {
        let transport = transport(
            "registries:\n  open.example:5000: {http: true}\n  127.0.0.1:5001: {http: false}\n  docker.io: {http: true}",
        );
        for (host, expected) in [
            ("registry.example", "https://registry.example"),
            ("open.example:5000", "http://open.example:5000"),
            ("open.example", "https://open.example"),
            ("127.0.0.1:5000", "http://127.0.0.1:5000"),
            ("LocalHost", "http://LocalHost"),
            ("127.0.0.1:5001", "https://127.0.0.1:5001"),
            ("127.0.0.1.example", "https://127.0.0.1.example"),
            ("docker.io", "https://registry-1.docker.io"),
        ] {
            assert_eq!(transport.origin(host), expected);
        }
        for (url, expected) in [
            ("https://anywhere.example/x", true),
            ("http://anywhere.example/x", false),
            ("http://open.example:5000/x", true),
            ("http://open.example/x", false),
            ("http://localhost:1/x", true),
            ("http://127.0.0.1:5001/x", false),
            ("ftp://localhost/x", false),
        ] {
            assert_eq!(transport.allows(&url.parse().unwrap()), expected, "{url}");
        }
    }
}
