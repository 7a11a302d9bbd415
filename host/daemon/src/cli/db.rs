//! `postrider db` and `postrider host`: the database itself.
//!
//! What only looks or copies goes to the database, also beside a running daemon. What writes to an SQLite database goes
//! through the daemon that runs on it, if one does: there is one writer.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use postrider_core::Retention;
use postrider_queue::{
    OpenError, PostgresOptions, PostgresQueue, Pruned, Queue, Schema, SqliteOptions, SqliteQueue,
};
use serde_json::{Value, json};

use super::client::{Client, token};
use super::{pg_dump, show};
use crate::api::db::{pruned_value, stats_value};
use crate::config::{Config, Database, Flags};
use crate::upkeep::pruner::add;

#[derive(Subcommand)]
pub(super) enum DbCommand {
    /// Says which version the schema has, and which ones this postrider can use.
    Status {
        #[command(flatten)]
        at: At,
    },
    /// Brings the schema up to date, as `serve` does at its start. Safe beside running hosts.
    Migrate {
        #[command(flatten)]
        at: At,
    },
    /// Removes what is finished and old enough now, rather than when the daemon gets to it.
    Prune {
        /// Age of finished notifications, or never [default: as set].
        #[arg(long, value_name = "AGE")]
        finished: Option<String>,
        /// Age of those with a dead delivery, or never [default: as set].
        #[arg(long, value_name = "AGE")]
        dead: Option<String>,
        /// Age at which contents go before their rows, or never [default: as set].
        #[arg(long, value_name = "AGE")]
        content: Option<String>,
        #[command(flatten)]
        at: At,
    },
    /// Counts rows, sizes, and how long the oldest due delivery waits.
    Stats {
        #[command(flatten)]
        at: At,
    },
    /// Copies the database to a new file while everything goes on: an SQLite database, or a dump for `pg_restore`.
    Backup {
        file: PathBuf,
        #[command(flatten)]
        at: At,
    },
}

/// Where the database is.
#[derive(Args)]
pub(super) struct At {
    /// Settings file, TOML [default: `$POSTRIDER_CONFIG`].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the daemon keeps what is its own [default: data].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The queue's database [default: as set].
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// The URL of the daemon that runs on it [default: `$POSTRIDER_URL`, else the configured listen address].
    #[arg(long)]
    url: Option<String>,
    /// A file with the token to show it [default: `$POSTRIDER_TOKEN`, else none].
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Answers in JSON.
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) async fn run(command: DbCommand) -> Result<()> {
    match command {
        DbCommand::Status { at } => status(&at).await,
        DbCommand::Migrate { at } => migrate(&at).await,
        DbCommand::Prune { finished, dead, content, at } => {
            prune(&at, [finished, dead, content]).await
        }
        DbCommand::Stats { at } => stats(&at).await,
        DbCommand::Backup { file, at } => backup(&at, &file).await,
    }
}

impl At {
    fn settings(&self, ages: [Option<String>; 3]) -> Result<Config> {
        let mut environment: Vec<(String, String)> = std::env::vars().collect();
        let names = ["RETENTION_FINISHED", "RETENTION_DEAD", "RETENTION_CONTENT"];
        for (name, age) in names.iter().zip(ages) {
            // The later wins.
            environment.extend(age.map(|age| (format!("POSTRIDER_{name}"), age)));
        }
        let flags = Flags {
            config: self.config.clone(),
            data_dir: self.data_dir.clone(),
            database: self.database.clone(),
            ..Flags::default()
        };
        Ok(Config::load(&flags, &environment)?)
    }

    pub(super) fn plain(&self) -> Result<Config> {
        self.settings([None, None, None])
    }

    /// The daemon that runs on this database, and no other.
    pub(super) async fn daemon(&self, config: &Config) -> Result<Client> {
        let environment: Vec<(String, String)> = std::env::vars().collect();
        let set = environment.iter().find(|(name, url)| name == "POSTRIDER_URL" && !url.is_empty());
        let url = self.url.clone().or(set.map(|(_, url)| url.clone()));
        let client = Client::new(&url.unwrap_or_else(|| config.url()))?;
        let client = client.with_token(token(self.token_file.as_deref(), &environment)?);
        let found = client.get(&["v1", "db"], &[]).await?;
        let theirs = found.get("database").and_then(Value::as_str).unwrap_or_default();
        let ours = config.database.shown();
        if theirs != ours {
            bail!(
                "a postrider runs on {ours}, but the one that answers works on {theirs}; say where it is with --url"
            );
        }
        Ok(client)
    }
}

async fn schema(config: &Config) -> Result<Schema> {
    match &config.database {
        Database::Sqlite(path) => Ok(SqliteQueue::schema(path).await?),
        Database::Postgres(url) => Ok(PostgresQueue::schema(url).await?),
    }
}

