//! Keeps web pages of other sites away from a server on loopback (DNS rebinding, cross-site requests).

use axum::extract::Request;
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::problem::ServerError;

/// Lets a request pass whose Host is a loopback name, and whose Origin, where it has one, is that same host.
pub(crate) async fn check_host(request: Request, next: Next) -> Response {
    let host = host_of(&request);
    match judge(host.as_deref(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(why) => ServerError::Forbidden(why.to_owned()).into_response(),
    }
}

fn host_of(request: &Request) -> Option<String> {
    let header = request.headers().get(header::HOST).and_then(|value| value.to_str().ok());
    header.or_else(|| request.uri().authority().map(axum::http::uri::Authority::as_str)).map(str::to_owned)
}

fn judge(host: Option<&str>, headers: &HeaderMap) -> Result<(), &'static str> {
    let host = host.ok_or("the request names no host")?;
    if !barge_model::host::is_loopback(host) {
        return Err("this server answers only under a loopback name, such as 127.0.0.1 or localhost");
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let same = origin.to_str().ok().and_then(|origin| origin.split_once("://")).is_some_and(|(_, from)| from == host);
    if same { Ok(()) } else { Err("requests from web pages of other sites are not taken") }
}
