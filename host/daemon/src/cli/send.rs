//! `postrider send`.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde_json::{Map, Value, json};

use super::client::Client;

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
    let answer = client.post("/v1/notifications", &body(given, content)).await?;
    let mut out = std::io::stdout().lock();
    match as_json {
        true => writeln!(out, "{answer:#}")?,
        false => writeln!(out, "{}", answer.get("id").and_then(Value::as_str).unwrap_or(""))?,
    }
    Ok(())
}

fn body(given: Given, content: Vec<u8>) -> Value {
    let labels: Map<String, Value> = given.labels.into_iter().map(|(k, v)| (k, v.into())).collect();
    let mut body = json!({"type": given.kind, "labels": labels});
    let mut set = |name: &str, value: Option<Value>| {
        if let (Some(value), Some(body)) = (value, body.as_object_mut()) {
            body.insert(name.to_owned(), value);
        }
    };
    set("source", given.source.map(Value::from));
    set("subject", given.subject.map(Value::from));
    set("idempotency_key", given.key.map(Value::from));
    let wants_json = given.content_type.as_deref().is_none_or(|t| t.contains("json"));
    set("content_type", given.content_type.map(Value::from));
    if content.is_empty() {
        return body;
    }
    match (serde_json::from_slice::<Value>(&content), String::from_utf8(content)) {
        (Ok(value), _) if wants_json => set("content", Some(value)),
        (_, Ok(text)) => set("content_text", Some(text.into())),
        (_, Err(bytes)) => set("content_base64", Some(STANDARD.encode(bytes.as_bytes()).into())),
    }
    body
}

fn read(path: &Path) -> Result<Vec<u8>> {
    if path == Path::new("-") {
        let mut content = Vec::new();
        std::io::stdin().read_to_end(&mut content).context("cannot read standard input")?;
        return Ok(content);
    }
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        Some(_) | None => Err("a label is NAME=VALUE, such as severity=high".to_owned()),
    }
}
