//! Instances and their output.

use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use barge_api::{InstanceList, LogLines, TokenRole};
use barge_engine::{LogOptions, LogStream};
use barge_model::ServiceKey;
use futures_util::{Stream, StreamExt};
use serde::Deserialize;
use utoipa::IntoParams;

use super::extract::{ApiPath, ApiQuery, InstancePath, ServicePath};
use super::services::environment;
use crate::App;
use crate::access::Caller;
use crate::problem::{ReadProblems, ServerError};
use crate::view;

/// The most lines that are given at once.
const MAX_TAIL: usize = 10_000;
/// How long reading lines without following may take.
const READ_LIMIT: Duration = Duration::from_secs(20);

/// Which lines.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct LogQuery {
    /// How many of the last lines, at most 10000.
    #[serde(default = "default_tail")]
    #[param(required = false, default = 200, maximum = 10000)]
    tail: usize,
}

/// Which lines of a stream.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct StreamQuery {
    /// How many of the last lines, at most 10000.
    #[serde(default = "default_tail")]
    #[param(required = false, default = 200, maximum = 10000)]
    tail: usize,
    /// Go on with new lines.
    #[serde(default)]
    #[param(required = false, default = false)]
    follow: bool,
}

fn default_tail() -> usize {
    200
}

/// Lists a service's instances, the held and the ending ones too.
#[utoipa::path(
    get,
    path = "/api/v1/environments/{environment}/services/{service}/instances",
    tag = "instances",
    operation_id = "listInstances",
    params(ServicePath),
    responses((status = 200, description = "Every instance that exists", body = InstanceList), ReadProblems)
)]
pub(crate) async fn instances(
    caller: Caller,
    State(app): State<App>,
    ApiPath(path): ApiPath<ServicePath>,
) -> Result<Json<InstanceList>, ServerError> {
    let key = path.key();
    caller.require(TokenRole::Viewer, &key)?;
    let report = environment(&app, &key.environment)?.engine.report(&key).await?;
    let missing = || ServerError::NotFound(format!("{key} was never released"));
    Ok(Json(InstanceList { instances: view::instances(report.ok_or_else(missing)?.as_ref()) }))
}

/// Shows the last lines of an instance's output.
#[utoipa::path(
    get,
    path = "/api/v1/environments/{environment}/services/{service}/instances/{instance}/logs",
    tag = "instances",
    operation_id = "getLogs",
    params(InstancePath, LogQuery),
    responses((status = 200, description = "The last lines", body = LogLines), ReadProblems)
)]
pub(crate) async fn logs(
    caller: Caller,
    State(app): State<App>,
    ApiPath(path): ApiPath<InstancePath>,
    ApiQuery(query): ApiQuery<LogQuery>,
) -> Result<Json<LogLines>, ServerError> {
    let key = ServiceKey::new(path.environment, path.service);
    caller.require(TokenRole::Developer, &key)?;
    let options = LogOptions { tail: query.tail.min(MAX_TAIL), follow: false };
    let stream = environment(&app, &key.environment)?.engine.logs(&key, &path.instance, options).await?;
    Ok(Json(LogLines { lines: lines_within(READ_LIMIT, stream).await? }))
}

async fn lines_within(limit: Duration, stream: LogStream) -> Result<Vec<String>, ServerError> {
    let read = stream.filter_map(|line| async { line.ok() }).collect();
    let slow = |_| ServerError::Unavailable("reading the output took too long; ask for fewer lines");
    tokio::time::timeout(limit, read).await.map_err(slow)
}

/// Streams an instance's output as server-sent events, one line each.
#[utoipa::path(
    get,
    path = "/api/v1/environments/{environment}/services/{service}/instances/{instance}/logs/stream",
    tag = "instances",
    operation_id = "streamLogs",
    params(InstancePath, StreamQuery),
    responses((status = 200, description = "Events with one line each in `data`. With `follow` it ends when the instance is gone, the server stops or the token is revoked", body = barge_api::StreamEvent, content_type = "text/event-stream"), ReadProblems)
)]
pub(crate) async fn logs_stream(
    caller: Caller,
    State(app): State<App>,
    ApiPath(path): ApiPath<InstancePath>,
    ApiQuery(query): ApiQuery<StreamQuery>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ServerError> {
    let key = ServiceKey::new(path.environment, path.service);
    caller.require(TokenRole::Developer, &key)?;
    let options = LogOptions { tail: query.tail.min(MAX_TAIL), follow: query.follow };
    let stream = environment(&app, &key.environment)?.engine.logs(&key, &path.instance, options).await?;
    let events = stream
        .filter_map(|line| async { line.ok() })
        // A carriage return inside a line would end the event's field.
        .map(|line| Ok(Event::default().data(line.replace('\r', "\u{240d}"))))
        .take_until(app.until_over(&caller));
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))))
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    #[tokio::test]
    async fn output_that_takes_too_long_is_unavailable_and_no_failure_of_the_server() {
        let slow: LogStream = Box::pin(stream::iter([Ok("one".to_owned())]).chain(stream::pending()));
        let problem = lines_within(Duration::from_millis(10), slow).await.unwrap_err().problem();
        assert_eq!((problem.status, problem.code.as_str()), (503, "unavailable"));
        assert_eq!(problem.detail, "reading the output took too long; ask for fewer lines");
        let fast: LogStream = Box::pin(stream::iter([Ok("one".to_owned()), Ok("two".to_owned())]));
        assert_eq!(lines_within(Duration::from_secs(60), fast).await.unwrap(), ["one", "two"]);
    }
}
