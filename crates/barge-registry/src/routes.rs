//! The distribution API over HTTP. Repository names hold slashes, so paths are taken apart here and not by the router.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::{Json, Router};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use crate::error::StorageError;
use crate::storage::{MAX_MANIFEST, Storage, io};

const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
const UPLOAD: HeaderName = HeaderName::from_static("docker-upload-uuid");

/// Who may do what: given the request's bearer or basic password, says whether it may read or write.
pub type Access = Arc<dyn Fn(&HeaderMap, bool) -> bool + Send + Sync>;

#[derive(Clone)]
struct Registry {
    storage: Storage,
    access: Access,
}

/// The registry's routes, below `/v2/`.
pub fn router(storage: Storage, access: Access) -> Router {
    let registry = Registry { storage, access };
    Router::new()
        .route("/v2", any(dispatch))
        .route("/v2/", any(dispatch))
        .route("/v2/{*path}", any(dispatch))
        .layer(axum::extract::DefaultBodyLimit::disable())
        .with_state(registry)
}

/// What a path of the API names.
enum Target<'a> {
    Base,
    Tags(&'a str),
    Manifest(&'a str, &'a str),
    Blob(&'a str, &'a str),
    Uploads(&'a str),
    Upload(&'a str, &'a str),
}

fn target(path: &str) -> Option<Target<'_>> {
    let path = path.strip_prefix("/v2")?.trim_start_matches('/');
    if path.is_empty() {
        return Some(Target::Base);
    }
    if let Some(name) = path.strip_suffix("/tags/list") {
        return Some(Target::Tags(name));
    }
    if let Some(name) = path.strip_suffix("/blobs/uploads").or_else(|| path.strip_suffix("/blobs/uploads/")) {
        return Some(Target::Uploads(name));
    }
    let (front, last) = path.rsplit_once('/')?;
    if let Some(name) = front.strip_suffix("/blobs/uploads") {
        return Some(Target::Upload(name, last));
    }
    if let Some(name) = front.strip_suffix("/manifests") {
        return Some(Target::Manifest(name, last));
    }
    front.strip_suffix("/blobs").map(|name| Target::Blob(name, last))
}

async fn dispatch(State(registry): State<Registry>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let writes = !matches!(parts.method, Method::GET | Method::HEAD);
    if !(registry.access)(&parts.headers, writes) {
        let body = serde_json::json!({ "errors": [{ "code": "UNAUTHORIZED", "message": "a valid token is needed" }] });
        let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"barge\"")];
        return (StatusCode::UNAUTHORIZED, challenge, Json(body)).into_response();
    }
    let path = parts.uri.path().to_owned();
    let Some(target) = target(&path) else {
        return StorageError::InvalidName(path).into_response();
    };
    answer(&registry.storage, target, &parts, body).await.unwrap_or_else(IntoResponse::into_response)
}

