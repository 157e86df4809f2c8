//! The distribution API over HTTP. Repository names hold slashes, so paths are taken apart here and not by the router.

use std::path::Path;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::{Json, Router};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use crate::access::{Access, Kind, Operation, Verdict};
use crate::body::Pieces;
use crate::disk::io;
use crate::error::{self, StorageError};
use crate::storage::{MAX_MANIFEST, Storage};

const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
const FILTERS: HeaderName = HeaderName::from_static("oci-filters-applied");
const UPLOAD: HeaderName = HeaderName::from_static("docker-upload-uuid");
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

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
#[derive(Clone, Copy)]
enum Target<'a> {
    Base,
    Tags(&'a str),
    Manifest(&'a str, &'a str),
    Blob(&'a str, &'a str),
    Uploads(&'a str),
    Upload(&'a str, &'a str),
    Referrers(&'a str, &'a str),
}

impl<'a> Target<'a> {
    fn repository(self) -> Option<&'a str> {
        match self {
            Target::Base => None,
            Target::Tags(name)
            | Target::Manifest(name, _)
            | Target::Blob(name, _)
            | Target::Uploads(name)
            | Target::Upload(name, _)
            | Target::Referrers(name, _) => Some(name),
        }
    }
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
    if let Some(name) = front.strip_suffix("/referrers") {
        return Some(Target::Referrers(name, last));
    }
    front.strip_suffix("/blobs").map(|name| Target::Blob(name, last))
}

async fn dispatch(State(registry): State<Registry>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let target = target(&path);
    match (registry.access)(&parts.headers, &operation(&parts.method, target)) {
        Verdict::Granted => {}
        Verdict::Denied => return error::answer(StatusCode::FORBIDDEN, "DENIED", "the token does not allow this"),
        Verdict::Unknown => {
            let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"barge\"")];
            let answer = error::answer(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "a valid token is needed");
            return (challenge, answer).into_response();
        }
    }
    let Some(target) = target else {
        return StorageError::InvalidName(path).into_response();
    };
    answer(&registry, target, &parts, body).await.unwrap_or_else(IntoResponse::into_response)
}

fn operation<'a>(method: &Method, target: Option<Target<'a>>) -> Operation<'a> {
    let kind = match (method, target) {
        (&Method::GET | &Method::HEAD, _) => Kind::Read,
        // Whoever may push may give a push up.
        (&Method::DELETE, target) if !matches!(target, Some(Target::Upload(..))) => Kind::Delete,
        _ => Kind::Write,
    };
    Operation { kind, repository: target.and_then(Target::repository) }
}

