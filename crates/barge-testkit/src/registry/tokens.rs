//! A token server for docker-registry: it gives signed tokens (JWT, ES256) to whoever has the name and the password, or an identity
//! token.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{Authority, PASSWORD, USER};

const ISSUER: &str = "a test";
const SERVICE: &str = "the registry";

/// What a token server was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRequest {
    /// The HTTP method.
    pub method: String,
    /// The fields of the query or the form; several of one name are joined by spaces.
    pub fields: BTreeMap<String, String>,
    /// Whether it got a token.
    pub granted: bool,
}

/// A token server on a port, until the runtime ends.
#[derive(Debug, Clone)]
pub struct TokenServer {
    address: SocketAddr,
    authority: Arc<Authority>,
    asked: Arc<Mutex<Vec<TokenRequest>>>,
}

struct Giver {
    signer: EcdsaKeyPair,
    chain: String,
    identity: Option<String>,
    /// How long it says that tokens hold, in seconds. The registry itself is told of an hour.
    said: Option<u64>,
    asked: Arc<Mutex<Vec<TokenRequest>>>,
}

#[allow(clippy::unwrap_used)] // For tests alone, where a panic is how to fail.
impl TokenServer {
    /// Starts one that gives tokens for the name and the password, and for `identity`, and says that they hold for `said` seconds.
    pub async fn start(identity: Option<&str>, said: Option<u64>) -> Self {
        let authority = Arc::new(Authority::new());
        let signed = authority.server();
        let random = ring::rand::SystemRandom::new();
        let key = signed.key_pair.serialize_der();
        let signer = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &key, &random).unwrap();
        let asked: Arc<Mutex<Vec<TokenRequest>>> = Arc::default();
        let giver = Arc::new(Giver {
            signer,
            chain: STANDARD.encode(&signed.der),
            identity: identity.map(str::to_owned),
            said,
            asked: Arc::clone(&asked),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let giver = Arc::clone(&giver);
                let service = service_fn(move |request| answer(Arc::clone(&giver), request));
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        Self { address, authority, asked }
    }

    /// What it was asked up to now.
    pub fn asked(&self) -> Vec<TokenRequest> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What a registry has to know of it.
    pub(super) fn configuration(&self) -> Value {
        let realm = format!("http://{}/token", self.address);
        json!({ "realm": realm, "service": SERVICE, "issuer": ISSUER, "rootcertbundle": self.authority.file() })
    }
}

#[allow(clippy::unwrap_used)] // As above.
async fn answer(giver: Arc<Giver>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let method = request.method().to_string();
    let basic = format!("Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}")));
    let known = request.headers().get("authorization").is_some_and(|value| value == basic.as_str());
    let query = request.uri().query().unwrap_or_default().to_owned();
    let body = request.into_body().collect().await?.to_bytes();
    let text = if method == "POST" { String::from_utf8_lossy(&body).into_owned() } else { query };
    let mut fields: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in reqwest::Url::parse(&format!("http://x/?{text}")).unwrap().query_pairs() {
        let field = fields.entry(name.into_owned()).or_default();
        *field = format!("{field} {value}").trim().to_owned();
    }
    let by_identity = giver.identity.as_ref().is_some_and(|token| fields.get("refresh_token") == Some(token));
    let granted = if method == "POST" { by_identity } else { known };
    let scope = fields.get("scope").cloned().unwrap_or_default();
    let request = TokenRequest { method, fields, granted };
    giver.asked.lock().unwrap_or_else(PoisonError::into_inner).push(request);
    let (status, document) = if granted {
        let mut document = json!({ "token": giver.token(&scope), "access_token": giver.token(&scope) });
        if let Some(said) = giver.said {
            document["expires_in"] = json!(said);
        }
        (StatusCode::OK, document)
    } else {
        (StatusCode::UNAUTHORIZED, json!({ "errors": [{ "code": "UNAUTHORIZED", "message": "nobody knows you" }] }))
    };
    let mut response = Response::new(Full::new(Bytes::from(document.to_string())));
    *response.status_mut() = status;
    Ok(response)
}

impl Giver {
    /// A token for all that the scope asks for.
    #[allow(clippy::unwrap_used)] // As above.
    fn token(&self, scope: &str) -> String {
        let access = scope.split(' ').filter_map(|part| {
            let (kind, rest) = part.split_once(':')?;
            let (name, actions) = rest.rsplit_once(':')?;
            Some(json!({ "type": kind, "name": name, "actions": actions.split(',').collect::<Vec<_>>() }))
        });
        let access: Vec<Value> = access.collect();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let (seconds, unique) = (now.as_secs(), now.as_nanos().to_string());
        let header = json!({ "typ": "JWT", "alg": "ES256", "x5c": [self.chain] });
        let claims = json!({
            "iss": ISSUER, "sub": USER, "aud": SERVICE, "jti": unique,
            "iat": seconds, "nbf": seconds - 10, "exp": seconds + 3600, "access": access,
        });
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", encode(&header), encode(&claims));
        let signature = self.signer.sign(&ring::rand::SystemRandom::new(), text.as_bytes()).unwrap();
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }
}
