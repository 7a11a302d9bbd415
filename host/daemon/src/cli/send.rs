//! `postrider send`.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::client::Client;
use super::show;

/// A notification as its flags give it.
#[derive(Args)]
pub(super) struct Given {
    /// Its type, such as alert.firing.
    #[arg(long = "type")]
    kind: String,
    /// Who produces it.
    #[arg(long)]
    source: Option<String>,
    /// What it is about.
    #[arg(long)]
    subject: Option<String>,
    /// A label; may be given again.
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// Idempotency key: the same key with the same notification is taken once.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Deliver no sooner than after this time, such as 10m.
    #[arg(long, value_name = "DURATION")]
    after: Option<String>,
    /// Give up when it is not delivered within this time, such as 1h.
    #[arg(long, value_name = "DURATION")]
    expires: Option<String>,
    /// Media type of the content [default: JSON where it parses, else text or bytes].
    #[arg(long)]
    content_type: Option<String>,
    /// The content; - for standard input.
    #[arg(value_name = "FILE|-")]
    file: Option<PathBuf>,
}

pub(super) async fn run(client: &Client, given: Given, as_json: bool) -> Result<()> {
    let content = match &given.file {
        None => Vec::new(),
        Some(path) => read(path)?,
    };
    let answer = client.post(&["v1", "notifications"], body(given, content)?).await?;
    let mut out = std::io::stdout().lock();
    match as_json {
        true => writeln!(out, "{answer:#}")?,
        false => writeln!(out, "{}", answer.get("id").and_then(Value::as_str).unwrap_or(""))?,
    }
    Ok(())
}

/// Says where it would go, and sends nothing.
pub(super) async fn explain(client: &Client, given: Given, as_json: bool) -> Result<()> {
    let answer = client.post(&["v1", "explain"], body(given, Vec::new())?).await?;
    show::list(&answer, as_json, &["destination", "goes", "reason", "state", "paused"])
}

/// The body of `POST /v1/notifications`.
#[derive(Serialize)]
struct Body {
    #[serde(rename = "type")]
    kind: String,
    labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deliver_after: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_after: Option<String>,
    #[serde(flatten)]
    content: Content,
}

#[derive(Serialize)]
enum Content {
    /// As it is: the order of keys and the digits of numbers are the producer's.
    #[serde(rename = "content")]
    Json(Box<RawValue>),
    #[serde(rename = "content_text")]
    Text(String),
    #[serde(rename = "content_base64")]
    Bytes(String),
}

fn body(given: Given, content: Vec<u8>) -> Result<String> {
    let wants_json = given.content_type.as_deref().is_none_or(|t| t.contains("json"));
    let content =
        match (serde_json::from_slice::<Box<RawValue>>(&content), String::from_utf8(content)) {
            (Ok(value), _) if wants_json => Content::Json(value),
            (_, Ok(text)) => Content::Text(text),
            (_, Err(bytes)) => Content::Bytes(STANDARD.encode(bytes.as_bytes())),
        };
    let empty = matches!(&content, Content::Text(text) if text.is_empty());
    let content_type = given.content_type.or_else(|| empty.then(|| "application/json".to_owned()));
    Ok(serde_json::to_string(&Body {
        kind: given.kind,
        labels: given.labels.into_iter().collect(),
        source: given.source,
        subject: given.subject,
        idempotency_key: given.key,
        content_type,
        deliver_after: given.after,
        expires_after: given.expires,
        content,
    })?)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    if path == Path::new("-") {
        let mut content = Vec::new();
        std::io::stdin().read_to_end(&mut content).context("cannot read standard input")?;
        return Ok(content);
    }
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

pub(super) fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        Some(_) | None => Err("a label is NAME=VALUE, such as severity=high".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches as _;

    use super::*;

    fn sent(content: &[u8], content_type: Option<&str>) -> String {
        let given = Given {
            kind: "x".into(),
            source: None,
            subject: None,
            labels: Vec::new(),
            key: None,
            after: None,
            expires: None,
            content_type: content_type.map(str::to_owned),
            file: None,
        };
        body(given, content.to_vec()).unwrap()
    }

    #[test]
    fn json_is_sent_as_it_is() {
        let body = sent(br#"{"n":123456789012345678901234567890,"b":1.10,"a":1}"#, None);
        assert!(
            body.contains(r#""content":{"n":123456789012345678901234567890,"b":1.10,"a":1}"#),
            "{body}"
        );
    }

    #[test]
    fn a_schedule_goes_as_it_is_worded() {
        let flags = |words: &[&str]| {
            let words = ["send", "--type", "x"].into_iter().chain(words.iter().copied());
            let parsed = Given::augment_args(clap::Command::new("send")).get_matches_from(words);
            body(Given::from_arg_matches(&parsed).unwrap(), Vec::new()).unwrap()
        };
        let body = flags(&["--after", "10m", "--expires", "1h"]);
        assert!(body.contains(r#""deliver_after":"10m","expires_after":"1h""#), "{body}");
        assert!(!flags(&[]).contains("_after"));
    }

    #[test]
    fn text_and_bytes_are_told_apart() {
        assert!(sent(b"plain words", None).contains(r#""content_text":"plain words""#));
        assert!(sent(b"1", Some("text/plain")).contains(r#""content_text":"1""#));
        assert!(sent(b"\xff", None).contains(r#""content_base64":"/w==""#));
    }
}
