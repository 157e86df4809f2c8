//! The registration protocol over HTTP, and discovery with a long poll.
//!
//! `PUT /v1/services/{service}/instances/{uid}?environment=E` registers; `GET .../instances?environment=E[&watch=REVISION]` lists,
//! at once or when the list is later than REVISION; `GET .../instances/{uid}/traffic?environment=E` is the zero-traffic check.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use barge_model::{EnvironmentName, InstanceId, ServiceKey, ServiceName};
use serde::{Deserialize, Serialize};

use crate::table::{Listed, Put, PutError, Table};

/// The longest that a watch waits; an unchanged list is answered then.
const WATCH_LIMIT: Duration = Duration::from_secs(30);

#[derive(Debug, Clone)]
struct Api {
    table: Arc<Table>,
    token: Arc<str>,
}

#[derive(Debug, Deserialize)]
struct Which {
    environment: EnvironmentName,
    watch: Option<u64>,
}

#[derive(Debug, Serialize)]
struct List {
    revision: u64,
    instances: Vec<Listed>,
}

/// The protocol's routes; every call needs `token` as bearer token.
pub fn router(table: Arc<Table>, token: &str) -> Router {
    let api = Api { table, token: token.into() };
    Router::new()
        .route("/v1/services/{service}/instances", get(list))
        .route("/v1/services/{service}/instances/{uid}", put(register))
        .route("/v1/services/{service}/instances/{uid}/traffic", get(traffic))
        .layer(axum::middleware::from_fn_with_state(api.clone(), authenticate))
        .with_state(api)
}

async fn authenticate(State(api): State<Api>, request: Request, next: Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    match given.and_then(|value| value.strip_prefix("Bearer ")) {
        Some(token) if equal(token.as_bytes(), api.token.as_bytes()) => next.run(request).await,
        _ => (StatusCode::UNAUTHORIZED, "a bearer token is needed\n").into_response(),
    }
}

/// Compares in a time that does not tell how much was right.
fn equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (x, y)| difference | (x ^ y)) == 0
}

async fn register(
    State(api): State<Api>,
    Path((service, uid)): Path<(ServiceName, InstanceId)>,
    Query(which): Query<Which>,
    Json(body): Json<Put>,
) -> Response {
    let key = ServiceKey::new(which.environment, service);
    // The table writes to disk before it answers; requests on their way must not wait for that.
    let put = tokio::task::spawn_blocking(move || api.table.put(&key, &uid, body)).await;
    let Ok(put) = put else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    match put {
        Ok(revision) => Json(serde_json::json!({ "revision": revision })).into_response(),
        Err(PutError::Older { stored, terminal }) => {
            (StatusCode::CONFLICT, Json(serde_json::json!({ "generation": stored, "terminal": terminal })))
                .into_response()
        }
        Err(error @ PutError::Snapshot(_)) => {
            tracing::error!(error = &error as &dyn std::error::Error, "a registration was not taken");
            (StatusCode::INSUFFICIENT_STORAGE, "the registration could not be stored\n").into_response()
        }
    }
}

async fn list(State(api): State<Api>, Path(service): Path<ServiceName>, Query(which): Query<Which>) -> Response {
    let key = ServiceKey::new(which.environment, service);
    if let Some(seen) = which.watch {
        let _ = tokio::time::timeout(WATCH_LIMIT, api.table.changed_since(seen)).await;
    }
    let (revision, instances) = api.table.list(&key);
    Json(List { revision, instances }).into_response()
}

async fn traffic(
    State(api): State<Api>,
    Path((service, uid)): Path<(ServiceName, InstanceId)>,
    Query(which): Query<Which>,
) -> Response {
    match api.table.traffic(&ServiceKey::new(which.environment, service), &uid) {
        Some(traffic) => Json(traffic).into_response(),
        None => (StatusCode::NOT_FOUND, "this instance was never registered\n").into_response(),
    }
}
