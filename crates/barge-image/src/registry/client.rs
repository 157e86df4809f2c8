//! Requests to a registry: base address, credentials, tokens, retries.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response, StatusCode, header};
use tokio::sync::Mutex;

use super::{Reference, RegistryError, passing};

/// How often a request is tried that may succeed later.
pub(crate) const TRIES: u32 = 3;

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

/// A client for registries. Credentials belong to one host and are sent to no other.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    credentials: Arc<HashMap<String, Credentials>>,
    tokens: Arc<Mutex<HashMap<String, String>>>,
}

impl Client {
    /// A client with credentials by host.
    ///
    /// # Errors
    /// The HTTP client cannot be set up.
    pub fn new(credentials: HashMap<String, Credentials>) -> Result<Self, RegistryError> {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // reqwest panics without one. Where another thread has just set one, that one will do.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let http = reqwest::Client::builder()
            .user_agent(concat!("barge/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(10))
            .read_timeout(Duration::from_secs(60))
            .build()
            .map_err(RegistryError::Setup)?;
        Ok(Self { http, credentials: Arc::new(credentials), tokens: Arc::default() })
    }

    /// The address of `path` in the reference's repository.
    pub(crate) fn url(&self, reference: &Reference, path: &str) -> String {
        let scheme = if reference.is_loopback() { "http" } else { "https" };
        format!("{scheme}://{}/v2/{}/{path}", reference.host, reference.repository)
    }

    /// Sends what `prepare` makes, as often as it is worth it; a challenge for a token is met once.
    pub(crate) async fn send(
        &self,
        reference: &Reference,
        method: Method,
        url: &str,
        prepare: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, RegistryError> {
        let mut pause = Duration::from_millis(200);
        let mut tries = 0;
        loop {
            tries += 1;
            let result = self.send_once(reference, &method, url, &prepare).await;
            let again = match &result {
                Err(error) => error.passing(),
                Ok(response) => passing(response.status().as_u16()),
            };
            if !again || tries == TRIES {
                return result;
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }

    pub(crate) async fn send_once(
        &self,
        reference: &Reference,
        method: &Method,
        url: &str,
        prepare: &impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, RegistryError> {
        let unreachable = |source| RegistryError::Unreachable { host: reference.host.clone(), source };
        let own_host = url::host_of(url) == Some(reference.host.as_str());
        let send = |token: Option<String>| {
            let mut request = prepare(self.http.request(method.clone(), url));
            match (token, self.credentials.get(&reference.host)) {
                // A redirect to a blob store must not carry the registry's credentials.
                _ if !own_host => {}
                (Some(token), _) => request = request.bearer_auth(token),
                (None, Some(Credentials::Basic { username, password })) => {
                    request = request.basic_auth(username, Some(password));
                }
                (None, _) => {}
            }
            request.send()
        };
        let known = self.tokens.lock().await.get(&reference.name()).cloned();
        let response = send(known).await.map_err(unreachable)?;
        if response.status() != StatusCode::UNAUTHORIZED || !own_host {
            return Ok(response);
        }
        let challenges = response.headers().get_all(header::WWW_AUTHENTICATE).iter();
        match challenges.filter_map(|value| value.to_str().ok()).find_map(bearer_challenge) {
            Some(challenge) => {
                let token = self.token(reference, &challenge).await?;
                send(Some(token)).await.map_err(unreachable)
            }
            None => Ok(response),
        }
    }

    /// Fetches a token for pulling and pushing (the token scheme that registries share with Docker's).
    async fn token(&self, reference: &Reference, fields: &HashMap<String, String>) -> Result<String, RegistryError> {
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
        if let Some(Credentials::Basic { username, password }) = self.credentials.get(&reference.host) {
            request = request.basic_auth(username, Some(password));
        }
        let unreachable = |source| RegistryError::Unreachable { host: reference.host.clone(), source };
        let response = request.send().await.map_err(unreachable)?;
        let document: serde_json::Value =
            checked(reference, "a token", response).await?.json().await.map_err(unreachable)?;
        let token = document["token"].as_str().or(document["access_token"].as_str());
        let token = token.ok_or_else(|| protocol("its token server gave no token"))?.to_owned();
        self.tokens.lock().await.insert(reference.name(), token.clone());
        Ok(token)
    }
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
    let body = response.text().await.unwrap_or_default();
    let message = serde_json::from_str::<serde_json::Value>(&body)
        .ok()
        .and_then(|document| document["errors"][0]["message"].as_str().map(str::to_owned))
        .unwrap_or_else(|| body.chars().take(200).collect());
    Err(RegistryError::Status { host: reference.host.clone(), status: status.as_u16(), what: what.to_owned(), message })
}

pub(crate) mod url {
    /// Host and port of an address.
    pub(crate) fn host_of(url: &str) -> Option<&str> {
        url.split_once("://")?.1.split(['/', '?']).next()
    }

    /// A Location as registries give it, relative or absolute, with its query kept.
    pub(crate) fn join(base: &str, location: &str) -> Option<String> {
        Some(reqwest::Url::parse(base).ok()?.join(location).ok()?.into())
    }

    /// Adds a parameter whose value needs no escaping but the colon.
    pub(crate) fn with(url: &str, name: &str, value: &str) -> String {
        let separator = if url.contains('?') { '&' } else { '?' };
        format!("{url}{separator}{name}={}", value.replace(':', "%3A").replace('/', "%2F"))
    }
}
