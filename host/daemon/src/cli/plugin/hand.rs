//! `plugin list`, `show`, `reload`, `quarantine`, `rollback` and `release`, through a running daemon.

use anyhow::Result;
use serde_json::{Map, Value, json};

use crate::cli::client::Client;
use crate::cli::show;

/// What a list shows of each plugin, and what of one plugin's versions.
const COLUMNS: [&str; 6] = ["name", "version", "state", "since", "sha256", "reason"];
const VERSIONS: [&str; 7] =
    ["version", "state", "first_seen", "since", "worked", "sha256", "reason"];

/// Which module.
#[derive(clap::Args)]
pub(in crate::cli) struct Which {
    /// The plugin.
    pub(super) name: String,
    /// SHA-256 of the module, or the beginning of it. Without it `quarantine` takes the one in force, `release` all.
    #[arg(long, value_name = "HASH")]
    pub(super) sha256: Option<String>,
}

pub(super) async fn list(client: &Client, as_json: bool) -> Result<()> {
    show::list(&client.get(&["v1", "plugins"], &[]).await?, as_json, &COLUMNS)
}

pub(super) async fn show(client: &Client, name: &str, as_json: bool) -> Result<()> {
    versions(client.get(&["v1", "plugins", name], &[]).await?, as_json)
}

pub(super) async fn reload(client: &Client, name: Option<&str>, as_json: bool) -> Result<()> {
    let path: Vec<&str> = ["v1", "plugins"].into_iter().chain(name).chain(["reload"]).collect();
    versions(client.post(&path, String::new()).await?, as_json)
}

/// `action` is quarantine, rollback or release.
pub(super) async fn act(
    client: &Client,
    action: &str,
    which: Which,
    reason: Option<String>,
    as_json: bool,
) -> Result<()> {
    let mut body = Map::new();
    body.extend(which.sha256.map(|hash| ("sha256".to_owned(), hash.into())));
    body.extend(reason.map(|reason| ("reason".to_owned(), reason.into())));
    let path = ["v1", "plugins", &which.name, action];
    versions(client.post(&path, Value::Object(body).to_string()).await?, as_json)
}

/// Shows a plugin's versions, or all plugins.
fn versions(mut found: Value, as_json: bool) -> Result<()> {
    match found.get_mut("versions").filter(|_| !as_json).map(Value::take) {
        Some(versions) => show::list(&json!({"items": versions}), false, &VERSIONS),
        None => show::list(&found, as_json, &COLUMNS),
    }
}
