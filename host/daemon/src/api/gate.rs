//! What callers hear while the daemon starts: come back, and why it takes so long.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use serde_json::json;
use tower_service::Service;

use super::problem::Problem;
use super::request_id;
use crate::manager::Manager;

/// Closed until the API is there. Cheap to clone: all are one.
#[derive(Clone, Default)]
pub struct Gate(Arc<Inner>);

#[derive(Default)]
struct Inner {
    api: OnceLock<Router>,
    reason: Mutex<Option<String>>,
    manager: Manager,
}

impl Gate {
    /// Its reasons are the service manager's, too.
    pub fn telling(manager: Manager) -> Self {
        Self(Arc::new(Inner { manager, ..Inner::default() }))
    }

    /// Answers 503 to everything until [`Gate::open`], and the API's answers from then on.
    pub async fn answer(&self, request: Request) -> Response {
        request_id::stamp(request, async |request| self.through(request).await).await
    }

    /// Says why it is closed.
    pub fn explain(&self, reason: String) {
        self.0.manager.status(&reason);
        *self.reason() = Some(reason);
    }

    /// Lets callers through, once and for ever.
    pub fn open(&self, api: Router) {
        if self.0.api.set(api).is_err() {
            tracing::warn!("the API was open already");
        }
    }

    async fn through(&self, request: Request) -> Response {
        match self.0.api.get() {
            // A router is always ready.
            Some(api) => match api.clone().call(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            },
            // Alive while it waits: a restart would not make its database come.
            None if request.uri().path() == "/livez" => {
                Json(json!({"live": true, "stuck": []})).into_response()
            }
            None => {
                let reason = self.reason().clone();
                let reason = reason.unwrap_or_else(|| "postrider is starting".to_owned());
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, reason).into_response()
            }
        }
    }

    fn reason(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.0.reason.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::get;

    use super::*;

    async fn ask(gate: &Gate) -> Response {
        gate.answer(Request::new(Body::empty())).await
    }

    #[tokio::test]
    async fn callers_are_told_to_come_back_until_it_opens() {
        let gate = Gate::default();
        gate.explain("the database is away".into());
        let closed = ask(&gate).await;
        assert_eq!(closed.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(closed.headers().contains_key("retry-after"));
        let body = axum::body::to_bytes(closed.into_body(), 1_000).await.unwrap();
        assert!(String::from_utf8_lossy(&body).contains("the database is away"));
        gate.open(Router::new().route("/", get(async || "hello")));
        assert_eq!(ask(&gate).await.status(), StatusCode::OK);
    }
}
