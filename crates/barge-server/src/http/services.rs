//! Services and releases as they are, once or as a stream.

use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use barge_api::{ReleaseList, ReleaseView, ServiceList, ServiceStatus, ServiceSummary, TokenRole};
use barge_model::{EnvironmentName, ServiceKey};
use futures_util::stream::{self, Stream, StreamExt};

use super::extract::{ApiPath, ReleasePath, ServicePath};
use crate::access::Caller;
use crate::environment::Environment;
use crate::problem::{ReadProblems, ServerError};
use crate::store::StoredService;
use crate::{App, now, tasks, view};

/// A silent stream says something at least so often, so that nobody on the way takes it for dead.
const HEARTBEAT: Duration = Duration::from_secs(15);

pub(crate) fn environment<'a>(app: &'a App, name: &EnvironmentName) -> Result<&'a Environment, ServerError> {
    let known = || app.environments.iter().map(|one| one.name.to_string()).collect::<Vec<_>>().join(", ");
    let missing = || ServerError::NotFound(format!("there is no environment {name}; there are: {}", known()));
    app.environments.get(name).ok_or_else(missing)
}

async fn stored(app: &App, key: &ServiceKey) -> Result<StoredService, ServerError> {
    let missing = || ServerError::NotFound(format!("{key} was never released"));
    app.store.service(key).await?.ok_or_else(missing)
}

async fn status_of(app: &App, service: &StoredService) -> Result<ServiceStatus, ServerError> {
    let environment = environment(app, &service.key.environment)?;
    let report = environment.engine.report(&service.key).await?;
    Ok(view::status(service, report.as_ref(), environment.url(&service.key), now()))
}

/// Lists the services that the caller may see.
#[utoipa::path(
    get,
    path = "/api/v1/services",
    tag = "services",
    operation_id = "listServices",
    responses((status = 200, description = "The services of all environments", body = ServiceList), ReadProblems)
)]
pub(crate) async fn services(caller: Caller, State(app): State<App>) -> Result<Json<ServiceList>, ServerError> {
    let mut services = Vec::new();
    for service in app.store.services().await? {
        let known = app.environments.get(&service.key.environment).is_some();
        if known && caller.may(TokenRole::Viewer, &service.key) {
            services.push(summary_of(&app, &service).await?);
        }
    }
    Ok(Json(ServiceList { services }))
}

/// An engine that fails takes nothing away from the list.
async fn summary_of(app: &App, service: &StoredService) -> Result<ServiceSummary, ServerError> {
    match status_of(app, service).await {
        Ok(status) => Ok(view::summary(status)),
        Err(ServerError::Engine(error)) => {
            tracing::warn!(key = %service.key, error = &error as &dyn std::error::Error, "the engine does not report");
            let unknown = view::status(service, None, None, now());
            let sentence = "the engine does not answer".to_owned();
            Ok(ServiceSummary { sentence, ..view::summary(unknown) })
        }
        Err(other) => Err(other),
    }
}

/// Shows a service: what runs, what is on its way, and what that waits for.
#[utoipa::path(
    get,
    path = "/api/v1/environments/{environment}/services/{service}/status",
    tag = "services",
    operation_id = "getStatus",
    params(ServicePath),
    responses((status = 200, description = "The service as it is now", body = ServiceStatus, headers(("ETag" = String, description = "The version in quotes, for `If-Match`"))), ReadProblems)
)]
pub(crate) async fn status(
    caller: Caller,
    State(app): State<App>,
    ApiPath(path): ApiPath<ServicePath>,
) -> Result<Response, ServerError> {
    let key = path.key();
    caller.require(TokenRole::Viewer, &key)?;
    let status = status_of(&app, &stored(&app, &key).await?).await?;
    let tag = HeaderValue::from_str(&format!("\"{}\"", status.version)).ok();
    let mut response = Json(status).into_response();
    if let Some(tag) = tag {
        response.headers_mut().insert(header::ETAG, tag);
    }
    Ok(response)
}

