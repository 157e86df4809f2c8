//! API v1 over HTTP. Each handler says who may call it, and leaves the rest to `decide`, the store and the engines.

mod exec;
mod extract;
mod guard;
mod instances;
mod limit;
mod platform;
mod rollouts;
mod services;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;
use crate::problem::ServerError;

/// The largest body that is read, in bytes.
const MAX_BODY: usize = 1024 * 1024;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Barge API",
        description = "Releases services and shows what runs. Every operation needs a token, as bearer token or as the password of basic authentication. Errors are RFC 9457 documents with a stable `code`. Points in time are milliseconds since 1970, spans of time are texts such as `10s` or `5m`. Fields may be added to answers.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    modifiers(&BearerToken),
    components(schemas(barge_api::ExecOpen, barge_api::Problem)),
    tags(
        (name = "releases", description = "Make, approve, abort and roll back releases"),
        (name = "services", description = "What runs, how many of it, and starting it anew"),
        (name = "instances", description = "Single instances: their output, and programs inside"),
        (name = "server", description = "Callers, environments, tokens, and the audit"),
    ),
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
    OpenApiRouter::with_openapi(Document::openapi()).merge(operations()).merge(streams()).split_for_parts().1
}

/// All routes.
pub(crate) fn router(app: App) -> Router {
    let (operations, streams) = (operations().split_for_parts().0, streams().split_for_parts().0);
    let document = axum::Json(openapi());
    operations
        .layer(axum::middleware::from_fn_with_state(app.clone(), limit::in_time))
        .merge(streams)
        .route("/api/v1/openapi.json", axum::routing::get(move || async move { document }))
        .route("/healthz", axum::routing::get(|| async { "ok\n" }))
        .fallback(|| async { ServerError::NotFound("there is no such resource".to_owned()) })
        .method_not_allowed_fallback(|| async { ServerError::MethodNotAllowed })
        .layer(axum::middleware::from_fn(guard::check_host))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(app)
}
