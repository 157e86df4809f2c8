//! Operations that change what should run.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use barge_api::{
    AbortRequest, ApprovalRequest, NewRelease, RestartRequest, RollbackRequest, RolloutAnswer, ScaleRequest, TokenRole,
};
use barge_model::ServiceKey;
use barge_model::rollout::RolloutStatus;
use serde::de::DeserializeOwned;

use super::extract::{ApiPath, ChangeHeaders, Posted, ReleasePath, ServicePath};
use crate::access::Caller;
use crate::decide::{self, Request, Situation, Told};
use crate::problem::{ChangeProblems, ServerError};
use crate::store::RequestIdentity;
use crate::{App, now};

type Answer = Result<(StatusCode, Json<RolloutAnswer>), ServerError>;

/// Makes a release.
///
/// It goes to its first batch (one instance by default), waits at its gate for an approval, and then replaces the others.
#[utoipa::path(
    post,
    path = "/api/v1/environments/{environment}/services/{service}/releases",
    tag = "releases",
    operation_id = "createRelease",
    params(ServicePath, ChangeHeaders),
    request_body = NewRelease,
    responses((status = 202, description = "Stored, and told to the engine; what follows is in the service's status", body = RolloutAnswer), ChangeProblems)
)]
pub(crate) async fn new_release(
    caller: Caller,
    State(app): State<App>,
    ApiPath(path): ApiPath<ServicePath>,
    posted: Posted,
) -> Answer {
    change(&app, caller, TokenRole::Developer, path.key(), posted, |new: NewRelease| Request::Release(Box::new(new)))
        .await
}

/// Approves a release.
///
/// The approval names the digest that the approver has looked at, and is stored for good.
#[utoipa::path(
    post,
    path = "/api/v1/environments/{environment}/services/{service}/releases/{release}/approval",
    tag = "releases",
    operation_id = "approveRelease",
    params(ReleasePath, ChangeHeaders),
    request_body = ApprovalRequest,
    responses((status = 202, description = "Stored, and told to the engine; what follows is in the service's status", body = RolloutAnswer), ChangeProblems)
)]
pub(crate) async fn approve(
    caller: Caller,
    State(app): State<App>,
    ApiPath(path): ApiPath<ReleasePath>,
    posted: Posted,
) -> Answer {
    let key = ServiceKey::new(path.environment, path.service);
    let request = |body: ApprovalRequest| Request::Approve { release: path.release, digest: body.digest };
    change(&app, caller, TokenRole::Releaser, key, posted, request).await
}

/// Aborts a release that is on its way, or lets go of the held instance of one that has failed.
#[utoipa::path(
    post,
    path = "/api/v1/environments/{environment}/services/{service}/releases/{release}/abort",
    tag = "releases",
    operation_id = "abortRelease",
    params(ReleasePath, ChangeHeaders),
    request_body = AbortRequest,
    responses((status = 202, description = "Stored, and told to the engine; what follows is in the service's status", body = RolloutAnswer), ChangeProblems)
)]
pub(crate) async fn abort(
    caller: Caller,
    State(app): State<App>,
    ApiPath(path): ApiPath<ReleasePath>,
    posted: Posted,
) -> Answer {
    let key = ServiceKey::new(path.environment, path.service);
    let request = |body: AbortRequest| Request::Abort { release: path.release, reason: body.reason };
    change(&app, caller, TokenRole::Releaser, key, posted, request).await
}

/// Goes back to an earlier release, at once: it was approved before.
#[utoipa::path(
    post,
    path = "/api/v1/environments/{environment}/services/{service}/rollback",
    tag = "releases",
    operation_id = "rollBack",
    params(ServicePath, ChangeHeaders),
    request_body = RollbackRequest,
    responses((status = 202, description = "Stored, and told to the engine; what follows is in the service's status", body = RolloutAnswer), ChangeProblems)
)]
pub(crate) async fn rollback(
    caller: Caller,
    State(app): State<App>,
    ApiPath(path): ApiPath<ServicePath>,
    posted: Posted,
) -> Answer {
    let request = |body: RollbackRequest| Request::Rollback { to: body.to, reason: body.reason };
    change(&app, caller, TokenRole::Releaser, path.key(), posted, request).await
}

/// Starts every instance anew, one after the other.
#[utoipa::path(
    post,
    path = "/api/v1/environments/{environment}/services/{service}/restart",
    tag = "services",
    operation_id = "restart",
    params(ServicePath, ChangeHeaders),
    request_body = RestartRequest,
    responses((status = 202, description = "Stored, and told to the engine; what follows is in the service's status", body = RolloutAnswer), ChangeProblems)
)]
pub(crate) async fn restart(
    caller: Caller,
    State(app): State<App>,
    ApiPath(path): ApiPath<ServicePath>,
    posted: Posted,
) -> Answer {
    let request = |body: RestartRequest| Request::Restart { reason: body.reason };
    change(&app, caller, TokenRole::Releaser, path.key(), posted, request).await
}

/// Changes the number of instances.
///
/// While a release waits at its gate, the stable release alone is scaled.
#[utoipa::path(
    post,
    path = "/api/v1/environments/{environment}/services/{service}/scale",
    tag = "services",
    operation_id = "scale",
    params(ServicePath, ChangeHeaders),
    request_body = ScaleRequest,
    responses((status = 202, description = "Stored, and told to the engine; what follows is in the service's status", body = RolloutAnswer), ChangeProblems)
)]
pub(crate) async fn scale(
    caller: Caller,
    State(app): State<App>,
    ApiPath(path): ApiPath<ServicePath>,
    posted: Posted,
) -> Answer {
    let request = |body: ScaleRequest| Request::Scale { replicas: body.replicas };
    change(&app, caller, TokenRole::Releaser, path.key(), posted, request).await
}

/// Asks whether the caller may, decides, stores, and tells the engine.
async fn change<T: DeserializeOwned>(
    app: &App,
    caller: Caller,
    role: TokenRole,
    key: ServiceKey,
    posted: Posted,
    request: impl FnOnce(T) -> Request,
) -> Answer {
    caller.require(role, &key)?;
    let environment = super::services::environment(app, &key.environment)?;
    let (engine, gate) = (environment.engine.clone(), environment.gate);
    let request = request(posted.body()?);
    let identity = RequestIdentity {
        token: caller.0.id,
        actor: caller.0.name,
        key: posted.idempotency_key,
        request: posted.request,
    };
    let (changed, if_match) = (app.clone(), posted.if_match);
    let answer = app.carry_through(async move {
        let report = engine.report(&key).await?;
        let told = report.as_ref().map(|report| Told { version: report.version, replicas: report.replicas });
        let nothing = RolloutStatus::default();
        let status = report.as_ref().map_or(&nothing, |report| &report.status);
        let (now, random, retention) = (now(), rand::random(), changed.retention);
        let decide = |service, releases| {
            let actor = identity.actor.as_str();
            let situation =
                Situation { key: &key, service, releases, retention, status, told, gate, actor, if_match, now, random };
            decide::decide(situation, request)
        };
        let answer = changed.store.change(&key, &identity, now, decide).await?;
        changed.applier.apply(&key).await;
        changed.changes.send_modify(|revision| *revision += 1);
        Ok(answer)
    });
    Ok((StatusCode::ACCEPTED, Json(answer.await?)))
}
