//! Requests to a registry: base address, credentials, tokens, retries.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use reqwest::{Method, RequestBuilder, Response, StatusCode, header};
use tokio::sync::Mutex;

use super::reference::is_loopback;
use super::retry::{Retries, passing, retry_after};
use super::{Reference, RegistryError};

/// The largest answer of a token server that is read, in bytes.
const TOKEN_LIMIT: usize = 1024 * 1024;
/// As much of an error's text is read, in bytes, and for so long.
const ERROR_LIMIT: usize = 64 * 1024;
const ERROR_TIME: Duration = Duration::from_secs(10);

/// Who we are to a registry.
#[derive(Clone, Default)]
pub enum Credentials {
    /// Nobody.
    #[default]
    Anonymous,
    /// A user or robot account. The name may hold any character, `$` too.
    Basic {
        /// The name.
        username: String,
        /// The password.
        password: String,
    },
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Credentials::Anonymous => f.write_str("Anonymous"),
            Credentials::Basic { username, .. } => write!(f, "Basic({username}, ...)"),
        }
    }
}

/// How long a registry may keep us waiting.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// For the next bytes of an answer, or until it takes the next bytes of an upload.
    pub silence: Duration,
    /// For the answer to an upload after its last byte: a registry may have to hash it, and to bring it to a store of its own.
    pub upload_answer: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { silence: Duration::from_secs(60), upload_answer: Duration::from_secs(600) }
    }
}

/// A client for registries. Credentials belong to one host and are sent to no other.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    /// Without a timeout of its own; an upload is watched instead.
    pub(super) uploads: reqwest::Client,
    pub(super) limits: Limits,
    /// By host and port as `server` spells them.
    credentials: Arc<HashMap<String, Credentials>>,
    tokens: Arc<Mutex<HashMap<String, String>>>,
}

impl Client {
    /// A client with credentials by host.
    ///
    /// # Errors
    /// The HTTP client cannot be set up.
    pub fn new(credentials: HashMap<String, Credentials>) -> Result<Self, RegistryError> {
        Self::with_limits(credentials, Limits::default())
    }

