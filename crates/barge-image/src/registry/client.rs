//! Requests to a registry: its address, who we are, redirects, retries.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use reqwest::{Method, RequestBuilder, Response, StatusCode, Url, header};

use super::address;
use super::config::{Registries, Settings};
use super::credentials::{Authorization, Credentials};
use super::keychain::Keychain;
use super::reference::canonical;
use super::retry::{Retries, passing, retry_after};
use super::token::{Challenge, Tokens};
use super::transport::Transport;
use super::whereabouts::Whereabouts;
use super::{Reference, RegistryError};

/// As much of an error's text is read, in bytes, and for so long.
const ERROR_LIMIT: usize = 64 * 1024;
const ERROR_TIME: Duration = Duration::from_secs(10);
/// So many redirects are followed.
const REDIRECTS: u32 = 5;

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
    pub(super) transport: Transport,
    pub(super) registries: Registries,
    pub(super) limits: Limits,
    pub(super) tokens: Tokens,
    pub(super) whereabouts: Whereabouts,
    /// By host and port as `canonical` spells them.
    credentials: Arc<HashMap<String, Credentials>>,
    keychain: Keychain,
    /// What was learned of hosts while they were asked.
    learned: Arc<Mutex<Learned>>,
}

/// What was learned of hosts while they were asked.
#[derive(Debug, Default)]
struct Learned {
    /// Names of repositories whose registry wants name and password with each request.
    basic: HashSet<String>,
    /// Mirrors that are not asked any more.
    useless: HashSet<String>,
    /// The largest piece that a host takes, in bytes, where it does not take blobs whole.
    pieces: HashMap<String, u64>,
}

/// A request that may be sent more than once, as somebody else each time.
pub(super) struct Attempt {
    /// It goes to the registry itself.
    home: bool,
    who: Option<Authorization>,
    /// Nothing better can come.
    last: bool,
}

