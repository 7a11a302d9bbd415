//! HTTP through the host's guarded client: only toward granted origins, never redirected.

use crate::bindings::postrider::notifier::http;
use serde_json::Value;

pub use crate::bindings::postrider::notifier::http::{HttpError, Request, Response};

impl Request {
    /// Starts a request. The URL may be a token in place of a secret; the host expands it.
    pub fn new(method: &str, url: &str) -> Self {
        Self {
            method: method.to_owned(),
            url: url.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// Starts a `GET`.
    pub fn get(url: &str) -> Self {
        Self::new("GET", url)
    }

    /// Starts a `POST`.
    pub fn post(url: &str) -> Self {
        Self::new("POST", url)
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the body; its `content-type` is a [`header`](Self::header) of its own.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets a JSON body and its `content-type`.
    #[must_use]
    pub fn json(self, value: &Value) -> Self {
        self.header("content-type", "application/json").body(value.to_string())
    }

    /// Sends it and reads the whole answer. An error turns into a [`Failure`](crate::Failure) by `?`.
    pub fn send(&self) -> Result<Response, HttpError> {
        http::send(self)
    }
}

impl Response {
    /// The first value of a header, whose name is compared without case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        Some(value)
    }

    /// The body parsed as JSON.
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// Whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}
