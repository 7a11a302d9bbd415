//! Parts of a request, refused as problems.

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::StatusCode;
use axum::http::request::Parts;
use postrider_core::suggest;
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// The query string.
pub struct Parameters<T>(pub T);

/// The variable part of the path.
pub struct Named(pub String);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Parameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        query.map(|Query(found)| Self(found)).map_err(|rejection| {
            use std::error::Error as _;
            let message =
                rejection.source().map_or_else(|| rejection.to_string(), ToString::to_string);
            // The parser puts the key before serde's message.
            let message = message.split_once(": ").map_or(message.as_str(), |(_, inner)| inner);
            let detail = format!("the query string: {}", suggest::reword(message));
            Problem::new(StatusCode::BAD_REQUEST, detail)
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let refused = |_any| Problem::new(StatusCode::BAD_REQUEST, "the path is not UTF-8 text");
        path.map(|Path(name)| Self(name)).map_err(refused)
    }
}

/// A text to look for. No text that is kept holds a NUL, and PostgreSQL takes none.
pub(super) fn sought(field: &str, text: Option<String>) -> Result<Option<String>, Problem> {
    match text.as_deref().is_some_and(|text| text.contains('\0')) {
        true => Err(Problem::field(field, "must not contain the control character U+0000")),
        false => Ok(text),
    }
}
