//! Asks a running daemon.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::Value;

/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(30);

pub(super) struct Client {
    http: reqwest::Client,
    base: reqwest::Url,
}

impl Client {
    pub(super) fn new(url: &str) -> Result<Self> {
        let wrong = || format!("\"{url}\" is not a URL such as http://127.0.0.1:7411");
        let base: reqwest::Url = url.parse().with_context(wrong)?;
        if !matches!(base.scheme(), "http" | "https") {
            bail!(wrong());
        }
        // One provider for all of TLS; a second installation is none.
        let _already = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build()?;
        Ok(Self { http, base })
    }

    /// Asks for the path of these segments, below the path that the URL itself may have.
    pub(super) async fn get(&self, path: &[&str], query: &[(&str, String)]) -> Result<Value> {
        let mut url = self.at(path)?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.answer(self.http.get(url)).await
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
        let answer = request.send().await.map_err(|error| match error.is_connect() {
            true => anyhow!(
                "no postrider answers at {}; start it, or say where it is with --url",
                self.base
            ),
            false => anyhow!(error),
        })?;
        let status = answer.status();
        let text = answer.text().await?;
        let body: Value = serde_json::from_str(&text).with_context(|| {
            format!("{} answered {status} without JSON; is it a postrider?", self.base)
        })?;
        if !status.is_success() {
            bail!("{}", body.get("detail").and_then(Value::as_str).unwrap_or(status.as_str()));
        }
        Ok(body)
    }
}
