//! How long a request may take that is answered at once, and who waits for it when the server stops.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::App;
use crate::problem::ServerError;

/// A change that is under way goes on without its caller.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);

/// Answers for a request that takes too long.
pub(crate) async fn in_time(State(app): State<App>, request: Request, next: Next) -> Response {
    let _under_way = app.under_way.token();
    within(REQUEST_LIMIT, next.run(request)).await
}

async fn within(limit: Duration, answer: impl Future<Output = Response>) -> Response {
    tokio::time::timeout(limit, answer).await.unwrap_or_else(|_| ServerError::TooSlow.into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_that_takes_too_long_is_answered_with_a_problem() {
        let answer = within(Duration::ZERO, std::future::pending()).await;
        assert_eq!(answer.status(), 503);
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        let fast = within(Duration::from_secs(60), async { "fast".into_response() }).await;
        assert_eq!(fast.status(), 200);
    }
}