    /// As `new`, with other limits than the usual ones.
    ///
    /// # Errors
    /// As for `new`.
    pub fn with_limits(credentials: HashMap<String, Credentials>, limits: Limits) -> Result<Self, RegistryError> {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // reqwest panics without one. Where another thread has just set one, that one will do.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let builder = || {
            reqwest::Client::builder()
                .user_agent(concat!("barge/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(Duration::from_secs(10))
        };
        let http = builder().read_timeout(limits.silence).build().map_err(RegistryError::Setup)?;
        let uploads = builder().build().map_err(RegistryError::Setup)?;
        let credentials = credentials.into_iter().map(|(host, known)| (server(&host), known)).collect();
        Ok(Self { http, uploads, limits, credentials: Arc::new(credentials), tokens: Arc::default() })
    }

    /// The address of `path` in the reference's repository.
    pub(crate) fn url(&self, reference: &Reference, path: &str) -> String {
        format!("{}://{}/v2/{}/{path}", scheme(&reference.host), reference.host, reference.repository)
    }

    /// Sends what `prepare` makes, as often as it is worth it; a challenge for a token is met once.
    pub(crate) async fn send(
        &self,
        reference: &Reference,
        method: Method,
        url: &str,
        prepare: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, RegistryError> {
        let mut retries = Retries::new();
        loop {
            let result = self.send_once(reference, &method, url, &prepare).await;
            let (again, asked) = match &result {
                Err(error) => (error.passing(), error.retry_after()),
                Ok(response) => {
                    (passing(response.status().as_u16()), retry_after(response.headers(), SystemTime::now()))
                }
            };
            let pause = if again { retries.next(asked) } else { None };
            let Some(pause) = pause else { return result };
            drop(result);
            tokio::time::sleep(pause).await;
        }
    }

    pub(crate) async fn send_once(
        &self,
        reference: &Reference,
        method: &Method,
        url: &str,
        prepare: &impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, RegistryError> {
        let send = |token| prepare(self.request(&self.http, reference, method, url, token)).send();
        let known = self.known_token(reference).await;
        let response = send(known).await.map_err(|source| unreachable(reference, source))?;
        let Some(challenge) = challenge(&self.url(reference, ""), url, &response) else { return Ok(response) };
        drop(response);
        let token = self.token(reference, &challenge).await?;
        send(Some(token)).await.map_err(|source| unreachable(reference, source))
    }

    /// A request that says who we are, if it goes to the registry itself.
    pub(super) fn request(
        &self,
        http: &reqwest::Client,
        reference: &Reference,
        method: &Method,
        url: &str,
        token: Option<String>,
    ) -> RequestBuilder {
        let request = http.request(method.clone(), url);
        // A redirect to a blob store must not carry the registry's credentials.
        if !url::same_server(url, &self.url(reference, "")) {
            return request;
        }
        match (token, self.credentials.get(&server(&reference.host))) {
            (Some(token), _) => request.bearer_auth(token),
            (None, Some(Credentials::Basic { username, password })) => request.basic_auth(username, Some(password)),
            (None, _) => request,
        }
    }

    /// The token that the repository's last challenge brought.
    pub(super) async fn known_token(&self, reference: &Reference) -> Option<String> {
        self.tokens.lock().await.get(&reference.name()).cloned()
    }

    /// Fetches a token for pulling and pushing (the token scheme that registries share with Docker's).
    pub(super) async fn token(
        &self,
        reference: &Reference,
        fields: &HashMap<String, String>,
    ) -> Result<String, RegistryError> {
        let protocol =
            |problem: &str| RegistryError::Protocol { host: reference.host.clone(), problem: problem.to_owned() };
        let realm = fields.get("realm").ok_or_else(|| protocol("its challenge names no realm"))?;
        // One token for all that a push does in the repository, and for what else the registry asks for, such as the repository
        // that a layer is to be mounted from.
        let own = format!("repository:{}:", reference.repository);
        let mut query = vec![("scope", format!("{own}pull,push"))];
        let asked = fields.get("scope").map(String::as_str).unwrap_or_default();
        query.extend(
            asked.split(' ').filter(|s| !s.is_empty() && !s.starts_with(&own)).map(|s| ("scope", s.to_owned())),
        );
        query.extend(fields.get("service").map(|service| ("service", service.clone())));
        let url =
            reqwest::Url::parse_with_params(realm, &query).map_err(|_| protocol("its realm is not an address"))?;
        if url.scheme() != "https" && !reference.is_loopback() {
            return Err(protocol("it asks for the credentials to be sent without encryption"));
        }
        let mut request = self.http.get(url);
        if let Some(Credentials::Basic { username, password }) = self.credentials.get(&server(&reference.host)) {
            request = request.basic_auth(username, Some(password));
        }
        let response = request.send().await.map_err(|source| unreachable(reference, source))?;
        let response = checked(reference, "a token", response).await?;
        let document = read(reference, "a token", response, TOKEN_LIMIT).await?;
        let document: serde_json::Value =
            serde_json::from_slice(&document).map_err(|_| protocol("its token server does not answer with JSON"))?;
        let token = document["token"].as_str().or(document["access_token"].as_str());
        let token = token.ok_or_else(|| protocol("its token server gave no token"))?.to_owned();
        self.tokens.lock().await.insert(reference.name(), token.clone());
        Ok(token)
    }
}

pub(super) fn unreachable(reference: &Reference, source: reqwest::Error) -> RegistryError {
    RegistryError::Unreachable { host: reference.host.clone(), source }
}

/// How a registry is spoken to.
fn scheme(host: &str) -> &'static str {
    if is_loopback(host) { "http" } else { "https" }
}

/// One spelling of a registry's host and port, of all that mean the same.
fn server(host: &str) -> String {
    let parsed = reqwest::Url::parse(&format!("{}://{host}", scheme(host))).ok();
    let parts = parsed.as_ref().and_then(|url| url.host_str().zip(url.port_or_known_default()));
    parts.map_or_else(|| host.to_owned(), |(host, port)| format!("{host}:{port}"))
}

/// The challenge for a token in an answer to a request to `url`. Only the registry at `base` itself may ask for one.
pub(super) fn challenge(base: &str, url: &str, response: &Response) -> Option<HashMap<String, String>> {
    if response.status() != StatusCode::UNAUTHORIZED || !url::same_server(base, url) {
        return None;
    }
    let challenges = response.headers().get_all(header::WWW_AUTHENTICATE).iter();
    challenges.filter_map(|value| value.to_str().ok()).find_map(bearer_challenge)
}

/// The fields of a challenge of the kind `Bearer realm="...",scope="repository:a:pull,push"`.
fn bearer_challenge(text: &str) -> Option<HashMap<String, String>> {
    let (scheme, mut rest) = text.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let mut fields = HashMap::new();
    while let Some((name, value)) = rest.split_once('=') {
        // A quoted value may hold commas.
        let (value, after) = match value.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => value.split_once(',').unwrap_or((value, "")),
        };
        fields.insert(name.trim_matches([',', ' ']).to_ascii_lowercase(), value.to_owned());
        rest = after;
    }
    Some(fields)
}

/// Turns an answer that is no success into an error with the registry's own words.
pub(crate) async fn checked(reference: &Reference, what: &str, response: Response) -> Result<Response, RegistryError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        return Err(RegistryError::Unauthorized { host: reference.host.clone(), what: what.to_owned() });
    }
    let retry_after = retry_after(response.headers(), SystemTime::now());
    // Without a text the status has to be enough.
    let body = tokio::time::timeout(ERROR_TIME, error_text(response)).await.unwrap_or_default();
    let message = serde_json::from_str::<serde_json::Value>(&body)
        .ok()
        .and_then(|document| document["errors"][0]["message"].as_str().map(str::to_owned))
        .unwrap_or_else(|| body.chars().take(200).collect());
    let (host, what) = (reference.host.clone(), what.to_owned());
    if status == StatusCode::INSUFFICIENT_STORAGE {
        return Err(RegistryError::Full { host, what, message });
    }
    Err(RegistryError::Status { host, status: status.as_u16(), what, message, retry_after })
}

