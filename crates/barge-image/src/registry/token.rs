//! Tokens: a registry that wants one names its token server in a challenge, and the server gives it to whoever may have it (the scheme
//! that registries share with Docker's: "Token Authentication Specification", and its OAuth 2 variant).

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::{Response, StatusCode, Url, header};

use super::client::{Client, checked, read, unreachable};
use super::{Credentials, Reference, RegistryError};

/// The largest answer of a token server that is read, in bytes.
const ANSWER_LIMIT: usize = 1024 * 1024;
/// What we call ourselves to token servers.
const CLIENT: &str = "barge";

/// What a registry asks for before it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// A token, from a server that the fields name.
    Bearer(HashMap<String, String>),
    /// Name and password.
    Basic,
}

impl Challenge {
    /// What an answer asks for; a token where there is a choice.
    pub(super) fn of(response: &Response) -> Option<Self> {
        if response.status() != StatusCode::UNAUTHORIZED {
            return None;
        }
        let values = response.headers().get_all(header::WWW_AUTHENTICATE).iter();
        let texts: Vec<&str> = values.filter_map(|value| value.to_str().ok()).collect();
        let bearer = texts.iter().find_map(|text| bearer(text)).map(Challenge::Bearer);
        // Some that want name and password do not say so.
        Some(bearer.unwrap_or(Challenge::Basic))
    }
}

/// The fields of the part `Bearer realm="...",scope="repository:a:pull,push"`.
fn bearer(text: &str) -> Option<HashMap<String, String>> {
    // Several challenges may be in one header, and a quoted value may hold anything.
    let begins = outside_quotes(text).find(|(at, _)| {
        let word = text.get(*at..at + 7).is_some_and(|word| word.eq_ignore_ascii_case("bearer "));
        word && (*at == 0 || text[..*at].ends_with([' ', ',']))
    })?;
    let mut rest = &text[begins.0 + 7..];
    let mut fields = HashMap::new();
    while let Some((name, value)) = rest.split_once('=') {
        let (value, after) = match value.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => value.split_once(',').unwrap_or((value, "")),
        };
        let name = name.trim_matches([',', ' ']).to_ascii_lowercase();
        // The next challenge begins.
        if name.contains(' ') {
            break;
        }
        fields.insert(name, value.to_owned());
        rest = after;
    }
    Some(fields)
}

fn outside_quotes(text: &str) -> impl Iterator<Item = (usize, char)> {
    let mut quoted = false;
    text.char_indices().filter(move |(_, letter)| {
        quoted ^= *letter == '"';
        !quoted
    })
}

/// The tokens for repositories, each with a lock of its own: who needs one while it is being fetched waits for it.
#[derive(Debug, Clone, Default)]
pub(super) struct Tokens(Arc<Mutex<HashMap<String, Arc<tokio::sync::Mutex<Slot>>>>>);

#[derive(Debug, Default)]
struct Slot {
    token: Option<Token>,
    /// What the registry has asked for beside the repository itself, such as that which a layer is mounted from.
    scopes: BTreeSet<String>,
}

struct Token {
    value: String,
    /// It is not used any more from here on; unknown where the server does not say it.
    ends: Option<Instant>,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Token(..., ends: {:?})", self.ends)
    }
}

impl Slot {
    fn valid(&self) -> Option<&str> {
        let token = self.token.as_ref()?;
        token.ends.is_none_or(|ends| Instant::now() < ends).then_some(token.value.as_str())
    }
}

impl Tokens {
    fn slot(&self, reference: &Reference) -> Arc<tokio::sync::Mutex<Slot>> {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry(reference.name()).or_default())
    }

    /// The token of a repository, if there is one that has not ended.
    pub(super) async fn known(&self, reference: &Reference) -> Option<String> {
        self.slot(reference).lock().await.valid().map(str::to_owned)
    }
}

impl Client {
    /// A token that the challenge asks for, and whether it was fetched for this request; `refused` is the one that was not enough, if
    /// there was one.
    pub(super) async fn token(
        &self,
        reference: &Reference,
        fields: &HashMap<String, String>,
        refused: Option<&str>,
    ) -> Result<(String, bool), RegistryError> {
        let slot = self.tokens.slot(reference);
        let mut slot = slot.lock().await;
        let own = format!("repository:{}:", reference.repository);
        let asked = fields.get("scope").map(String::as_str).unwrap_or_default();
        let asked: Vec<String> = asked.split(' ').filter(|scope| !scope.is_empty()).map(str::to_owned).collect();
        let before = slot.scopes.clone();
        slot.scopes.extend(asked.iter().filter(|scope| !scope.starts_with(&own)).cloned());
        // Another request of the same push was faster.
        if slot.scopes == before
            && let Some(token) = slot.valid().filter(|token| Some(*token) != refused)
        {
            return Ok((token.to_owned(), false));
        }
        // One token for all that a push does in the repository.
        let own = (!reference.repository.is_empty()).then(|| format!("{own}pull,push"));
        let scopes: Vec<String> = own.into_iter().chain(slot.scopes.iter().cloned()).collect();
        let mut fetched = self.fetch_token(reference, fields, &scopes).await;
        if let Err(RegistryError::Unauthorized { .. }) = fetched {
            // Some token servers give nothing to whoever asks for more than they may have, such as to push where all may only pull. What
            // was refused is not asked for again, and no more than the challenge names.
            slot.scopes = before;
            if !asked.is_empty() && scopes.iter().any(|scope| !asked.contains(scope)) {
                fetched = self.fetch_token(reference, fields, &asked).await;
            }
        }
        let token = fetched?;
        let value = token.value.clone();
        slot.token = Some(token);
        Ok((value, true))
    }

