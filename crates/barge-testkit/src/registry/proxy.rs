//! A proxy before a registry that makes trouble, of the kinds that networks, proxies and registries have made for others.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::Authority;

/// What goes wrong.
#[derive(Debug, Clone)]
pub enum Trouble {
    /// Another answer than the registry's, which is not asked: its status, and headers.
    Answer(u16, Vec<(&'static str, String)>),
    /// The connection ends before the registry is asked.
    Drop,
    /// The registry does what it was asked, and its answer is lost.
    LoseReply,
    /// The answer begins so much later, and comes in small pieces.
    Slow(Duration),
    /// The answer's body ends with its connection after so many bytes.
    Truncate(usize),
    /// One byte of the answer's body is another one.
    Corrupt,
}

/// Which requests have trouble.
#[derive(Debug, Clone)]
pub struct Fault {
    /// Their method.
    pub method: &'static str,
    /// What their path contains.
    pub contains: &'static str,
    /// So many of them pass before.
    pub after: usize,
    /// So many of them have it.
    pub times: usize,
    /// What goes wrong.
    pub trouble: Trouble,
}

/// A request as the proxy saw it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Method, path and query.
    pub line: String,
    /// Its Authorization, if it had one.
    pub authorization: Option<String>,
}

/// A proxy on a port, until the runtime ends.
#[derive(Debug, Clone)]
pub struct FaultProxy {
    /// Where it is.
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    registry: SocketAddr,
    http: reqwest::Client,
    faults: Mutex<Vec<Fault>>,
    seen: Mutex<Vec<Seen>>,
    /// The largest body that it lets through, in bytes.
    limit: AtomicU64,
}

type Answer = Response<BoxBody<Bytes, io::Error>>;

#[allow(clippy::unwrap_used)] // For tests alone, where a panic is how to fail.
impl FaultProxy {
    /// Stands before the registry at `registry`, which speaks plain HTTP.
    pub async fn before(registry: SocketAddr) -> Self {
        Self::start(registry, None).await
    }

    /// The same, with TLS, of which the registry knows nothing.
    pub async fn with_tls(registry: SocketAddr, authority: &Authority) -> Self {
        let server = authority.server();
        let certificates = CertificateDer::pem_file_iter(&server.certificate).unwrap().map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_file(&server.key).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(certificates, key).unwrap();
        Self::start(registry, Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn start(registry: SocketAddr, tls: Option<TlsAcceptor>) -> Self {
        // reqwest wants one; where another test has set it, that one will do.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let limit = AtomicU64::new(u64::MAX);
        let shared = Arc::new(Shared { registry, http, faults: Mutex::default(), seen: Mutex::default(), limit });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let proxy = Self { address, shared: Arc::clone(&shared) };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (shared, tls) = (Arc::clone(&shared), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, shared).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, shared).await;
                            }
                        }
                    }
                });
            }
        });
        proxy
    }

    /// Its host and port.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Makes trouble from now on.
    pub fn fail(&self, method: &'static str, contains: &'static str, times: usize, trouble: Trouble) {
        self.fail_later(Fault { method, contains, after: 0, times, trouble });
    }

    /// Makes trouble, not with the first of the requests.
    pub fn fail_later(&self, fault: Fault) {
        self.shared.faults.lock().unwrap_or_else(PoisonError::into_inner).push(fault);
    }

    /// Answers 413 to requests with a longer body, in bytes, as a proxy with a limit of its own does.
    pub fn limit(&self, body: u64) {
        self.shared.limit.store(body, Ordering::Relaxed);
    }

    /// What it has seen up to now.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many requests it has seen that begin so.
    pub fn count(&self, begins: &str) -> usize {
        self.seen().iter().filter(|seen| seen.line.starts_with(begins)).count()
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, shared: Arc<Shared>) {
    let service = service_fn(move |request| answer(Arc::clone(&shared), request));
    // Trouble ends connections with an error.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> io::Result<Answer> {
    let line = format!("{} {}", request.method(), request.uri());
    let authorization = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let seen = Seen { line, authorization: authorization.map(str::to_owned) };
    shared.seen.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
    match shared.trouble(&request) {
        Some(Trouble::Answer(status, headers)) => {
            // Read to its end, as most proxies do.
            let _ = request.into_body().collect().await;
            plain(status, headers)
        }
        Some(Trouble::Drop) => Err(broken()),
        Some(Trouble::LoseReply) => {
            let response = shared.pass(request).await?;
            let _ = response.into_body().collect().await;
            Err(broken())
        }
        Some(Trouble::Slow(pause)) => {
            let response = shared.pass(request).await?;
            tokio::time::sleep(pause).await;
            Ok(in_small_pieces(response).await)
        }
        Some(Trouble::Truncate(bytes)) => {
            let (parts, body) = shared.pass(request).await?.into_parts();
            let whole = body.collect().await?.to_bytes();
            let begin = Frame::data(whole.slice(..bytes.min(whole.len())));
            let pieces = stream::iter([Ok(begin), Err(broken())]);
            Ok(Response::from_parts(parts, BodyExt::boxed(StreamBody::new(pieces))))
        }
        Some(Trouble::Corrupt) => {
            let (parts, body) = shared.pass(request).await?.into_parts();
            let mut bytes = body.collect().await?.to_bytes().to_vec();
            if let Some(byte) = bytes.last_mut() {
                *byte ^= 1;
            }
            Ok(Response::from_parts(parts, whole(bytes)))
        }
        None => shared.pass(request).await,
    }
}

