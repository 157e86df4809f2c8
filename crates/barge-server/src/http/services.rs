//! Services and releases as they are, once or as a stream.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use barge_api::{ReleaseList, ReleaseView, ServiceList, ServiceStatus, ServiceSummary, TokenRole};
use barge_engine::{EngineError, ServiceReport};
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

/// What an engine has last said of a service.
type Report = Option<Arc<ServiceReport>>;

async fn report_of(app: &App, key: &ServiceKey) -> Result<Report, ServerError> {
    Ok(environment(app, &key.environment)?.engine.report(key).await?)
}

fn status_of(app: &App, service: &StoredService, report: Option<&ServiceReport>) -> Result<ServiceStatus, ServerError> {
    let url = environment(app, &service.key.environment)?.url(&service.key);
    Ok(view::status(service, report, url, now()))
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
    let reported = reported(&app).await?;
    let mut services = Vec::new();
    for service in app.store.services().await? {
        let Some(environment) = app.environments.get(&service.key.environment) else { continue };
        if caller.may(TokenRole::Viewer, &service.key) {
            let reports = reported.get(&environment.name).and_then(Option::as_ref);
            services.push(summary_of(environment, &service, reports));
        }
    }
    Ok(Json(ServiceList { services }))
}

type Reports = HashMap<ServiceKey, Arc<ServiceReport>>;

/// What each engine says of all its services, asked once; nothing of an engine that fails.
async fn reported(app: &App) -> Result<HashMap<EnvironmentName, Option<Reports>>, ServerError> {
    let mut reported = HashMap::new();
    for environment in app.environments.iter() {
        let reports = match environment.engine.reports().await {
            Ok(reports) => Some(reports.into_iter().map(|report| (report.key.clone(), report)).collect()),
            Err(EngineError::Stopping) => return Err(ServerError::Stopping),
            Err(error) => {
                let name = &environment.name;
                tracing::warn!(%name, error = &error as &dyn std::error::Error, "the engine does not report");
                None
            }
        };
        reported.insert(environment.name.clone(), reports);
    }
    Ok(reported)
}

/// An engine that fails takes nothing away from the list.
fn summary_of(environment: &Environment, service: &StoredService, reports: Option<&Reports>) -> ServiceSummary {
    let Some(reports) = reports else {
        let sentence = "the engine does not answer".to_owned();
        return ServiceSummary { sentence, ..view::summary(service, None, None, now()) };
    };
    let report = reports.get(&service.key).map(Arc::as_ref);
    view::summary(service, report, environment.url(&service.key), now())
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
    let service = stored(&app, &key).await?;
    let report = report_of(&app, &key).await?;
    let status = status_of(&app, &service, report.as_deref())?;
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
    responses((status = 200, description = "Events with a `ServiceStatus` as JSON in `data`: one at once, one after each change. Ends when the server stops or the token is revoked", body = barge_api::StreamEvent, content_type = "text/event-stream"), ReadProblems)
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
    let report = engine.report(&key).await?;
    let first = status_of(&app, &service, report.as_deref())?;
    let over = app.until_over(&caller);
    let (engine_changes, own_changes) = (engine.changes(), app.changes.subscribe());
    let watch = Watch { app, key, engine_changes, own_changes, report, last: None };
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
    /// What the engine has said of this service, when it was looked at last.
    report: Report,
    last: Option<ServiceStatus>,
}

impl Watch {
    /// The next status that differs from the last one; `None` when it cannot be read any more.
    async fn next(&mut self) -> Option<ServiceStatus> {
        loop {
            self.engine_changes.borrow_and_update();
            self.own_changes.borrow_and_update();
            let service = self.app.store.service(&self.key).await.ok()??;
            self.report = report_of(&self.app, &self.key).await.ok()?;
            let status = status_of(&self.app, &service, self.report.as_deref()).ok()?;
            if self.last.as_ref() != Some(&status) {
                return Some(status);
            }
            self.changed().await?;
        }
    }

    /// Waits for a change that may concern this service. An engine says that something has changed, and not what; of others' changes
    /// there may be many, and the database is not asked after each of them.
    async fn changed(&mut self) -> Option<()> {
        loop {
            tokio::select! {
                changed = self.own_changes.changed() => return changed.ok(),
                changed = self.engine_changes.changed() => changed.ok()?,
            }
            let report = report_of(&self.app, &self.key).await.ok()?;
            let same = match (&self.report, &report) {
                (Some(before), Some(now)) => Arc::ptr_eq(before, now),
                (before, now) => before.is_none() && now.is_none(),
            };
            if !same {
                return Some(());
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
    let rollout = report_of(&app, &key).await?.map(|report| report.status.clone()).unwrap_or_default();
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
