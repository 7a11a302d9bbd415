//! The command line.
//!
//! - `client`: commands that ask a running daemon go through its API.
//! - `db`: the database itself; `pg_dump`: its backup where it is PostgreSQL.
//! - `act`: redeliver and cancel.
//! - `plugin`: notifier modules, most of it without a daemon.
//! - `token`: tokens and the audit.
//! - `notification`: notifications; `dead`: dead letters; `destination`: destinations.
//! - `init`: settings to begin with; `health`: whether the daemon is well.
//! - `send`: `send` and `explain`; `tail`: `tail`.
//! - `show`: lists and single things, as tables or JSON.

mod act;
mod client;
mod db;
mod dead;
mod destination;
mod health;
mod init;
mod notification;
mod pg_dump;
mod plugin;
mod send;
mod show;
mod tail;
mod token;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::LazyLock;

use anyhow::Result;
use clap::{Args, CommandFactory as _, Parser, Subcommand};

use crate::config::{Config, Flags};
use crate::plugins::secrets::Sources;
use crate::settings::{Origin, Settings};
use client::{Client, NoAnswer, NotThere, Refusal};

/// Exit codes beside 0, 1 and clap's 2.
const UNAVAILABLE: u8 = 3;
const NOT_THERE: u8 = 4;
const EXIT_CODES: &str = "Exit codes: 0 done; 1 failed or refused; 2 wrong usage; \
     3 no daemon answers, or it cannot serve now: try again; 4 there is no such thing.";

/// Which compiler, too: modules that one version compiled are nothing to another.
static LONG_VERSION: LazyLock<String> = LazyLock::new(|| {
    format!("{} (wasmtime {})", env!("CARGO_PKG_VERSION"), postrider_sandbox::wasmtime_version())
});

/// A notifier daemon with a durable queue and sandboxed WebAssembly notifiers.
#[derive(Parser)]
#[command(name = "postrider", version, long_version = LONG_VERSION.as_str(), about, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the daemon until SIGTERM or SIGINT.
    Serve(ServeFlags),
    /// Writes a settings file with every setting, its default and its reason, and makes the plugins directory.
    Init(init::Given),
    /// Says whether the daemon can work now. Exits with 3 when not.
    Health(health::Given),
    /// Hands a notification in and prints its id.
    Send {
        #[command(flatten)]
        notification: send::Given,
        #[command(flatten)]
        to: To,
    },
    /// Looks at notifications.
    #[command(subcommand)]
    Notification(notification::NotificationCommand),
    /// Looks at deliveries, redelivers and cancels them.
    #[command(subcommand)]
    Delivery(DeliveryCommand),
    /// Tries, measures and looks at notifier modules.
    #[command(subcommand)]
    Plugin(plugin::PluginCommand),
    /// Looks at destinations, pauses, resumes and tests them.
    #[command(subcommand)]
    Destination(destination::DestinationCommand),
    /// Looks at dead letters, revives them and puts them away.
    #[command(subcommand)]
    Dead(dead::DeadCommand),
    /// Says which destinations a notification would go to, and why not to the others.
    Explain {
        #[command(flatten)]
        notification: send::Given,
        #[command(flatten)]
        to: To,
    },
    /// Tells what happens on a host, as it happens.
    Tail {
        #[command(flatten)]
        wanted: tail::Wanted,
        #[command(flatten)]
        to: To,
    },
    /// Prints completions for a shell.
    Completions {
        /// Which one.
        shell: clap_complete::Shell,
    },
    /// Looks at the hosts that work on the queue.
    #[command(subcommand)]
    Host(HostCommand),
    /// Makes, lists and revokes the tokens of the API.
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Lists who changed what, the newest first.
    Audit {
        #[command(flatten)]
        page: PageFlags,
        #[command(flatten)]
        at: db::At,
    },
    /// Looks after the database.
    #[command(subcommand)]
    Db(db::DbCommand),
}

#[derive(Args, Default)]
struct ServeFlags {
    /// Settings file, TOML.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the daemon keeps what is its own [default: data].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where modules and destinations are dropped [default: `plugins` in the data directory].
    #[arg(long, value_name = "DIR")]
    plugins_dir: Option<PathBuf>,
    /// The queue's database [default: `sqlite:` and `postrider.db` in the data directory].
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// Where the API listens: IP:PORT, https://IP:PORT or unix:PATH, several with commas between [default: 127.0.0.1:7411].
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
}

