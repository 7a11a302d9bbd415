//! Asks a running daemon.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use reqwest::StatusCode;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A stream of events has no end to wait for.
const FOR_EVER: Duration = Duration::from_secs(366 * 24 * 3_600);

/// The daemon said no.
#[derive(Debug, thiserror::Error)]
#[error("{detail}")]
pub(super) struct Refusal {
    pub(super) status: u16,
    detail: String,
}

/// There is no daemon to ask.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NoAnswer(String);

/// What is asked for is not there, as the database itself says.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NotThere(pub(super) String);

/// An answer's fields as they came: deep content is not parsed, and no digit of a number is lost.
pub(super) type Fields = BTreeMap<String, Box<RawValue>>;

impl Refusal {
    fn of(status: StatusCode, body: &Value) -> Self {
        let detail = body.get("detail").and_then(Value::as_str).map(str::to_owned);
        // What the probes answer.
        let listed = || {
            let list = body.get("problems").or(body.get("stuck")).and_then(Value::as_array)?;
            let names: Vec<&str> = list.iter().filter_map(Value::as_str).collect();
            Some(format!("not well: {}", names.join("; ")))
        };
        let detail = detail.or_else(listed).unwrap_or_else(|| status.as_str().to_owned());
        Self { status: status.as_u16(), detail }
    }
}

pub(super) struct Client {
    http: reqwest::Client,
    base: reqwest::Url,
    /// As messages name it.
    shown: String,
    token: Option<String>,
}

impl Client {
    /// `url` is that of a daemon, or `unix:` and the path of its socket.
    pub(super) fn new(url: &str) -> Result<Self> {
        let wrong = || {
            format!(
                "\"{url}\" is not a URL such as http://127.0.0.1:7411 or unix:/run/postrider/api.sock"
            )
        };
        let socket = url.strip_prefix("unix:").map(|path| path.strip_prefix("//").unwrap_or(path));
        let base: reqwest::Url = match socket {
            Some(_) => "http://localhost".parse()?,
            None => url.parse().with_context(wrong)?,
        };
        if !matches!(base.scheme(), "http" | "https") {
            bail!(wrong());
        }
        // One provider for all of TLS; a second installation is none.
        let _already = rustls::crypto::ring::default_provider().install_default();
        let mut http = reqwest::Client::builder().timeout(TIMEOUT).no_proxy();
        if let Some(path) = socket {
            http = http.unix_socket(path);
        }
        let (http, shown) = (http.build()?, url.to_owned());
        Ok(Self { http, base, shown, token: None })
    }

    /// Shows this token with every request.
    pub(super) fn with_token(self, token: Option<String>) -> Self {
        Self { token, ..self }
    }

    /// Asks for the path of these segments, below the path that the URL itself may have.
    pub(super) async fn get(&self, path: &[&str], query: &[(&str, String)]) -> Result<Value> {
        let mut url = self.at(path)?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.answer(self.http.get(url)).await
    }

    /// Asks for one thing, and leaves its fields as they came.
    pub(super) async fn get_fields(&self, path: &[&str]) -> Result<Fields> {
        let (status, text) = self.text(self.http.get(self.at(path)?)).await?;
        self.parsed(status, &text)
    }

    /// Deletes what is at this path.
    pub(super) async fn delete(&self, path: &[&str]) -> Result<Value> {
        self.answer(self.http.delete(self.at(path)?)).await
    }

    /// Posts JSON.
    pub(super) async fn post(&self, path: &[&str], body: String) -> Result<Value> {
        let request = self.http.post(self.at(path)?).header("content-type", "application/json");
        self.answer(request.body(body)).await
    }

    fn at(&self, path: &[&str]) -> Result<reqwest::Url> {
        let mut url = self.base.clone();
        let segments = url.path_segments_mut();
        let mut segments = segments.map_err(|()| anyhow!("{} has no paths", self.base))?;
        segments.pop_if_empty().extend(path);
        drop(segments);
        Ok(url)
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> Result<Value> {
        let (status, text) = self.text(request).await?;
        self.parsed(status, &text)
    }

    /// The text of a good answer.
    async fn text(&self, request: reqwest::RequestBuilder) -> Result<(StatusCode, String)> {
        let answer = self.with(request).send().await.map_err(|error| self.no_answer(error))?;
        let status = answer.status();
        let text = answer.text().await?;
        if !status.is_success() {
            return Err(Refusal::of(status, &self.parsed(status, &text)?).into());
        }
        Ok((status, text))
    }

    fn parsed<T: DeserializeOwned>(&self, status: StatusCode, text: &str) -> Result<T> {
        serde_json::from_str(text).with_context(|| {
            format!("{} answered {status} without JSON; is it a postrider?", self.shown)
        })
    }

    /// Opens what does not end by itself.
    pub(super) async fn follow(
        &self,
        path: &[&str],
        query: &[(&str, String)],
        last: Option<&str>,
    ) -> Result<reqwest::Response> {
        let mut url = self.at(path)?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = self.http.get(url).timeout(FOR_EVER);
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let answer = self.with(request).send().await.map_err(|error| self.no_answer(error))?;
        let status = answer.status();
        if !status.is_success() {
            let body = answer.json().await.unwrap_or(Value::Null);
            return Err(Refusal::of(status, &body).into());
        }
        Ok(answer)
    }

    /// With the token, if there is one.
    fn with(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    fn no_answer(&self, error: reqwest::Error) -> anyhow::Error {
        if !error.is_connect() {
            return anyhow!(error);
        }
        let mut cause: &dyn Error = &error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        let cause = cause.to_string();
        match cause.contains("certificate") {
            true => anyhow!(
                "{} is not trusted: {cause}; SSL_CERT_FILE may name a file with its authority",
                self.shown
            ),
            false => NoAnswer(format!(
                "no postrider answers at {} ({cause}); start it, or say where it is with --url",
                self.shown
            ))
            .into(),
        }
    }
}

/// The token to show: of a file, else `$POSTRIDER_TOKEN`.
pub(super) fn token(
    file: Option<&Path>,
    environment: &[(String, String)],
) -> Result<Option<String>> {
    if let Some(path) = file {
        let text = std::fs::read_to_string(path);
        let text = text.with_context(|| format!("cannot read the token in {}", path.display()))?;
        return Ok(Some(text.trim().to_owned()));
    }
    let set = environment.iter().find(|(name, _)| name == "POSTRIDER_TOKEN");
    Ok(set.map(|(_, token)| token.trim().to_owned()).filter(|token| !token.is_empty()))
}
