//! Why a request has no answer, before the contract's or WASI's words for it.

use wasmtime_wasi_http::Error as WasiError;

use crate::bindings::postrider::notifier::http::HttpError;

/// Why a request has no answer. Texts are redacted where they are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The request is malformed or larger than its limit.
    Invalid(String),
    /// No grant, or a budget is used up; the text holds the line to add.
    Denied(String),
    Connect(String),
    Timeout,
    /// The answer exceeds its limit.
    TooLarge,
    /// The connection broke, or the answer is no HTTP.
    Other(String),
}

impl From<Refusal> for HttpError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Invalid(text) => Self::Invalid(text),
            Refusal::Denied(text) => Self::Denied(text),
            Refusal::Connect(text) => Self::Connect(text),
            Refusal::Timeout => Self::Timeout,
            Refusal::TooLarge => Self::TooLarge,
            Refusal::Other(text) => Self::Other(text),
        }
    }
}

impl From<Refusal> for WasiError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Invalid(text) => Self::InternalError(Some(text)),
            Refusal::Denied(_) => Self::HttpRequestDenied,
            Refusal::Connect(_) => Self::ConnectionRefused,
            Refusal::Timeout => Self::ConnectionReadTimeout,
            Refusal::TooLarge => Self::HttpResponseBodySize(None),
            Refusal::Other(text) => Self::InternalError(Some(text)),
        }
    }
}