/// Where the daemon is, and how to answer.
#[derive(Args)]
struct To {
    /// The daemon's URL [default: `$POSTRIDER_URL`, else the configured listen address].
    #[arg(long)]
    url: Option<String>,
    /// Settings file whose `listen` says where it is [default: `$POSTRIDER_CONFIG`].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A file with the token to show [default: `$POSTRIDER_TOKEN`, else none].
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Answers in JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
enum DeliveryCommand {
    /// Lists the newest.
    List {
        /// pending, leased, delivered, dead or cancelled.
        #[arg(long)]
        state: Option<String>,
        /// Only those of this destination.
        #[arg(long)]
        destination: Option<String>,
        /// Only those of this notification.
        #[arg(long, value_name = "ID")]
        notification: Option<String>,
        #[command(flatten)]
        page: PageFlags,
        #[command(flatten)]
        to: To,
    },
    /// Shows one with every attempt.
    Show {
        /// Its number.
        id: i64,
        #[command(flatten)]
        to: To,
    },
    /// Revives dead or cancelled ones with a fresh budget, and makes pending ones due now: those named, or by a query.
    Redeliver {
        #[command(flatten)]
        which: act::Which,
        #[command(flatten)]
        to: To,
    },
    /// Cancels pending ones, and those that are being sent: those named, or by a query.
    Cancel {
        #[command(flatten)]
        which: act::Which,
        #[command(flatten)]
        to: To,
    },
}

#[derive(Subcommand)]
enum HostCommand {
    /// Lists the hosts, the newest first.
    List {
        #[command(flatten)]
        to: To,
    },
}

#[derive(Args)]
struct PageFlags {
    /// Most rows.
    #[arg(long, default_value_t = 100)]
    limit: u32,
    /// The `next` of the page before.
    #[arg(long)]
    after: Option<String>,
}

/// Runs one command. Errors go to standard error, in one line.
pub async fn run() -> ExitCode {
    match command(Arguments::parse().command).await {
        Ok(code) => code,
        Err(error) => {
            // Nobody is left to tell when standard error is closed.
            let _closed = writeln!(std::io::stderr(), "postrider: {error:#}").is_err();
            exit_code(&error)
        }
    }
}

/// Documented in `--help`: what a script may act on.
fn exit_code(error: &anyhow::Error) -> ExitCode {
    if error.downcast_ref::<NoAnswer>().is_some() {
        return ExitCode::from(UNAVAILABLE);
    }
    if error.downcast_ref::<NotThere>().is_some() {
        return ExitCode::from(NOT_THERE);
    }
    match error.downcast_ref::<Refusal>().map(|refusal| refusal.status) {
        Some(404) => ExitCode::from(NOT_THERE),
        Some(502..=504) => ExitCode::from(UNAVAILABLE),
        _ => ExitCode::FAILURE,
    }
}

async fn command(command: Command) -> Result<ExitCode> {
    match command {
        Command::Serve(flags) => serve(flags).await?,
        Command::Init(given) => init::run(&given)?,
        Command::Health(given) => health::run(&given).await?,
        Command::Send { notification, to } => {
            send::run(&to.client()?, notification, to.json).await?;
        }
        Command::Notification(command) => notification::run(command).await?,
        Command::Delivery(DeliveryCommand::List { state, destination, notification, page, to }) => {
            let mut query = page.query();
            query.extend(state.map(|s| ("state", s)));
            query.extend(destination.map(|d| ("destination", d)));
            query.extend(notification.map(|n| ("notification", n)));
            let found = to.client()?.get(&["v1", "deliveries"], &query).await?;
            let columns = ["id", "type", "destination", "state", "attempts", "due", "reason"];
            show::list(&found, to.json, &columns)?;
        }
        Command::Delivery(DeliveryCommand::Show { id, to }) => {
            let found = to.client()?.get(&["v1", "deliveries", &id.to_string()], &[]).await?;
            show::delivery(&found, to.json)?;
        }
        Command::Delivery(DeliveryCommand::Redeliver { which, to }) => {
            act::run(&to.client()?, "redeliver", which, to.json).await?;
        }
        Command::Delivery(DeliveryCommand::Cancel { which, to }) => {
            act::run(&to.client()?, "cancel", which, to.json).await?;
        }
        Command::Plugin(command) => return plugin::run(command).await,
        Command::Destination(command) => return destination::run(command).await,
        Command::Dead(command) => dead::run(command).await?,
        Command::Explain { notification, to } => {
            send::explain(&to.client()?, notification, to.json).await?;
        }
        Command::Tail { wanted, to } => tail::run(&to.client()?, wanted, to.json).await?,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "postrider", &mut script);
            show::print(&String::from_utf8_lossy(&script))?;
        }
        Command::Host(HostCommand::List { to }) => {
            let found = to.client()?.get(&["v1", "hosts"], &[]).await?;
            let columns = ["id", "name", "version", "listen", "state", "started", "seen"];
            show::list(&found, to.json, &columns)?;
        }
        Command::Token(command) => token::run(command).await?,
        Command::Audit { page, at } => token::audit(&page.query(), &at).await?,
        Command::Db(command) => db::run(command).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn serve(flags: ServeFlags) -> Result<()> {
    let environment: Vec<(String, String)> = std::env::vars().collect();
    let flags = Flags {
        config: flags.config,
        data_dir: flags.data_dir,
        plugins_dir: flags.plugins_dir,
        database: flags.database,
        listen: flags.listen,
    };
    let settings = Settings::load(Origin { flags, environment: environment.clone() })?;
    let config = settings.current();
    let settings = settings.with_level(crate::logs::start(config.log_format, &config.log_level));
    let environment: std::collections::BTreeMap<String, String> = environment.into_iter().collect();
    let credentials = environment.get("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    crate::app::serve(settings, Sources { environment, credentials }).await
}

impl To {
    fn client(&self) -> Result<Client> {
        let environment: Vec<(String, String)> = std::env::vars().collect();
        let from_environment =
            environment.iter().find(|(name, url)| name == "POSTRIDER_URL" && !url.is_empty());
        let client = match self.url.clone().or_else(|| from_environment.map(|(_, url)| url.clone()))
        {
            Some(url) => Client::new(&url)?,
            None => {
                let flags = Flags { config: self.config.clone(), ..Flags::default() };
                Client::new(&Config::load(&flags, &environment)?.url())?
            }
        };
        Ok(client.with_token(client::token(self.token_file.as_deref(), &environment)?))
    }
}

impl PageFlags {
    fn query(&self) -> Vec<(&'static str, String)> {
        let mut query = vec![("limit", self.limit.to_string())];
        query.extend(self.after.clone().map(|after| ("after", after)));
        query
    }
}
