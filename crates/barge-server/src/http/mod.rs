//! API v1 over HTTP. Each handler says who may call it, and leaves the rest to `decide`, the store and the engines.

mod exec;
mod extract;
mod guard;
mod instances;
mod platform;
mod rollouts;
mod services;

use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use tower_http::timeout::TimeoutLayer;
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;
use crate::problem::ServerError;

/// The largest body that is read, in bytes.
const MAX_BODY: usize = 1024 * 1024;
/// How long a request may take that is not a stream.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Barge API",
        description = "Releases services and shows what runs. Every operation needs a bearer token. Errors are RFC 9457 documents with a stable `code`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    modifiers(&BearerToken),
    security(("token" = [])),
)]
struct Document;

struct BearerToken;

impl utoipa::Modify for BearerToken {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
        document.components.get_or_insert_default().add_security_scheme("token", scheme);
    }
}

/// Operations that answer at once.
fn operations() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(platform::whoami))
        .routes(routes!(platform::environments))
        .routes(routes!(platform::tokens, platform::new_token))
        .routes(routes!(platform::revoke_token))
        .routes(routes!(platform::audit))
        .routes(routes!(services::services))
        .routes(routes!(services::status))
        .routes(routes!(services::releases, rollouts::new_release))
        .routes(routes!(services::release))
        .routes(routes!(rollouts::approve))
        .routes(routes!(rollouts::abort))
        .routes(routes!(rollouts::rollback))
        .routes(routes!(rollouts::restart))
        .routes(routes!(rollouts::scale))
        .routes(routes!(instances::instances))
        .routes(routes!(instances::logs))
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, REQUEST_LIMIT))
}

/// Operations that go on until somebody leaves.
fn streams() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(services::status_stream))
        .routes(routes!(instances::logs_stream))
        .routes(routes!(exec::exec))
}

/// The API's OpenAPI document.
pub fn openapi() -> utoipa::openapi::OpenApi {
    documented().split_for_parts().1
}

fn documented() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Document::openapi()).merge(operations()).merge(streams())
}

/// All routes.
pub(crate) fn router(app: App) -> Router {
    let (router, document) = documented().split_for_parts();
    let document = axum::Json(document);
    router
        .route("/api/v1/openapi.json", axum::routing::get(move || async move { document }))
        .route("/healthz", axum::routing::get(|| async { "ok\n" }))
        .fallback(|| async { ServerError::NotFound("there is no such resource".to_owned()) })
        .method_not_allowed_fallback(|| async { ServerError::MethodNotAllowed })
        .layer(axum::middleware::from_fn(guard::check_host))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(app)
}
