//! `postrider token` and `postrider audit`: in the database itself, so that the first token can be made before the daemon
//! runs; through the daemon that runs on it, where it is SQLite.

use std::sync::Arc;

use anyhow::{Result, bail};
use clap::Subcommand;
use postrider_queue::{
    Access, OpenError, Page, PostgresOptions, PostgresQueue, Queue, SqliteOptions, SqliteQueue,
};
use serde_json::{Value, json};

use super::client::{Client, NotThere};
use super::db::At;
use super::show;
use crate::api::auth::audit::Audit;
use crate::api::auth::routes::{audit_value, find, make, taken, token_value, unknown};
use crate::config::{Config, Database};

#[derive(Subcommand)]
pub(super) enum TokenCommand {
    /// Makes a token and prints it, this once.
    Create {
        /// What it is called, in lists and in the audit.
        name: String,
        /// What it allows: ingest, read or admin; may be given again, or with commas between.
        #[arg(long = "scope", value_name = "SCOPE", required = true, value_delimiter = ',')]
        scopes: Vec<String>,
        /// How long it is valid, such as 90d [default: until it is revoked].
        #[arg(long, value_name = "DURATION")]
        expires: Option<String>,
        #[command(flatten)]
        at: At,
    },
    /// Lists them, without their secrets.
    List {
        #[command(flatten)]
        at: At,
    },
    /// Ends one, by its name or its id.
    Revoke {
        /// Its name or its id.
        token: String,
        #[command(flatten)]
        at: At,
    },
}

/// Where tokens are kept, as this command reaches it.
enum Way {
    Direct(Store),
    Through(Client),
}

struct Store {
    access: Arc<dyn Access>,
    queue: Arc<dyn Queue>,
}

pub(super) async fn run(command: TokenCommand) -> Result<()> {
    match command {
        TokenCommand::Create { name, scopes, expires, at } => {
            let made = create(&at, &name, &scopes, expires.as_deref()).await?;
            if at.json {
                return show::one(&made, true);
            }
            let token = made.get("token").and_then(Value::as_str).unwrap_or_default();
            show::line(token)
        }
        TokenCommand::List { at } => {
            let found = match way(&at).await? {
                Way::Through(client) => client.get(&["v1", "tokens"], &[]).await?,
                Way::Direct(store) => {
                    let tokens = store.access.tokens().await;
                    store.queue.close().await;
                    let items: Vec<Value> = tokens?.iter().map(token_value).collect();
                    json!({"items": items, "next": null})
                }
            };
            let columns = ["name", "id", "scopes", "state", "expires", "last_used"];
            show::list(&found, at.json, &columns)
        }
        TokenCommand::Revoke { token, at } => show::one(&revoke(&at, &token).await?, at.json),
    }
}

/// `postrider audit`.
pub(super) async fn audit(query: &[(&'static str, String)], at: &At) -> Result<()> {
    let found = match way(at).await? {
        Way::Through(client) => client.get(&["v1", "audit"], query).await?,
        Way::Direct(store) => {
            let number = |wanted| query.iter().find(|(name, _)| *name == wanted);
            let limit = number("limit").and_then(|(_, text)| text.parse().ok()).unwrap_or(100);
            let after = number("after").map(|(_, text)| text.parse()).transpose();
            let Ok(after) = after else {
                store.queue.close().await;
                bail!("--after must be the `next` of the page before");
            };
            let records = store.access.audit(&Page { after, limit }).await;
            store.queue.close().await;
            let items: Vec<Value> = records?.iter().map(audit_value).collect();
            let is_full = items.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
            let next = items.last().filter(|_| is_full).and_then(|last| last.get("id"));
            let next = next.map(ToString::to_string);
            json!({"items": items, "next": next})
        }
    };
    show::list(&found, at.json, &["at", "actor", "action", "subject", "details"])
}

async fn create(at: &At, name: &str, scopes: &[String], expires: Option<&str>) -> Result<Value> {
    let store = match way(at).await? {
        Way::Direct(store) => store,
        Way::Through(client) => {
            let body = json!({"name": name, "scopes": scopes, "expires_after": expires});
            return client.post(&["v1", "tokens"], body.to_string()).await;
        }
    };
    let made = create_in(&store, name, scopes, expires).await;
    store.queue.close().await;
    made
}

async fn create_in(
    store: &Store,
    name: &str,
    scopes: &[String],
    expires: Option<&str>,
) -> Result<Value> {
    let (token, new) = make(name, scopes, expires)
        .map_err(|(field, problem)| anyhow::anyhow!("{field}: {problem}"))?;
    if !store.access.create_token(&new).await? {
        bail!("{}", taken(name));
    }
    let details = json!({"id": new.id, "scopes": new.scopes, "expires_after": expires});
    store.audit().record(&actor(), "token.create", name, details).await?;
    let scopes: Vec<&str> = new.scopes.split_whitespace().collect();
    Ok(json!({"id": new.id, "name": name, "scopes": scopes, "token": token.reveal()}))
}

async fn revoke(at: &At, wanted: &str) -> Result<Value> {
    let store = match way(at).await? {
        Way::Direct(store) => store,
        Way::Through(client) => return client.delete(&["v1", "tokens", wanted]).await,
    };
    let revoked = revoke_in(&store, wanted).await;
    store.queue.close().await;
    revoked
}

async fn revoke_in(store: &Store, wanted: &str) -> Result<Value> {
    let tokens = store.access.tokens().await?;
    let Some(found) = find(&tokens, wanted) else { bail!(NotThere(unknown(wanted))) };
    store.access.revoke_token(&found.id).await?;
    let details = json!({"id": found.id});
    store.audit().record(&actor(), "token.revoke", &found.name, details).await?;
    Ok(token_value(found))
}

impl Store {
    fn audit(&self) -> Audit {
        Audit::new(self.access.clone())
    }
}

async fn way(at: &At) -> Result<Way> {
    let config: Config = at.plain()?;
    match &config.database {
        Database::Sqlite(path) => {
            if let Some(directory) = path.parent() {
                std::fs::create_dir_all(directory)?;
            }
            match SqliteQueue::open(path, SqliteOptions::default()).await {
                Ok(queue) => Ok(direct(Arc::new(queue))),
                Err(OpenError::Held { .. }) => Ok(Way::Through(at.daemon(&config).await?)),
                Err(error) => Err(error.into()),
            }
        }
        Database::Postgres(url) => {
            Ok(direct(Arc::new(PostgresQueue::open(url, PostgresOptions::default()).await?)))
        }
    }
}

fn direct<S: Access + Queue>(store: Arc<S>) -> Way {
    Way::Direct(Store { access: store.clone(), queue: store })
}

/// Whoever runs this command.
fn actor() -> String {
    format!("command of uid {}", rustix::process::getuid().as_raw())
}