impl Shared {
    fn trouble(&self, request: &Request<Incoming>) -> Option<Trouble> {
        if request.body().size_hint().lower() > self.limit.load(Ordering::Relaxed) {
            return Some(Trouble::Answer(413, vec![]));
        }
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        let path = request.uri().to_string();
        let concerns =
            |fault: &&mut Fault| fault.times > 0 && request.method() == fault.method && path.contains(fault.contains);
        let fault = faults.iter_mut().find(concerns)?;
        if fault.after > 0 {
            fault.after -= 1;
            return None;
        }
        fault.times -= 1;
        Some(fault.trouble.clone())
    }

    /// Asks the registry, piece by piece, under the name that the client knows.
    async fn pass(&self, request: Request<Incoming>) -> io::Result<Answer> {
        let (parts, body) = request.into_parts();
        let url = format!("http://{}{}", self.registry, parts.uri);
        let mut headers = parts.headers;
        headers.remove(header::CONNECTION);
        let body = body.into_data_stream();
        let response = self.http.request(parts.method, url).headers(headers).body(reqwest::Body::wrap_stream(body));
        let response = response.send().await.map_err(io::Error::other)?;
        let mut answer = Response::builder().status(response.status());
        for (name, value) in response.headers() {
            if name != header::CONNECTION && name != header::TRANSFER_ENCODING {
                answer = answer.header(name, value);
            }
        }
        let body = response.bytes_stream().map_ok(Frame::data).map_err(io::Error::other);
        answer.body(BodyExt::boxed(StreamBody::new(body))).map_err(io::Error::other)
    }
}

async fn in_small_pieces(response: Answer) -> Answer {
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let size = bytes.len().div_ceil(8).max(1);
    let pieces: Vec<Bytes> = bytes.chunks(size).map(Bytes::copy_from_slice).collect();
    let pieces = stream::iter(pieces).then(|piece| async move {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok(Frame::data(piece))
    });
    Response::from_parts(parts, BodyExt::boxed(StreamBody::new(pieces)))
}

fn plain(status: u16, headers: Vec<(&'static str, String)>) -> io::Result<Answer> {
    let status = StatusCode::from_u16(status).map_err(io::Error::other)?;
    let mut answer = Response::builder().status(status);
    for (name, value) in headers {
        answer = answer.header(name, value);
    }
    answer.body(whole(b"not now".to_vec())).map_err(io::Error::other)
}

fn whole(bytes: Vec<u8>) -> BoxBody<Bytes, io::Error> {
    Full::new(Bytes::from(bytes)).map_err(|never| match never {}).boxed()
}

fn broken() -> io::Error {
    io::Error::from(io::ErrorKind::ConnectionReset)
}