async fn answer(storage: &Storage, target: Target<'_>, parts: &Parts, body: Body) -> Result<Response, StorageError> {
    match (&parts.method, target) {
        (&Method::GET | &Method::HEAD, Target::Base) => {
            Ok(([(API_VERSION, "registry/2.0")], Json(serde_json::json!({}))).into_response())
        }
        (&Method::GET, Target::Tags(name)) => list_tags(storage, name, parts),
        (&Method::GET | &Method::HEAD, Target::Manifest(name, reference)) => {
            let asks = parts.method == Method::HEAD;
            let found = if asks { storage.manifest_wanted(name, reference) } else { storage.manifest(name, reference) };
            let (bytes, media_type, digest) = found?;
            Ok(([(header::CONTENT_TYPE, media_type), (DIGEST, digest)], bytes).into_response())
        }
        (&Method::PUT, Target::Manifest(name, reference)) => {
            put_manifest(storage, name, reference, &parts.headers, body).await
        }
        (&Method::DELETE, Target::Manifest(name, reference)) => {
            storage.delete_manifest(name, reference)?;
            Ok(StatusCode::ACCEPTED.into_response())
        }
        (&Method::HEAD, Target::Blob(name, digest)) => {
            let (_, size) = storage.blob_wanted(name, digest)?;
            Ok((blob_headers(digest, size), Body::empty()).into_response())
        }
        (&Method::GET, Target::Blob(name, digest)) => get_blob(storage, name, digest, &parts.headers).await,
        (&Method::POST, Target::Uploads(name)) => begin_upload(storage, name, parts, body).await,
        (&Method::PATCH, Target::Upload(name, id)) => {
            crate::name::repository(name)?;
            let size = storage.append(id, content_start(&parts.headers)?, body).await?;
            Ok(upload_answer(StatusCode::ACCEPTED, name, id, size))
        }
        (&Method::PUT, Target::Upload(name, id)) => {
            let digest = query(parts, "digest").unwrap_or_default();
            crate::name::digest(&digest)?;
            crate::name::repository(name)?;
            storage.append(id, content_start(&parts.headers)?, body).await?;
            storage.finish_upload(name, id, &digest).await?;
            Ok(created(format!("/v2/{name}/blobs/{digest}"), digest))
        }
        (&Method::GET, Target::Upload(name, id)) => {
            let size = storage.upload_size(id).await?;
            Ok(upload_answer(StatusCode::NO_CONTENT, name, id, size))
        }
        (&Method::DELETE, Target::Upload(_, id)) => {
            storage.cancel_upload(id).await?;
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        _ => Ok(StatusCode::METHOD_NOT_ALLOWED.into_response()),
    }
}

async fn put_manifest(
    storage: &Storage,
    name: &str,
    reference: &str,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, StorageError> {
    let bytes = to_bytes(body, MAX_MANIFEST).await.map_err(|error| StorageError::ManifestInvalid(error.to_string()))?;
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let digest = storage.put_manifest(name, reference, media_type, &bytes)?;
    Ok(created(format!("/v2/{name}/manifests/{digest}"), digest))
}

async fn get_blob(storage: &Storage, name: &str, digest: &str, headers: &HeaderMap) -> Result<Response, StorageError> {
    let (path, size) = storage.blob(name, digest)?;
    let range = headers.get(header::RANGE).and_then(|value| value.to_str().ok()).and_then(|text| range(text, size));
    let mut file = tokio::fs::File::open(&path).await.map_err(io("read", &path))?;
    let body = |file| Body::from_stream(ReaderStream::with_capacity(file, 128 * 1024));
    let (start, end) = match range {
        None => return Ok((blob_headers(digest, size), body(file.take(size))).into_response()),
        Some(None) => {
            let headers = [(header::CONTENT_RANGE, format!("bytes */{size}"))];
            return Ok((StatusCode::RANGE_NOT_SATISFIABLE, headers).into_response());
        }
        Some(Some(range)) => range,
    };
    file.seek(std::io::SeekFrom::Start(start)).await.map_err(io("read", &path))?;
    let length = end - start + 1;
    let range = [(header::CONTENT_RANGE, format!("bytes {start}-{end}/{size}"))];
    Ok((StatusCode::PARTIAL_CONTENT, blob_headers(digest, length), range, body(file.take(length))).into_response())
}

fn blob_headers(digest: &str, length: u64) -> [(HeaderName, String); 4] {
    [
        (header::CONTENT_LENGTH, length.to_string()),
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
        (DIGEST, digest.to_owned()),
    ]
}

/// The first and last byte that a Range header asks for: none where it is not understood and so not heeded (RFC 9110, 14.2), and
/// `Some(None)` where there is no such part. Pulls are continued with one open range; lists of ranges are not heeded.
fn range(text: &str, size: u64) -> Option<Option<(u64, u64)>> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    if first.is_empty() {
        let count: u64 = last.parse().ok()?;
        return Some((count > 0 && size > 0).then(|| (size.saturating_sub(count), size - 1)));
    }
    let first: u64 = first.parse().ok()?;
    let last = if last.is_empty() { u64::MAX } else { last.parse().ok()? };
    if last < first {
        return None;
    }
    Some((first < size).then(|| (first, last.min(size - 1))))
}

/// The tags, page by page where `n` asks for that.
fn list_tags(storage: &Storage, name: &str, parts: &Parts) -> Result<Response, StorageError> {
    let mut tags = storage.tags(name)?;
    if let Some(last) = query(parts, "last") {
        tags.retain(|tag| *tag > last);
    }
    let count = query(parts, "n").and_then(|n| n.parse::<usize>().ok());
    let more = count.is_some_and(|count| tags.len() > count);
    tags.truncate(count.unwrap_or(usize::MAX));
    let next = tags.last().filter(|_| more).zip(count);
    let next = next.map(|(last, n)| format!("</v2/{name}/tags/list?n={n}&last={last}>; rel=\"next\""));
    let mut response = Json(serde_json::json!({ "name": name, "tags": tags })).into_response();
    if let Some(next) = next.and_then(|next| next.parse().ok()) {
        response.headers_mut().insert(header::LINK, next);
    }
    Ok(response)
}

async fn begin_upload(storage: &Storage, name: &str, parts: &Parts, body: Body) -> Result<Response, StorageError> {
    crate::name::repository(name)?;
    if let (Some(digest), Some(from)) = (query(parts, "mount"), query(parts, "from"))
        && storage.mount(name, &from, &digest)?
    {
        return Ok(created(format!("/v2/{name}/blobs/{digest}"), digest));
    }
    let id = storage.begin_upload().await?;
    if let Some(digest) = query(parts, "digest") {
        storage.append(&id, None, body).await?;
        storage.finish_upload(name, &id, &digest).await?;
        return Ok(created(format!("/v2/{name}/blobs/{digest}"), digest));
    }
    Ok(upload_answer(StatusCode::ACCEPTED, name, &id, 0))
}

fn created(location: String, digest: String) -> Response {
    (StatusCode::CREATED, [(header::LOCATION, location), (DIGEST, digest)]).into_response()
}

fn upload_answer(status: StatusCode, name: &str, id: &str, size: u64) -> Response {
    let headers = [
        (header::LOCATION, format!("/v2/{name}/blobs/uploads/{id}")),
        (header::RANGE, format!("0-{}", size.saturating_sub(1))),
        (UPLOAD, id.to_owned()),
    ];
    (status, headers).into_response()
}

/// Where a piece says that it starts, as `START-END`.
fn content_start(headers: &HeaderMap) -> Result<Option<u64>, StorageError> {
    let Some(range) = headers.get(header::CONTENT_RANGE) else { return Ok(None) };
    let text = range.to_str().unwrap_or_default();
    let start = text.trim_start_matches("bytes ").split_once('-').and_then(|(start, _)| start.parse().ok());
    start.map(Some).ok_or_else(|| StorageError::Broken(format!("Content-Range {text:?} is not START-END")))
}

fn query(parts: &Parts, name: &str) -> Option<String> {
    let pairs: axum::extract::Query<std::collections::BTreeMap<String, String>> =
        axum::extract::Query::try_from_uri(&parts.uri).ok()?;
    pairs.0.get(name).cloned()
}
