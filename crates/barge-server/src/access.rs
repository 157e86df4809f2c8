//! Who may do what: tokens in memory, looked up by hash, and the roles of those who call.
//!
//! All tokens are kept in memory beside the database, so that a question of access never waits for it.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use barge_api::{NewToken, TokenCreated, TokenRole, TokenView};
use barge_model::{ServiceKey, Timestamp};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use rand::Rng;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use crate::App;
use crate::problem::ServerError;
use crate::store::{Store, StoreError, StoredToken};

/// The tokens of a server, shared with its registry.
#[derive(Debug, Clone, Default)]
pub struct Tokens {
    by_hash: Arc<RwLock<HashMap<String, Known>>>,
    /// Grows with every revocation.
    revocations: Arc<watch::Sender<u64>>,
}

/// A valid token.
#[derive(Debug, Clone)]
struct Known {
    view: TokenView,
    /// It belongs to a part of the same program: nobody sees it, nobody revokes it.
    internal: bool,
}

impl Tokens {
    pub(crate) async fn load(store: &Store) -> Result<Self, StoreError> {
        let tokens = Self::default();
        for StoredToken { view, hash } in store.tokens().await? {
            if view.revoked_at.is_none() {
                tokens.write().insert(hash, Known { view, internal: false });
            }
        }
        Ok(tokens)
    }

    /// The token with this secret, if it is valid.
    pub fn find(&self, secret: &str) -> Option<TokenView> {
        self.read().get(&hash(secret)).map(|known| known.view.clone())
    }

    /// The token of a request: as bearer token, or as the password of basic authentication, which registries' clients use.
    pub fn of_request(&self, headers: &HeaderMap) -> Option<TokenView> {
        let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let (scheme, credentials) = value.split_once(' ')?;
        if scheme.eq_ignore_ascii_case("bearer") {
            return self.find(credentials.trim());
        }
        if scheme.eq_ignore_ascii_case("basic") {
            let (_, password) = basic(credentials.trim())?;
            return self.find(&password);
        }
        None
    }

    /// Adds a token that lives in memory alone, for a part of the same program.
    pub fn add_internal(&self, secret: &str, name: &str, role: TokenRole) {
        let view = TokenView {
            id: name.to_owned(),
            name: name.to_owned(),
            role,
            service: None,
            environment: None,
            created_at: crate::now(),
            revoked_at: None,
        };
        self.write().insert(hash(secret), Known { view, internal: true });
    }

    pub(crate) async fn create(
        &self,
        store: &Store,
        new: &NewToken,
        actor: &str,
        now: Timestamp,
    ) -> Result<TokenCreated, StoreError> {
        let secret = new_secret();
        let hash = hash(&secret);
        let token = store.add_token(new, &hash, actor, now).await?;
        self.write().insert(hash, Known { view: token.clone(), internal: false });
        Ok(TokenCreated { token, secret })
    }

    /// Revokes a token; false when there is no valid one with that id.
    pub(crate) async fn revoke(
        &self,
        store: &Store,
        id: &str,
        actor: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        // Out of memory first: a database that fails must not keep a token valid.
        self.write().retain(|_, known| known.internal || known.view.id != id);
        self.revocations.send_modify(|revision| *revision += 1);
        store.revoke_token(id, actor, now).await
    }

    /// Waits until the token with this id is not valid any more.
    pub(crate) async fn until_revoked(&self, id: &str) {
        let mut revocations = self.revocations.subscribe();
        while self.read().values().any(|known| known.view.id == id) {
            if revocations.changed().await.is_err() {
                return;
            }
        }
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, HashMap<String, Known>> {
        self.by_hash.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, HashMap<String, Known>> {
        self.by_hash.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A secret of 256 random bits that says what it is, so that scanners for leaked secrets find it.
pub fn new_secret() -> String {
    let bytes: [u8; 32] = rand::rng().random();
    format!("barge_{}", hex(&bytes))
}

fn hash(secret: &str) -> String {
    hex(&Sha256::digest(secret.as_bytes()))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// User and password of basic authentication (RFC 7617).
fn basic(credentials: &str) -> Option<(String, String)> {
    let text = String::from_utf8(BASE64.decode(credentials).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// Whoever calls, with a valid token.
#[derive(Debug, Clone)]
pub(crate) struct Caller(pub(crate) TokenView);

impl Caller {
    /// Whether the caller may do what `role` may, with a service.
    pub(crate) fn may(&self, role: TokenRole, key: &ServiceKey) -> bool {
        self.0.role >= role
            && self.0.environment.as_ref().is_none_or(|only| *only == key.environment)
            && self.0.service.as_ref().is_none_or(|only| *only == key.service)
    }

    /// # Errors
    /// The caller may not.
    pub(crate) fn require(&self, role: TokenRole, key: &ServiceKey) -> Result<(), ServerError> {
        if self.may(role, key) { Ok(()) } else { Err(self.forbidden(role, &key.to_string())) }
    }

    /// Whether the caller may do what concerns the whole server.
    ///
    /// # Errors
    /// The caller may not.
    pub(crate) fn require_everywhere(&self, role: TokenRole) -> Result<(), ServerError> {
        let scoped = self.0.environment.is_some() || self.0.service.is_some();
        if self.0.role >= role && !scoped { Ok(()) } else { Err(self.forbidden(role, "this server")) }
    }

    fn forbidden(&self, role: TokenRole, what: &str) -> ServerError {
        let role = format!("{role:?}").to_lowercase();
        ServerError::Forbidden(format!("the token {:?} may not act as {role} on {what}", self.0.name))
    }
}

impl FromRequestParts<App> for Caller {
    type Rejection = ServerError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ServerError> {
        app.tokens.of_request(&parts.headers).map(Caller).ok_or(ServerError::Unauthenticated)
    }
}
