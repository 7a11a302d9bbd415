//! Who sent a request.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::scope::Scopes;
use crate::api::problem::Problem;

/// Who sent a request, as the doorman found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// As the audit has it: `token ops (1f…)`, `uid 1000` or `loopback`.
    pub actor: String,
    pub scopes: Scopes,
}

impl Caller {
    /// Somebody whom the door lets in without a token.
    pub fn trusted(actor: String) -> Self {
        Self { actor, scopes: Scopes::all() }
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        // Handlers that change something are behind the doorman.
        parts.extensions.get::<Self>().cloned().ok_or_else(Problem::unauthorized)
    }
}