impl Attempt {
    /// Adds who we are.
    pub(super) fn say(&self, request: RequestBuilder) -> RequestBuilder {
        self.who.iter().fold(request, |request, who| who.add(request))
    }
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
        Ok(Self::with_settings(Settings { credentials, limits, ..Settings::default() }))
    }

    /// A client that knows what `settings` say.
    pub fn with_settings(settings: Settings) -> Self {
        let Settings { credentials, keychain, registries, certificates, whereabouts, limits } = settings;
        Self {
            transport: Transport::new(registries.clone(), certificates, limits),
            credentials: Arc::new(credentials.into_iter().map(|(host, known)| (canonical(&host), known)).collect()),
            registries,
            limits,
            tokens: Tokens::default(),
            whereabouts,
            keychain,
            learned: Arc::default(),
        }
    }

    /// The beginning of all addresses of a registry.
    pub(super) fn origin(&self, host: &str) -> String {
        self.transport.origin(host)
    }

    /// The address of `path` in the reference's repository.
    pub(crate) fn url(&self, reference: &Reference, path: &str) -> String {
        format!("{}/v2/{}/{path}", self.origin(&reference.host), reference.repository)
    }

    /// Sends what `prepare` makes, as often as it is worth it; what the registry asks for is given once for each try.
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

    /// One try. A question may be answered with another address; it is asked there, without credentials if that is another server.
    pub(crate) async fn send_once(
        &self,
        reference: &Reference,
        method: &Method,
        url: &str,
        prepare: &impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, RegistryError> {
        let mut url = url.to_owned();
        for _ in 0..=REDIRECTS {
            let http = self.transport.pair(&self.allowed(reference, &url)?)?.questions;
            let mut attempt = self.attempt(reference, &url).await?;
            let response = loop {
                let request = attempt.say(prepare(http.request(method.clone(), &url)));
                let response = request.send().await.map_err(|source| unreachable(reference, source))?;
                if !self.goes_on(reference, &mut attempt, &response).await? {
                    break response;
                }
            };
            let moved = response.status().is_redirection() && [Method::GET, Method::HEAD].contains(method);
            let Some(next) = location(&url, &response).filter(|_| moved) else { return Ok(response) };
            url = next;
        }
        Err(RegistryError::Protocol {
            host: reference.host.clone(),
            problem: format!("it sent us to other addresses more than {REDIRECTS} times"),
        })
    }

    /// The address, if it may be asked.
    pub(super) fn allowed(&self, reference: &Reference, url: &str) -> Result<Url, RegistryError> {
        let parsed = Url::parse(url).map_err(|_| RegistryError::Protocol {
            host: reference.host.clone(),
            problem: format!("it names an address that is none: {}", url.chars().take(100).collect::<String>()),
        })?;
        if self.transport.allows(&parsed) {
            return Ok(parsed);
        }
        Err(RegistryError::Open { host: reference.host.clone(), other: super::transport::authority(&parsed) })
    }

    /// Begins a request to `url`: as whoever we are to the registry, if that is where it goes. Other servers, such as a blob store, are
    /// told nothing of it.
    pub(super) async fn attempt(&self, reference: &Reference, url: &str) -> Result<Attempt, RegistryError> {
        let home = address::same_server(url, &self.url(reference, ""));
        let who = if home { self.authorization(reference).await? } else { None };
        Ok(Attempt { home, who, last: !home })
    }

    /// Whether a request is to be sent once more, since the registry asks for something else than it was told, and we have it.
    pub(super) async fn goes_on(
        &self,
        reference: &Reference,
        attempt: &mut Attempt,
        response: &Response,
    ) -> Result<bool, RegistryError> {
        let Some(challenge) = Challenge::of(response).filter(|_| attempt.home && !attempt.last) else {
            return Ok(false);
        };
        let (better, last) = self.better(reference, challenge, attempt.who.as_ref()).await?;
        if better.is_none() || better == attempt.who {
            return Ok(false);
        }
        *attempt = Attempt { who: better, last, ..*attempt };
        Ok(true)
    }

    /// What a challenge asks for, where we have it, and whether nothing better can come after it: a token that another request of the same
    /// push has got meanwhile may have ended as well.
    async fn better(
        &self,
        reference: &Reference,
        challenge: Challenge,
        refused: Option<&Authorization>,
    ) -> Result<(Option<Authorization>, bool), RegistryError> {
        match challenge {
            Challenge::Bearer(fields) => {
                let refused = match refused {
                    Some(Authorization::Bearer(token)) => Some(token.as_str()),
                    _ => None,
                };
                let (token, fresh) = self.token(reference, &fields, refused).await?;
                Ok((Some(Authorization::Bearer(token)), fresh))
            }
            Challenge::Basic => {
                self.learned().basic.insert(reference.name());
                Ok((self.password(reference).await?, true))
            }
        }
    }

    /// What a request says without being asked.
    async fn authorization(&self, reference: &Reference) -> Result<Option<Authorization>, RegistryError> {
        if let Some(token) = self.tokens.known(reference).await {
            return Ok(Some(Authorization::Bearer(token)));
        }
        let asked = self.learned().basic.contains(&reference.name());
        let told = self.credentials.contains_key(&canonical(&reference.host));
        // Where credentials must not be sent openly, the registry may still answer without them.
        if asked || (told && self.may_tell(&reference.host)) { self.password(reference).await } else { Ok(None) }
    }

    /// Name and password, if we have some for the registry.
    async fn password(&self, reference: &Reference) -> Result<Option<Authorization>, RegistryError> {
        let Credentials::Basic { username, password } = self.credentials(reference).await? else { return Ok(None) };
        if !self.may_tell(&reference.host) {
            return Err(RegistryError::Plain { host: reference.host.clone() });
        }
        Ok(Some(Authorization::Basic { username, password }))
    }

    /// Whether credentials may be sent to a host.
    fn may_tell(&self, host: &str) -> bool {
        self.origin(host).starts_with("https://") || self.registries.credentials_over_http(host)
    }

    /// Who we are to the reference's registry.
    pub(super) async fn credentials(&self, reference: &Reference) -> Result<Credentials, RegistryError> {
        match self.credentials.get(&canonical(&reference.host)) {
            Some(known) => Ok(known.clone()),
            None => self
                .keychain
                .find(reference)
                .await
                .map_err(|source| RegistryError::Keychain { host: reference.host.clone(), source: Box::new(source) }),
        }
    }

    fn learned(&self) -> std::sync::MutexGuard<'_, Learned> {
        self.learned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a mirror is still worth a question.
    pub(super) fn is_useful(&self, mirror: &Reference) -> bool {
        !self.learned().useless.contains(&mirror.host)
    }

    /// A mirror that cannot be reached is not asked again by this client: each question would cost as long as the first.
    pub(super) fn give_up(&self, mirror: &Reference) {
        self.learned().useless.insert(mirror.host.clone());
    }

    /// The largest piece that a registry takes, in bytes, where it is known that it does not take blobs whole.
    pub(super) fn piece(&self, host: &str) -> Option<u64> {
        self.learned().pieces.get(host).copied()
    }

    /// Remembers it. Of pushes side by side the one that learned the smaller size is right.
    pub(super) fn learn_piece(&self, host: &str, bytes: u64) {
        self.learned().pieces.entry(host.to_owned()).and_modify(|known| *known = bytes.min(*known)).or_insert(bytes);
    }
}

/// The address that an answer names, relative or not.
pub(super) fn location(url: &str, response: &Response) -> Option<String> {
    let location = response.headers().get(header::LOCATION)?.to_str().ok()?;
    address::join(url, location)
}

pub(super) fn unreachable(reference: &Reference, source: reqwest::Error) -> RegistryError {
    RegistryError::Unreachable { host: reference.host.clone(), source }
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
            return Err(too_large(reference, what, limit as u64));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

pub(super) fn too_large(reference: &Reference, what: &str, limit: u64) -> RegistryError {
    RegistryError::TooLarge { host: reference.host.clone(), what: what.to_owned(), limit }
}
