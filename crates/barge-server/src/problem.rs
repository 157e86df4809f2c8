//! Errors to callers: RFC 9457 documents with a stable code, and no internals.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use barge_api::{Problem, code};
use barge_engine::EngineError;

use crate::decide::Refusal;
use crate::store::{ChangeError, StoreError};

/// Why a request has no success.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerError {
    #[error("a valid token is needed")]
    Unauthenticated,
    #[error("{0}")]
    Forbidden(String),
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    Invalid(String),
    #[error("the request's body is too large")]
    TooLarge,
    #[error("the body must be JSON, with Content-Type: application/json")]
    NotJson,
    #[error("this resource does not know that method")]
    MethodNotAllowed,
    #[error("{0}")]
    Refused(#[source] Refusal),
    #[error("the server is stopping")]
    Stopping,
    #[error("the request took too long; the service's status tells whether it was carried out")]
    TooSlow,
    #[error("{0}")]
    Unavailable(&'static str),
    #[error("a change broke off")]
    Broken(#[source] tokio::task::JoinError),
    #[error("the store failed")]
    Store(#[source] StoreError),
    #[error("the engine failed")]
    Engine(#[source] EngineError),
}

impl From<StoreError> for ServerError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<ChangeError> for ServerError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Refused(refusal) => Self::Refused(refusal),
            ChangeError::Store(error) => Self::Store(error),
        }
    }
}

impl From<EngineError> for ServerError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::UnknownService(_) | EngineError::UnknownInstance(_) => Self::NotFound(error.to_string()),
            EngineError::Stopping => Self::Stopping,
            other => Self::Engine(other),
        }
    }
}

impl From<PathRejection> for ServerError {
    fn from(rejection: PathRejection) -> Self {
        Self::Invalid(rejection.body_text())
    }
}

impl From<QueryRejection> for ServerError {
    fn from(rejection: QueryRejection) -> Self {
        Self::Invalid(rejection.body_text())
    }
}

impl From<JsonRejection> for ServerError {
    fn from(rejection: JsonRejection) -> Self {
        match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Self::TooLarge,
            _ => Self::Invalid(rejection.body_text()),
        }
    }
}

impl ServerError {
    fn status_and_code(&self) -> (u16, &'static str) {
        match self {
            ServerError::Unauthenticated => (401, code::UNAUTHENTICATED),
            ServerError::Forbidden(_) => (403, code::FORBIDDEN),
            ServerError::NotFound(_) => (404, code::NOT_FOUND),
            ServerError::Invalid(_) => (400, code::INVALID),
            ServerError::TooLarge => (413, code::TOO_LARGE),
            ServerError::NotJson => (415, code::INVALID),
            ServerError::MethodNotAllowed => (405, code::INVALID),
            ServerError::Refused(refusal) => refusal.status_and_code(),
            ServerError::Stopping | ServerError::TooSlow | ServerError::Unavailable(_) => (503, code::UNAVAILABLE),
            ServerError::Store(_) | ServerError::Engine(_) | ServerError::Broken(_) => (500, code::INTERNAL),
        }
    }

    /// The document that the caller gets.
    pub(crate) fn problem(&self) -> Problem {
        let (status, code) = self.status_and_code();
        let (detail, hint) = match self {
            ServerError::Refused(refusal) => (refusal.to_string(), refusal.hint()),
            ServerError::Unauthenticated => {
                (self.to_string(), Some("start the platform with `barge up`, which logs you in".to_owned()))
            }
            ServerError::Store(_) | ServerError::Engine(_) | ServerError::Broken(_) => {
                ("something on the server failed; its log says what".to_owned(), None)
            }
            _ => (self.to_string(), None),
        };
        let title = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Error");
        Problem { kind: "about:blank".to_owned(), title: title.to_owned(), status, detail, code: code.to_owned(), hint }
    }
}

impl IntoResponse for ServerError {
    fn into_response(self) -> Response {
        if self.status_and_code().0 == 500 {
            tracing::error!(error = &self as &dyn std::error::Error, "a request failed");
        }
        let problem = self.problem();
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(problem)).into_response();
        let kind = header::HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// The problems that an operation which only reads may answer with, for the OpenAPI document.
#[derive(utoipa::IntoResponses)]
#[allow(dead_code)]
pub(crate) enum ReadProblems {
    /// The request cannot be understood.
    #[response(status = 400, content_type = "application/problem+json")]
    Invalid(Problem),
    /// There is no valid token.
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthenticated(Problem),
    /// The token may not do this, or the request came through a name that is not the server's.
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(Problem),
    /// There is no such thing.
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(Problem),
    /// Something on the server failed.
    #[response(status = 500, content_type = "application/problem+json")]
    Internal(Problem),
    /// The server is stopping, or the request took too long.
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(Problem),
}

/// The problems that an operation which changes something may answer with.
#[derive(utoipa::IntoResponses)]
#[allow(dead_code)]
pub(crate) enum ChangeProblems {
    /// The request cannot be understood.
    #[response(status = 400, content_type = "application/problem+json")]
    Invalid(Problem),
    /// There is no valid token.
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthenticated(Problem),
    /// The token may not do this, or the request came through a name that is not the server's.
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(Problem),
    /// There is no such thing.
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(Problem),
    /// The state of the service does not allow it.
    #[response(status = 409, content_type = "application/problem+json")]
    Conflict(Problem),
    /// The service was changed meanwhile: it is not at the version of `If-Match`.
    #[response(status = 412, content_type = "application/problem+json")]
    ChangedMeanwhile(Problem),
    /// The body is too large.
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(Problem),
    /// The body's content type is not JSON.
    #[response(status = 415, content_type = "application/problem+json")]
    NotJson(Problem),
    /// The request is understood and cannot be carried out as it is.
    #[response(status = 422, content_type = "application/problem+json")]
    Unprocessable(Problem),
    /// Something on the server failed.
    #[response(status = 500, content_type = "application/problem+json")]
    Internal(Problem),
    /// The server is stopping, or the request took too long.
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(Problem),
}
