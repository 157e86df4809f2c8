//! Who calls, environments, tokens, and the audit.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use barge_api::{AuditList, EnvironmentList, NewToken, TokenCreated, TokenList, TokenRole, Whoami};
use serde::Deserialize;
use utoipa::IntoParams;

use super::extract::{ApiPath, ApiQuery, Posted};
use crate::access::Caller;
use crate::problem::{ChangeProblems, ReadProblems, ServerError};
use crate::{App, now};

/// The longest name of a token.
const MAX_NAME: usize = 100;

/// Tells who the caller is.
#[utoipa::path(
    get,
    path = "/api/v1/whoami",
    tag = "server",
    operation_id = "whoAmI",
    responses((status = 200, description = "The caller's token", body = Whoami), ReadProblems)
)]
pub(crate) async fn whoami(caller: Caller) -> Json<Whoami> {
    let token = caller.0;
    Json(Whoami {
        name: token.name,
        role: token.role,
        service: token.service,
        environment: token.environment,
        server: env!("CARGO_PKG_VERSION").to_owned(),
    })
}

/// Lists the environments; the first is the default.
#[utoipa::path(
    get,
    path = "/api/v1/environments",
    tag = "server",
    operation_id = "listEnvironments",
    responses((status = 200, description = "Every environment, in the order of the server's configuration", body = EnvironmentList), ReadProblems)
)]
pub(crate) async fn environments(_caller: Caller, State(app): State<App>) -> Json<EnvironmentList> {
    let environments = app.environments.iter().map(crate::environment::Environment::view).collect();
    Json(EnvironmentList { environments })
}

/// Lists the tokens, without their secrets.
#[utoipa::path(
    get,
    path = "/api/v1/tokens",
    tag = "server",
    operation_id = "listTokens",
    responses((status = 200, description = "Every token, the revoked ones too", body = TokenList), ReadProblems)
)]
pub(crate) async fn tokens(caller: Caller, State(app): State<App>) -> Result<Json<TokenList>, ServerError> {
    caller.require_everywhere(TokenRole::Admin)?;
    let tokens = app.store.tokens().await?.into_iter().map(|token| token.view).collect();
    Ok(Json(TokenList { tokens }))
}

/// Makes a token. Its secret is shown in this answer and never again.
#[utoipa::path(
    post,
    path = "/api/v1/tokens",
    tag = "server",
    operation_id = "createToken",
    request_body = NewToken,
    responses((status = 201, description = "The token with its secret", body = TokenCreated), ChangeProblems)
)]
pub(crate) async fn new_token(
    caller: Caller,
    State(app): State<App>,
    posted: Posted,
) -> Result<(StatusCode, Json<TokenCreated>), ServerError> {
    caller.require_everywhere(TokenRole::Admin)?;
    let new: NewToken = posted.body()?;
    let length = new.name.chars().count();
    if length == 0 || length > MAX_NAME || new.name.chars().any(char::is_control) {
        return Err(ServerError::Invalid(format!("a token's name has 1 to {MAX_NAME} printable characters")));
    }
    let making = app.clone();
    let create = async move { Ok(making.tokens.create(&making.store, &new, &caller.0.name, now()).await?) };
    Ok((StatusCode::CREATED, Json(app.carry_through(create).await?)))
}

/// Which token.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct TokenPath {
    /// The token's id.
    token: String,
}

/// Revokes a token, from this moment on.
#[utoipa::path(
    delete,
    path = "/api/v1/tokens/{token}",
    tag = "server",
    operation_id = "revokeToken",
    params(TokenPath),
    responses((status = 204, description = "It is not valid any more"), ChangeProblems)
)]
pub(crate) async fn revoke_token(
    caller: Caller,
    State(app): State<App>,
    ApiPath(path): ApiPath<TokenPath>,
) -> Result<StatusCode, ServerError> {
    caller.require_everywhere(TokenRole::Admin)?;
    let revoking = app.clone();
    let revoke = async move { Ok(revoking.tokens.revoke(&revoking.store, &path.token, &caller.0.name, now()).await?) };
    if app.carry_through(revoke).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(ServerError::NotFound("there is no valid token with this id".to_owned()))
    }
}

/// How many records.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct AuditQuery {
    /// At most so many, up to 1000.
    #[serde(default = "default_limit")]
    #[param(required = false, default = 100, minimum = 1, maximum = 1000)]
    limit: u64,
}

fn default_limit() -> u64 {
    100
}

/// Lists what was changed and which terminals were opened, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/audit",
    tag = "server",
    operation_id = "listAudit",
    params(AuditQuery),
    responses((status = 200, description = "The latest records", body = AuditList), ReadProblems)
)]
pub(crate) async fn audit(
    caller: Caller,
    State(app): State<App>,
    ApiQuery(query): ApiQuery<AuditQuery>,
) -> Result<Json<AuditList>, ServerError> {
    caller.require_everywhere(TokenRole::Admin)?;
    let entries = app.store.audit_entries(query.limit.clamp(1, 1000)).await?;
    Ok(Json(AuditList { entries }))
}