    async fn fetch_token(
        &self,
        reference: &Reference,
        fields: &HashMap<String, String>,
        scopes: &[String],
    ) -> Result<Token, RegistryError> {
        let protocol =
            |problem: &str| RegistryError::Protocol { host: reference.host.clone(), problem: problem.to_owned() };
        let realm = fields.get("realm").ok_or_else(|| protocol("its challenge names no realm"))?;
        let mut url = Url::parse(realm).map_err(|_| protocol("its realm is not an address"))?;
        let credentials = self.credentials(reference).await?;
        self.check_realm(reference, &url, &credentials)?;
        let http = self.transport.pair(&url)?.questions;
        let service = fields.get("service");
        let request = match &credentials {
            Credentials::Identity { token } => {
                let scope = scopes.join(" ");
                let mut form = vec![("grant_type", "refresh_token"), ("client_id", CLIENT), ("refresh_token", token)];
                form.extend(service.map(|service| ("service", service.as_str())));
                form.push(("scope", &scope));
                http.post(url).form(&form)
            }
            credentials => {
                url.query_pairs_mut()
                    .extend_pairs(scopes.iter().map(|scope| ("scope", scope)))
                    .extend_pairs(service.map(|service| ("service", service)));
                let request = http.get(url);
                match credentials {
                    Credentials::Basic { username, password } => request.basic_auth(username, Some(password)),
                    _ => request,
                }
            }
        };
        let asked = Instant::now();
        let response = request.send().await.map_err(|source| unreachable(reference, source))?;
        let response = checked(reference, "a token", response).await?;
        let document = read(reference, "a token", response, ANSWER_LIMIT).await?;
        let document: serde_json::Value =
            serde_json::from_slice(&document).map_err(|_| protocol("its token server does not answer with JSON"))?;
        let token = document["token"].as_str().or(document["access_token"].as_str());
        let value = token.ok_or_else(|| protocol("its token server gave no token"))?.to_owned();
        // Not used to its last second: a request has to get there with it, and clocks differ.
        let ends =
            document["expires_in"].as_u64().map(|seconds| asked + Duration::from_secs(seconds.min(86_400)) * 9 / 10);
        Ok(Token { value, ends })
    }

    /// A token server must not be told credentials that others can read on the way.
    fn check_realm(&self, reference: &Reference, url: &Url, who: &Credentials) -> Result<(), RegistryError> {
        if url.scheme() == "https" {
            return Ok(());
        }
        let realm = super::transport::authority(url);
        let anonymous = *who == Credentials::Anonymous;
        let open = |host: &str| {
            self.origin(host).starts_with("http://") && (anonymous || self.registries.credentials_over_http(host))
        };
        // A registry that is spoken to openly, with credentials, has a token server of the same kind. One on this machine is only since
        // nobody is on the way to it, which says nothing of another machine.
        let alike = open(&reference.host) && (anonymous || !reference.is_loopback());
        if url.scheme() == "http" && (open(&realm) || alike) {
            return Ok(());
        }
        Err(RegistryError::Plain { host: realm })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_understood_however_it_is_written() {
        let fields = |text: &str| {
            let mut fields: Vec<_> = bearer(text)?.into_iter().collect();
            fields.sort();
            Some(fields.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>())
        };
        let expected = ["realm=https://a/t?x=1,2", "scope=repository:a:pull,push", "service=s"];
        for text in [
            "Bearer realm=\"https://a/t?x=1,2\",service=\"s\",scope=\"repository:a:pull,push\"",
            "bearer  realm=\"https://a/t?x=1,2\", service=s, SCOPE=\"repository:a:pull,push\"",
            "Basic realm=\"a Bearer b\", Bearer realm=\"https://a/t?x=1,2\",service=s,scope=\"repository:a:pull,push\"",
            "Bearer realm=\"https://a/t?x=1,2\",service=s,scope=\"repository:a:pull,push\", Basic realm=\"x\"",
        ] {
            assert_eq!(fields(text).unwrap(), expected, "{text}");
        }
        for text in ["Basic realm=\"Bearer realm=x\"", "", "Bearer", "Bearer realm=\"open"] {
            assert_eq!(fields(text), None, "{text}");
        }
    }

    #[test]
    fn a_token_is_not_used_after_its_end() {
        let token = |ends| Slot { token: Some(Token { value: "t".to_owned(), ends }), scopes: BTreeSet::new() };
        assert_eq!(token(None).valid(), Some("t"));
        assert_eq!(token(Some(Instant::now() + Duration::from_secs(60))).valid(), Some("t"));
        assert_eq!(token(Some(Instant::now())).valid(), None);
        assert!(!format!("{:?}", token(None)).contains("\"t\""));
    }
}