async fn status(at: &At) -> Result<()> {
    let config = at.plain()?;
    let schema = schema(&config).await?;
    let state = match (schema.found, schema.fits(), schema.is_behind()) {
        (0, ..) => "empty: `postrider db migrate` or `postrider serve` makes it",
        (_, false, _) => "too new for this postrider: install a newer one",
        (_, true, true) => {
            "behind: `postrider db migrate` or `postrider serve` brings it up to date"
        }
        (_, true, false) if schema.found > schema.known => {
            "newer, and this postrider can work on it"
        }
        (_, true, false) => "up to date",
    };
    let found = json!({
        "database": config.database.shown(),
        "version": schema.found,
        "known": schema.known,
        "oldest": schema.oldest,
        "state": state,
    });
    show::one(&found, at.json)
}

async fn migrate(at: &At) -> Result<()> {
    let config = at.plain()?;
    let before = schema(&config).await?;
    if before.is_behind() || !before.fits() {
        match &config.database {
            Database::Sqlite(path) => {
                SqliteQueue::open(path, SqliteOptions::default()).await?.close().await;
            }
            Database::Postgres(url) => {
                PostgresQueue::open(url, PostgresOptions::default()).await?.close().await;
            }
        }
    }
    status(at).await
}

async fn prune(at: &At, ages: [Option<String>; 3]) -> Result<()> {
    let [finished, dead, content] = ages.clone();
    let config = at.settings(ages)?;
    let schema = schema(&config).await?;
    if schema.is_behind() {
        bail!(
            "{} has not the schema of this postrider: run `postrider db migrate` first",
            config.database.shown()
        );
    }
    let opened: Arc<dyn Queue> = match &config.database {
        Database::Sqlite(path) => match SqliteQueue::open(path, SqliteOptions::default()).await {
            Ok(queue) => Arc::new(queue),
            Err(OpenError::Held { .. }) => {
                let client = at.daemon(&config).await?;
                let body = json!({"finished": finished, "dead": dead, "content": content});
                return show::one(&prune_through(&client, body).await?, at.json);
            }
            Err(error) => return Err(error.into()),
        },
        Database::Postgres(url) => {
            Arc::new(PostgresQueue::open(url, PostgresOptions::default()).await?)
        }
    };
    let pruned = whole_pass(&*opened, &config.retention).await;
    opened.close().await;
    show::one(&without_next(pruned_value(&pruned?)), at.json)
}

async fn whole_pass(queue: &dyn Queue, retention: &Retention) -> Result<Pruned> {
    let mut sum = Pruned::default();
    loop {
        sum = add(sum, queue.prune(retention, sum.next).await?);
        if sum.next.is_none() {
            return Ok(sum);
        }
    }
}

/// Asks again until the pass is over, and adds the answers up.
async fn prune_through(client: &Client, mut body: Value) -> Result<Value> {
    let counts = ["notifications", "deliveries", "attempts", "contents"];
    let mut sums = [0u64; 4];
    loop {
        let answer = client.post(&["v1", "db", "prune"], body.to_string()).await?;
        for (sum, name) in sums.iter_mut().zip(counts) {
            *sum += answer.get(name).and_then(Value::as_u64).unwrap_or(0);
        }
        match answer.get("next").filter(|next| !next.is_null()) {
            None => {
                let all = counts.into_iter().zip(sums);
                return Ok(all.map(|(name, sum)| (name.to_owned(), Value::from(sum))).collect());
            }
            Some(next) => {
                if let Some(body) = body.as_object_mut() {
                    body.insert("after".to_owned(), next.clone());
                }
            }
        }
    }
}

fn without_next(mut value: Value) -> Value {
    if let Some(fields) = value.as_object_mut() {
        fields.remove("next");
    }
    value
}

async fn stats(at: &At) -> Result<()> {
    let config = at.plain()?;
    let stats = match &config.database {
        Database::Sqlite(path) => SqliteQueue::stats_of(path).await?,
        Database::Postgres(url) => {
            if schema(&config).await?.is_behind() {
                bail!(
                    "{} has not the schema of this postrider: run `postrider db migrate` first",
                    config.database.shown()
                );
            }
            let queue = PostgresQueue::open(url, PostgresOptions::default()).await?;
            let stats = queue.stats().await;
            queue.close().await;
            stats?
        }
    };
    show::stats(&stats_value(&stats), at.json)
}

async fn backup(at: &At, file: &Path) -> Result<()> {
    let config = at.plain()?;
    match &config.database {
        Database::Sqlite(path) => SqliteQueue::backup(path, file).await?,
        Database::Postgres(url) => pg_dump::run(url, file).await?,
    }
    let size =
        std::fs::metadata(file).with_context(|| format!("cannot read {}", file.display()))?;
    let found = json!({"file": file.display().to_string(), "bytes": size.len()});
    // A closed standard output takes nothing from the copy.
    if at.json {
        return show::one(&found, true);
    }
    let said = writeln!(std::io::stdout(), "{} ({} bytes)", file.display(), size.len());
    Ok(said?)
}
