//! What pods ask that are about to stop: whether requests can still be on their way to them.
//!
//! `GET /v1/traffic/{uid}` answers `{"in_flight": N}` as `barge-init` understands it, and needs no token, because it tells a number. `GET /healthz` says whether
//! pods can be answered at all, and how the registrar is.
//!
//! barge-init asks only when it was told to stop. So a pod that asks about itself says that it is about to stop, which nobody else may have said: a node that
//! is shut down, or is short of memory, ends pods without deleting them. What is asked from another address, or by another program, says nothing.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::header::USER_AGENT;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use barge_crds::names;
use barge_model::registration::{Acknowledged, Acknowledgements};
use barge_model::rollout::RegistrarHealth;
use barge_model::{InstanceId, ServiceKey};
use barge_runtime::listen::{self, Limits};
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::pods;
use super::view::View;
use crate::targets::RegistrationTarget;

/// So many connections are open at once; pods ask twenty times a second, each time over another one.
const CONNECTIONS: usize = 1000;
/// How long a client may say nothing.
const HEADER_LIMIT: Duration = Duration::from_secs(5);
/// So many questions are open at the gateway.
const QUESTIONS: usize = 32;
/// How long one may take: whoever asks us waits no longer than a second.
const QUESTION_LIMIT: Duration = Duration::from_millis(700);
/// A number of requests is asked for again after this time. None at all is final: an instance that is out of traffic for good gets no more.
const FRESH: Duration = Duration::from_millis(100);
/// How long it is known that an instance has no requests any more.
const KEPT: Duration = Duration::from_secs(60);

/// What barge-init calls itself in its requests.
const BARGE_INIT: &str = "barge-init";

/// Who asks.
#[derive(Debug, Clone, Copy)]
struct Peer(IpAddr);

/// What pods are answered from.
pub(crate) struct Desk<T> {
    view: View,
    acknowledgements: watch::Receiver<Acknowledgements>,
    health: watch::Receiver<RegistrarHealth>,
    target: Arc<T>,
    questions: Semaphore,
    /// The number of requests as the target last said it, and when.
    known: Mutex<HashMap<InstanceId, (u64, Instant)>>,
}

/// What can be said of an instance without asking anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    /// The target has not acknowledged that it gets no more requests: another one may come at any time.
    MayCome,
    /// No more requests come; how many are left, the target knows.
    Ends,
}

/// What is known of an instance's traffic. One that `leaves` is offline for as long as it is there, if it may come back in another container.
pub fn traffic(acknowledged: Option<Acknowledged>, leaves: bool) -> Traffic {
    match acknowledged {
        Some(known) if known.terminal || (leaves && known.offline) => Traffic::Ends,
        _ => Traffic::MayCome,
    }
}

impl<T: RegistrationTarget> Desk<T> {
    pub(crate) fn new(
        view: View,
        acknowledgements: watch::Receiver<Acknowledgements>,
        health: watch::Receiver<RegistrarHealth>,
        target: Arc<T>,
    ) -> Self {
        Self { view, acknowledgements, health, target, questions: Semaphore::new(QUESTIONS), known: Mutex::default() }
    }

    /// Answers until `shutdown`.
    pub(crate) async fn serve(self, listener: TcpListener, shutdown: CancellationToken) {
        let routes = Router::new()
            .route("/v1/traffic/{uid}", get(of_pod::<T>))
            .route("/healthz", get(healthz::<T>))
            .with_state(Arc::new(self));
        let limits = Limits::new(HEADER_LIMIT, CONNECTIONS);
        let service = |peer: SocketAddr| {
            TowerToHyperService::new(routes.clone().layer(Extension(Peer(peer.ip().to_canonical()))))
        };
        match listen::serve(listener, &limits, &shutdown, service).await {
            // Whoever stops us has set a limit.
            Ok(mut left) => while left.join_next().await.is_some() {},
            Err(error) => tracing::error!(error = barge_runtime::chain(&error), "the listener for pods broke"),
        }
    }

    /// How many requests an instance has, of which the target has acknowledged that no more come.
    async fn left(&self, key: &ServiceKey, id: &InstanceId, for_good: bool) -> Result<u64, String> {
        let known = self.lock().get(id).copied();
        if let Some((count, at)) = known
            && ((count == 0 && for_good) || at.elapsed() < FRESH)
        {
            return Ok(count);
        }
        let asked = async {
            let _turn = self.questions.acquire().await.map_err(|error| error.to_string())?;
            self.target.in_flight(key, id).await.map_err(|error| barge_runtime::chain(&error))
        };
        let count = tokio::time::timeout(QUESTION_LIMIT, asked).await.map_err(|_| "no answer in time".to_owned())??;
        let mut all = self.lock();
        all.retain(|_, (_, at)| at.elapsed() < KEPT);
        all.insert(id.clone(), (count, Instant::now()));
        Ok(count)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<InstanceId, (u64, Instant)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn of_pod<T: RegistrationTarget>(
    State(desk): State<Arc<Desk<T>>>,
    Extension(Peer(peer)): Extension<Peer>,
    Path(uid): Path<String>,
    headers: HeaderMap,
) -> Response {
    let Some(id) = names::instance(&uid) else {
        return (StatusCode::BAD_REQUEST, "this is no UID of a pod\n").into_response();
    };
    let Some(instances) = desk.view.instances.borrow().clone() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "the registrar does not know all pods yet\n").into_response();
    };
    let Some(known) = instances.get(&id) else {
        return (StatusCode::NOT_FOUND, "the registrar does not know this pod\n").into_response();
    };
    let acknowledged = desk.acknowledgements.borrow().instances.get(&id).copied();
    let is_barge_init = headers.get(USER_AGENT).is_some_and(|agent| agent == BARGE_INIT);
    if !known.leaves && is_barge_init && desk.view.pods.get(&known.pod).is_some_and(|pod| pods::is_at(&pod, peer)) {
        // Where there is no room for the word, it is said again in a moment.
        let _ = desk.view.leaves.try_send(id.clone());
    }
    let key = &known.key;
    match traffic(acknowledged, known.leaves) {
        Traffic::MayCome => Json(json!({ "in_flight": 1, "acknowledged": false })).into_response(),
        Traffic::Ends => match desk.left(key, &id, acknowledged.is_some_and(|known| known.terminal)).await {
            Ok(count) => Json(json!({ "in_flight": count, "acknowledged": true })).into_response(),
            Err(error) => {
                tracing::warn!(%key, instance = %id, error, "the gateway does not say how many requests are left");
                (StatusCode::BAD_GATEWAY, "the gateway does not say how many requests are left\n").into_response()
            }
        },
    }
}

async fn healthz<T: RegistrationTarget>(State(desk): State<Arc<Desk<T>>>) -> Response {
    // A gateway that is down is no reason to send pods elsewhere: nobody else would know more.
    let status = match desk.view.instances.borrow().is_some() {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, Json(desk.health.borrow().clone())).into_response()
}