/// Shows a service now and after every change, as server-sent events with one `ServiceStatus` each.
#[utoipa::path(
    get,
    path = "/api/v1/environments/{environment}/services/{service}/status/stream",
    tag = "services",
    operation_id = "streamStatus",
    params(ServicePath),
    responses((status = 200, description = "Events with a `ServiceStatus` as JSON in `data`: one at once, one after each change. Ends when the server stops or the token is revoked", body = String, content_type = "text/event-stream"), ReadProblems)
)]
pub(crate) async fn status_stream(
    caller: Caller,
    State(app): State<App>,
    ApiPath(path): ApiPath<ServicePath>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ServerError> {
    let key = path.key();
    caller.require(TokenRole::Viewer, &key)?;
    let service = stored(&app, &key).await?;
    let engine = environment(&app, &key.environment)?.engine.clone();
    let first = status_of(&app, &service).await?;
    let over = app.until_over(&caller);
    let watch = Watch { engine_changes: engine.changes(), own_changes: app.changes.subscribe(), app, key, last: None };
    let events = stream::unfold((watch, Some(first)), |(mut watch, first)| async move {
        let status = match first {
            Some(first) => first,
            None => watch.next().await?,
        };
        let event = Event::default().json_data(&status).ok()?;
        watch.last = Some(status);
        Some((Ok(event), (watch, None)))
    });
    Ok(Sse::new(events.take_until(over)).keep_alive(KeepAlive::new().interval(HEARTBEAT)))
}

struct Watch {
    app: App,
    key: ServiceKey,
    engine_changes: tokio::sync::watch::Receiver<u64>,
    own_changes: tokio::sync::watch::Receiver<u64>,
    last: Option<ServiceStatus>,
}

impl Watch {
    /// The next status that differs from the last one; `None` when it cannot be read any more.
    async fn next(&mut self) -> Option<ServiceStatus> {
        loop {
            self.engine_changes.borrow_and_update();
            self.own_changes.borrow_and_update();
            let service = self.app.store.service(&self.key).await.ok()??;
            let status = status_of(&self.app, &service).await.ok()?;
            if self.last.as_ref() != Some(&status) {
                return Some(status);
            }
            tokio::select! {
                changed = self.engine_changes.changed() => changed.ok()?,
                changed = self.own_changes.changed() => changed.ok()?,
            }
        }
    }
}

/// Lists a service's releases, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/environments/{environment}/services/{service}/releases",
    tag = "releases",
    operation_id = "listReleases",
    params(ServicePath),
    responses((status = 200, description = "The latest 500 releases", body = ReleaseList), ReadProblems)
)]
pub(crate) async fn releases(
    caller: Caller,
    State(app): State<App>,
    ApiPath(path): ApiPath<ServicePath>,
) -> Result<Json<ReleaseList>, ServerError> {
    let key = path.key();
    caller.require(TokenRole::Viewer, &key)?;
    let service = stored(&app, &key).await?;
    let report = environment(&app, &key.environment)?.engine.report(&key).await?;
    let rollout = report.map(|report| report.status).unwrap_or_default();
    let stored = app.store.releases(&key).await?;
    let mut releases: Vec<_> = stored.into_iter().map(|one| view::release(&key, one, &service, &rollout)).collect();
    // What an application wrote is for those who may read its output, and one release at a time.
    releases.iter_mut().filter_map(|release| release.failure.as_mut()).for_each(|failure| failure.log.clear());
    Ok(Json(ReleaseList { releases }))
}

/// Shows one release; of a failed one also what was seen.
#[utoipa::path(
    get,
    path = "/api/v1/environments/{environment}/services/{service}/releases/{release}",
    tag = "releases",
    operation_id = "getRelease",
    params(ReleasePath),
    responses((status = 200, description = "The release", body = ReleaseView), ReadProblems)
)]
pub(crate) async fn release(
    caller: Caller,
    State(app): State<App>,
    ApiPath(path): ApiPath<ReleasePath>,
) -> Result<Json<ReleaseView>, ServerError> {
    let key = ServiceKey::new(path.environment, path.service);
    caller.require(TokenRole::Viewer, &key)?;
    let service = stored(&app, &key).await?;
    let found = app.store.release(&key, &path.release).await?;
    let missing = || ServerError::NotFound(format!("there is no release {} of {key}", path.release));
    let found = found.ok_or_else(missing)?;
    let engine = &environment(&app, &key.environment)?.engine;
    let report = engine.report(&key).await?;
    let rollout = report.as_ref().map(|report| report.status.clone()).unwrap_or_default();
    let mut release = view::release(&key, found, &service, &rollout);
    // The engine knows of a failure a moment before it is stored.
    if let (None, Some(report), Some(finished)) = (&release.failure, &report, &release.finished) {
        release.failure = tasks::explain(engine.as_ref(), report, finished).await;
    }
    if let Some(failure) = &mut release.failure
        && caller.require(TokenRole::Developer, &key).is_err()
    {
        failure.log.clear();
    }
    Ok(Json(release))
}