/// The beginning of an error's text.
async fn error_text(mut response: Response) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < ERROR_LIMIT
        && let Ok(Some(piece)) = response.chunk().await
    {
        bytes.extend_from_slice(&piece);
    }
    bytes.truncate(ERROR_LIMIT);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads an answer into memory, `limit` bytes at the most.
pub(super) async fn read(
    reference: &Reference,
    what: &str,
    mut response: Response,
    limit: usize,
) -> Result<Vec<u8>, RegistryError> {
    let mut bytes = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|source| unreachable(reference, source))? {
        if bytes.len() + piece.len() > limit {
            return Err(RegistryError::TooLarge { host: reference.host.clone(), what: what.to_owned(), limit });
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

pub(crate) mod url {
    use reqwest::Url;

    /// Whether both addresses are those of one server: scheme, host and port, however they are written.
    pub(crate) fn same_server(one: &str, other: &str) -> bool {
        match (Url::parse(one), Url::parse(other)) {
            (Ok(one), Ok(other)) => one.origin() == other.origin(),
            _ => false,
        }
    }

    /// A Location as registries give it, relative or absolute, with its query kept.
    pub(crate) fn join(base: &str, location: &str) -> Option<String> {
        Some(Url::parse(base).ok()?.join(location).ok()?.into())
    }

    /// Adds a parameter whose value needs no escaping but the colon.
    pub(crate) fn with(url: &str, name: &str, value: &str) -> String {
        let separator = if url.contains('?') { '&' } else { '?' };
        format!("{url}{separator}{name}={}", value.replace(':', "%3A").replace('/', "%2F"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_the_same_however_it_is_written() {
        for (one, other, same) in [
            ("https://registry.example/v2/a/", "https://registry.example:443/v2/a/blobs/uploads/1?x=y", true),
            ("https://Registry.Example:443/v2/a/", "https://registry.example/", true),
            ("http://LOCALHOST:80/v2/a/", "http://localhost/", true),
            ("http://localhost:5000/v2/a/", "http://localhost/", false),
            ("https://registry.example/v2/a/", "http://registry.example/", false),
            ("https://registry.example/v2/a/", "https://registry.example:444/", false),
            ("https://registry.example/v2/a/", "https://registry.example.evil/", false),
            ("https://registry.example/v2/a/", "https://registry.example@evil/", false),
            ("https://registry.example/v2/a/", "https://evil/registry.example", false),
            ("neither", "neither", false),
        ] {
            assert_eq!(url::same_server(one, other), same, "{one} {other}");
            let base = |text: &str| text.split('/').nth(2).map(server);
            assert!(!same || base(one) == base(other), "credentials: {one} {other}");
        }
    }
}