async fn answer(registry: &Registry, target: Target<'_>, parts: &Parts, body: Body) -> Result<Response, StorageError> {
    let storage = &registry.storage;
    match (&parts.method, target) {
        (&Method::GET | &Method::HEAD, Target::Base) => {
            Ok(([(API_VERSION, "registry/2.0")], Json(serde_json::json!({}))).into_response())
        }
        (&Method::GET, Target::Tags(name)) => list_tags(storage, name, parts).await,
        (&Method::GET | &Method::HEAD, Target::Manifest(name, reference)) => {
            get_manifest(storage, name, reference, &parts.method).await
        }
        (&Method::PUT, Target::Manifest(name, reference)) => {
            put_manifest(storage, name, reference, &parts.headers, body).await
        }
        (&Method::DELETE, Target::Manifest(name, reference)) => {
            let (name, reference) = (name.to_owned(), reference.to_owned());
            storage.blocking(move |storage| storage.delete_manifest(&name, &reference)).await?;
            Ok(StatusCode::ACCEPTED.into_response())
        }
        (&Method::GET, Target::Referrers(name, digest)) => list_referrers(storage, name, digest, parts).await,
        (&Method::HEAD, Target::Blob(name, digest)) => {
            let (name, wanted) = (name.to_owned(), digest.to_owned());
            let size = storage.blocking(move |storage| storage.blob_wanted(&name, &wanted)).await?;
            Ok((blob_headers(digest, size), Body::empty()).into_response())
        }
        (&Method::GET, Target::Blob(name, digest)) => get_blob(storage, name, digest, &parts.headers).await,
        (&Method::POST, Target::Uploads(name)) => begin_upload(registry, name, parts, body).await,
        (&Method::PATCH, Target::Upload(name, id)) => {
            let size = storage.append(name, id, content_start(&parts.headers)?, body).await?;
            Ok(upload_answer(StatusCode::ACCEPTED, name, id, size))
        }
        (&Method::PUT, Target::Upload(name, id)) => {
            let digest = query(parts, "digest").unwrap_or_default();
            crate::name::digest(&digest)?;
            storage.append(name, id, content_start(&parts.headers)?, body).await?;
            storage.finish_upload(name, id, &digest).await?;
            Ok(created(format!("/v2/{name}/blobs/{digest}"), digest))
        }
        (&Method::GET, Target::Upload(name, id)) => {
            let size = storage.upload_size(name, id).await?;
            Ok(upload_answer(StatusCode::NO_CONTENT, name, id, size))
        }
        (&Method::DELETE, Target::Upload(name, id)) => {
            storage.cancel_upload(name, id).await?;
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        _ => Ok(StatusCode::METHOD_NOT_ALLOWED.into_response()),
    }
}

async fn get_manifest(
    storage: &Storage,
    name: &str,
    reference: &str,
    method: &Method,
) -> Result<Response, StorageError> {
    let (name, reference, asks) = (name.to_owned(), reference.to_owned(), method == Method::HEAD);
    let found = storage.blocking(move |storage| {
        if asks { storage.manifest_wanted(&name, &reference) } else { storage.manifest(&name, &reference) }
    });
    let (bytes, media_type, digest) = found.await?;
    Ok(([(header::CONTENT_TYPE, media_type), (DIGEST, digest)], bytes).into_response())
}

async fn put_manifest(
    storage: &Storage,
    name: &str,
    reference: &str,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, StorageError> {
    let bytes = manifest_bytes(body, storage.stall_limit()).await?;
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (repository, reference, media_type) = (name.to_owned(), reference.to_owned(), media_type.to_owned());
    let put = storage.blocking(move |storage| storage.put_manifest(&repository, &reference, &media_type, &bytes));
    let (digest, subject) = put.await?;
    let mut response = created(format!("/v2/{name}/manifests/{digest}"), digest);
    // Says that it will be listed: clients keep a list of their own under a tag else.
    if let Some(subject) = subject.and_then(|subject| subject.parse().ok()) {
        response.headers_mut().insert(SUBJECT, subject);
    }
    Ok(response)
}

async fn manifest_bytes(body: Body, stall_limit: Duration) -> Result<Vec<u8>, StorageError> {
    let mut pieces = Pieces::of(body, stall_limit);
    let mut bytes = Vec::new();
    while let Some(piece) = pieces.next().await.map_err(|error| StorageError::ManifestInvalid(error.to_string()))? {
        if bytes.len() + piece.len() > MAX_MANIFEST {
            return Err(StorageError::ManifestTooLarge { limit: MAX_MANIFEST });
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

async fn get_blob(storage: &Storage, name: &str, digest: &str, headers: &HeaderMap) -> Result<Response, StorageError> {
    let (repository, wanted) = (name.to_owned(), digest.to_owned());
    let (file, size) = storage.blocking(move |storage| storage.open_blob(&repository, &wanted)).await?;
    let mut file = tokio::fs::File::from_std(file);
    let range = headers.get(header::RANGE).and_then(|value| value.to_str().ok()).and_then(|text| range(text, size));
    let body = |file| Body::from_stream(ReaderStream::with_capacity(file, 128 * 1024));
    let (start, end) = match range {
        None => return Ok((blob_headers(digest, size), body(file.take(size))).into_response()),
        Some(None) => {
            let headers = [(header::CONTENT_RANGE, format!("bytes */{size}"))];
            return Ok((StatusCode::RANGE_NOT_SATISFIABLE, headers).into_response());
        }
        Some(Some(range)) => range,
    };
    file.seek(std::io::SeekFrom::Start(start)).await.map_err(io("read", Path::new(digest)))?;
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
async fn list_tags(storage: &Storage, name: &str, parts: &Parts) -> Result<Response, StorageError> {
    let repository = name.to_owned();
    let mut tags = storage.blocking(move |storage| storage.tags(&repository)).await?;
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

/// What says something of a manifest, as an index. Nothing is an empty one, also where there is no such manifest.
async fn list_referrers(storage: &Storage, name: &str, digest: &str, parts: &Parts) -> Result<Response, StorageError> {
    let (repository, subject) = (name.to_owned(), digest.to_owned());
    // A kind has no spaces: where there is one, a client has sent the plus of `application/spdx+json` as it is.
    let kind = query(parts, "artifactType").map(|kind| kind.replace(' ', "+"));
    let last = query(parts, "last");
    let filter = kind.clone();
    let list = move |storage: &Storage| storage.referrers(&repository, &subject, kind.as_deref(), last.as_deref());
    let page = storage.blocking(list).await?;
    let index = serde_json::json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": page.descriptors });
    let mut response = ([(header::CONTENT_TYPE, INDEX)], index.to_string()).into_response();
    if filter.is_some() {
        response.headers_mut().insert(FILTERS, HeaderValue::from_static("artifactType"));
    }
    let next = page.next.map(|last| {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("last", &last).extend_pairs(filter.iter().map(|kind| ("artifactType", kind)));
        format!("</v2/{name}/referrers/{digest}?{}>; rel=\"next\"", query.finish())
    });
    if let Some(next) = next.and_then(|next| next.parse().ok()) {
        response.headers_mut().insert(header::LINK, next);
    }
    Ok(response)
}

async fn begin_upload(registry: &Registry, name: &str, parts: &Parts, body: Body) -> Result<Response, StorageError> {
    crate::name::repository(name)?;
    let storage = &registry.storage;
    if let (Some(digest), Some(from)) = (query(parts, "mount"), query(parts, "from"))
        && may_read(registry, &parts.headers, &from)
    {
        let (repository, wanted) = (name.to_owned(), digest.clone());
        if storage.blocking(move |storage| storage.mount(&repository, &from, &wanted)).await? {
            return Ok(created(format!("/v2/{name}/blobs/{digest}"), digest));
        }
    }
    if let Some(digest) = query(parts, "digest") {
        crate::name::digest(&digest)?;
        storage.upload_whole(name, &digest, body).await?;
        return Ok(created(format!("/v2/{name}/blobs/{digest}"), digest));
    }
    let id = storage.begin_upload(name).await?;
    Ok(upload_answer(StatusCode::ACCEPTED, name, &id, 0))
}

/// Whether a blob may be mounted from `repository`: whoever may not read there must not get its content by another way.
fn may_read(registry: &Registry, headers: &HeaderMap, repository: &str) -> bool {
    let operation = Operation { kind: Kind::Read, repository: Some(repository) };
    (registry.access)(headers, &operation) == Verdict::Granted
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
