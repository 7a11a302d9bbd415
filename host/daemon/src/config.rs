//! The daemon's settings: a TOML file, then `POSTRIDER_…` environment variables, then flags. The later wins, and an
//! error names the source of the value that it refuses.

use std::path::{Path, PathBuf};
use std::time::Duration;

use postrider_core::{Retention, suggest, units};
use postrider_sandbox::sandbox::DEFAULT_INSTANCES;
use serde::Deserialize;
use toml::Spanned;

use crate::listen::address::Listen;
use crate::listen::tls::Files;

mod changes;

/// Prefix of the environment variables that are settings.
const PREFIX: &str = "POSTRIDER_";
/// Variables with our prefix that are no settings of the daemon: where the commands find it, and the file itself.
const OTHER_VARIABLES: [&str; 3] = ["POSTRIDER_URL", "POSTRIDER_TOKEN", "POSTRIDER_CONFIG"];

/// Most instances that a host can be told to run at once: each takes address space, not memory.
const MAX_CONCURRENCY: u32 = 4_096;

/// Everything that the daemon can be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where the daemon keeps what is its own: database, compiled modules, last good modules.
    pub data_dir: PathBuf,
    /// Where people drop modules and destinations.
    pub plugins_dir: PathBuf,
    pub database: Database,
    /// Whether hosts on PostgreSQL tell each other of work by `NOTIFY`, besides polling.
    pub listen_notify: bool,
    /// At least one.
    pub listen: Vec<Listen>,
    /// Whether callers on this machine need a token, too.
    pub require_token: bool,
    /// Names by which callers know this daemon, besides those of this machine.
    pub hosts: Vec<String>,
    /// What `https://` listeners encrypt with.
    pub tls: Option<Files>,
    pub log_format: LogFormat,
    /// `tracing-subscriber` filter, such as `info` or `postrider=debug`.
    pub log_level: String,
    /// How long a shutdown waits for running attempts.
    pub grace: Duration,
    /// How long a claim holds a delivery without an extension.
    pub lease: Duration,
    /// Largest request body of the API, in bytes.
    pub max_body: usize,
    /// Age at which deliveries of a removed destination die.
    pub orphan_after: Duration,
    /// Most live deliveries before the API takes no more.
    /// Most deliveries under way at once on this host, over all destinations.
    pub max_concurrency: u32,
    pub max_queue: Option<u64>,
    /// Bytes that must stay free where the SQLite database lies; zero: none.
    pub min_free_disk: u64,
    pub retention: Retention,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Database {
    Sqlite(PathBuf),
    /// The URL of a PostgreSQL database that several hosts may share.
    Postgres(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// Where a value came from, as errors name it.
#[derive(Clone, Debug)]
pub enum Source {
    File(PathBuf),
    /// A line of it, from one.
    Line(PathBuf, usize),
    Environment(&'static str),
    Flag(&'static str),
}

/// A refused setting: where it stands, what is wrong, what would be right.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct ConfigError {
    place: String,
    problem: String,
}

/// Settings given as flags; none where the flag was left out.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    pub config: Option<PathBuf>,
    pub data_dir: Option<PathBuf>,
    pub plugins_dir: Option<PathBuf>,
    pub database: Option<String>,
    pub listen: Option<String>,
}

/// One layer of settings as text.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Layer {
    data_dir: Option<Spanned<Value>>,
    plugins_dir: Option<Spanned<Value>>,
    database: Option<Spanned<Value>>,
    listen_notify: Option<Spanned<Value>>,
    listen: Option<Spanned<Value>>,
    require_token: Option<Spanned<Value>>,
    hosts: Option<Spanned<Value>>,
    tls_cert: Option<Spanned<Value>>,
    tls_key: Option<Spanned<Value>>,
    log_format: Option<Spanned<Value>>,
    log_level: Option<Spanned<Value>>,
    grace: Option<Spanned<Value>>,
    lease: Option<Spanned<Value>>,
    max_body: Option<Spanned<Value>>,
    orphan_after: Option<Spanned<Value>>,
    max_concurrency: Option<Spanned<Value>>,
    max_queue: Option<Spanned<Value>>,
    min_free_disk: Option<Spanned<Value>>,
    #[serde(default)]
    retention: Ages,
}

/// The table `[retention]`.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Ages {
    finished: Option<Spanned<Value>>,
    dead: Option<Spanned<Value>>,
    content: Option<Spanned<Value>>,
}

/// A setting that TOML may hold as text, as a number or as a switch.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a text, a whole number, true or false")]
enum Value {
    Text(String),
    Number(i64),
    Switch(bool),
}

/// Every setting, in the order of the file.
pub(crate) const KEYS: [&str; 21] = [
    "data_dir",
    "plugins_dir",
    "database",
    "listen_notify",
    "listen",
    "require_token",
    "hosts",
    "tls_cert",
    "tls_key",
    "log_format",
    "log_level",
    "grace",
    "lease",
    "max_body",
    "orphan_after",
    "max_concurrency",
    "max_queue",
    "min_free_disk",
    "retention_finished",
    "retention_dead",
    "retention_content",
];

impl Config {
    /// Reads the file (if one is named), then `environment`, then `flags`.
    pub fn load(flags: &Flags, environment: &[(String, String)]) -> Result<Self, ConfigError> {
        let mut config = Draft::default();
        let from_environment = || {
            environment.iter().find(|(name, _)| name == "POSTRIDER_CONFIG").map(|(_, v)| v.into())
        };
        if let Some(path) = flags.config.clone().or_else(from_environment) {
            config.file(&path)?;
        }
        config.environment(environment)?;
        config.flags(flags)?;
        config.check_tls()?;
        Ok(config.finish())
    }

    /// Where commands on this machine find the daemon.
    pub fn url(&self) -> String {
        self.listen.first().map(Listen::url).unwrap_or_default()
    }
}

#[derive(Default)]
struct Draft {
    data_dir: Option<PathBuf>,
    plugins_dir: Option<PathBuf>,
    database: Option<Database>,
    listen_notify: Option<bool>,
    listen: Option<Vec<Listen>>,
    require_token: Option<bool>,
    hosts: Vec<String>,
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    log_format: Option<LogFormat>,
    log_level: Option<String>,
    grace: Option<Duration>,
    lease: Option<Duration>,
    max_body: Option<usize>,
    orphan_after: Option<Duration>,
    max_concurrency: Option<u32>,
    max_queue: Option<u64>,
    min_free_disk: Option<u64>,
    retention: Retention,
}

impl Draft {
    fn file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let source = Source::File(path.to_owned());
        let refuse = |problem| ConfigError { place: source.place(None), problem };
        let text =
            std::fs::read_to_string(path).map_err(|e| refuse(format!("cannot be read: {e}")))?;
        let layer: Layer =
            toml::from_str(&text).map_err(|e| refuse(suggest::toml_error(&text, &e)))?;
        let given = [
            layer.data_dir,
            layer.plugins_dir,
            layer.database,
            layer.listen_notify,
            layer.listen,
            layer.require_token,
            layer.hosts,
            layer.tls_cert,
            layer.tls_key,
            layer.log_format,
            layer.log_level,
            layer.grace,
            layer.lease,
            layer.max_body,
            layer.orphan_after,
            layer.max_concurrency,
            layer.max_queue,
            layer.min_free_disk,
            layer.retention.finished,
            layer.retention.dead,
            layer.retention.content,
        ];
        for (key, value) in KEYS.into_iter().zip(given) {
            let Some(value) = value else { continue };
            let before = text.get(..value.span().start).unwrap_or(&text);
            let source = Source::Line(path.to_owned(), 1 + before.matches('\n').count());
            let value = match value.into_inner() {
                Value::Text(text) => text,
                Value::Number(number) => number.to_string(),
                Value::Switch(on) => on.to_string(),
            };
            self.set(key, &value, &source)?;
        }
        Ok(())
    }

    fn environment(&mut self, variables: &[(String, String)]) -> Result<(), ConfigError> {
        for (name, value) in variables {
            let Some(rest) = name.strip_prefix(PREFIX) else { continue };
            if OTHER_VARIABLES.contains(&name.as_str()) {
                continue;
            }
            let lower = rest.to_ascii_lowercase();
            let Some(key) = KEYS.into_iter().find(|key| *key == lower) else {
                let near = suggest::nearest(&lower, KEYS)
                    .map(|key| format!("; did you mean {PREFIX}{}?", key.to_uppercase()))
                    .unwrap_or_default();
                let place = format!("environment variable {name}");
                return Err(ConfigError { place, problem: format!("is no setting{near}") });
            };
            self.set(key, value, &Source::Environment(key))?;
        }
        Ok(())
    }

    fn flags(&mut self, flags: &Flags) -> Result<(), ConfigError> {
        let path = |p: &Option<PathBuf>| p.as_ref().map(|p| p.to_string_lossy().into_owned());
        let given = [
            ("data_dir", path(&flags.data_dir)),
            ("plugins_dir", path(&flags.plugins_dir)),
            ("database", flags.database.clone()),
            ("listen", flags.listen.clone()),
        ];
        for (key, value) in given {
            if let Some(value) = value {
                self.set(key, &value, &Source::Flag(key))?;
            }
        }
        Ok(())
    }

    fn set(&mut self, key: &'static str, value: &str, source: &Source) -> Result<(), ConfigError> {
        self.parse(key, value)
            .map_err(|problem| ConfigError { place: source.place(Some(key)), problem })
    }

    fn parse(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "data_dir" => self.data_dir = Some(directory(value)?),
            "plugins_dir" => self.plugins_dir = Some(directory(value)?),
            "database" => self.database = Some(Database::parse(value)?),
            "listen_notify" => self.listen_notify = Some(switch(value)?),
            "listen" => self.listen = Some(Listen::parse_all(value)?),
            "require_token" => self.require_token = Some(switch(value)?),
            "hosts" => self.hosts = hosts(value)?,
            "tls_cert" => self.tls_cert = file(value),
            "tls_key" => self.tls_key = file(value),
            "log_format" => self.log_format = Some(LogFormat::parse(value)?),
            "log_level" => self.log_level = Some(level(value)?),
            "grace" => self.grace = Some(units::parse_span(value)?),
            "lease" => self.lease = Some(lease(value)?),
            "max_body" => self.max_body = Some(body_size(value)?),
            "orphan_after" => self.orphan_after = Some(units::parse_span(value)?),
            "max_concurrency" => self.max_concurrency = Some(concurrency(value)?),
            "max_queue" => self.max_queue = queue_limit(value)?,
            "min_free_disk" => self.min_free_disk = Some(units::parse_bytes(value)?),
            "retention_finished" => self.retention.finished = age(value)?,
            "retention_dead" => self.retention.dead = age(value)?,
            "retention_content" => self.retention.content = age(value)?,
            other => return Err(format!("\"{other}\" is no setting")),
        }
        Ok(())
    }

    /// Whether what encrypts is there, and is used.
    fn check_tls(&self) -> Result<(), ConfigError> {
        let refuse = |place: &str, problem: &str| {
            Err(ConfigError { place: place.to_owned(), problem: problem.to_owned() })
        };
        let encrypts = |listen: &Listen| matches!(listen, Listen::Tcp { tls: true, .. });
        let encrypts = self.listen.iter().flatten().any(encrypts);
        match (&self.tls_cert, &self.tls_key) {
            (Some(_), None) => refuse("tls_key", "is missing: tls_cert needs its private key"),
            (None, Some(_)) => refuse("tls_cert", "is missing: tls_key needs its certificate"),
            (None, None) if encrypts => {
                refuse("listen", "https:// takes a certificate: set tls_cert and tls_key")
            }
            (None, None) | (Some(_), Some(_)) => Ok(()),
        }
    }

    fn finish(self) -> Config {
        let data_dir = self.data_dir.unwrap_or_else(|| "data".into());
        Config {
            plugins_dir: self.plugins_dir.unwrap_or_else(|| data_dir.join("plugins")),
            database: self
                .database
                .unwrap_or_else(|| Database::Sqlite(data_dir.join("postrider.db"))),
            data_dir,
            listen_notify: self.listen_notify.unwrap_or(false),
            listen: self.listen.unwrap_or_else(default_listen),
            require_token: self.require_token.unwrap_or(false),
            hosts: self.hosts,
            tls: self
                .tls_cert
                .zip(self.tls_key)
                .map(|(certificate, key)| Files { certificate, key }),
            log_format: self.log_format.unwrap_or(LogFormat::Text),
            log_level: self.log_level.unwrap_or_else(|| "info".to_owned()),
            grace: self.grace.unwrap_or(Duration::from_secs(20)),
            lease: self.lease.unwrap_or(Duration::from_secs(45)),
            max_body: self.max_body.unwrap_or(4 << 20),
            orphan_after: self.orphan_after.unwrap_or(Duration::from_secs(86_400)),
            max_concurrency: self.max_concurrency.unwrap_or(DEFAULT_INSTANCES),
            max_queue: self.max_queue,
            min_free_disk: self.min_free_disk.unwrap_or(64 << 20),
            retention: self.retention,
        }
    }
}

impl Source {
    fn place(&self, key: Option<&str>) -> String {
        match (self, key) {
            (Self::Line(path, line), Some(key)) => {
                let key = key.replace("retention_", "retention.");
                format!("{}: line {line}: {key}", path.display())
            }
            (Self::File(path) | Self::Line(path, _), _) => path.display().to_string(),
            (Self::Environment(key), _) => {
                format!("environment variable {PREFIX}{}", key.to_uppercase())
            }
            (Self::Flag(key), _) => format!("--{}", key.replace('_', "-")),
        }
    }
}

impl Database {
    fn parse(url: &str) -> Result<Self, String> {
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Ok(Self::Postgres(url.to_owned()));
        }
        match url.strip_prefix("sqlite:") {
            Some(path) if path.contains(":memory:") => {
                Err("a database in memory would lose what was accepted; write sqlite:PATH"
                    .to_owned())
            }
            Some(path) if !path.is_empty() => {
                Ok(Self::Sqlite(path.strip_prefix("//").unwrap_or(path).into()))
            }
            _ => Err(format!(
                "\"{}\" is not a database; write sqlite:PATH, such as sqlite:data/postrider.db, or \
                 postgres://USER:PASSWORD@HOST/NAME",
                redact_url(url)
            )),
        }
    }
}

impl Database {
    /// As the settings name it, absolute and without a password.
    pub fn shown(&self) -> String {
        match self {
            Self::Sqlite(path) => {
                let whole = std::fs::canonicalize(path).unwrap_or_else(|_absent| path.clone());
                format!("sqlite:{}", whole.display())
            }
            Self::Postgres(url) => redact_url(url),
        }
    }
}

/// A URL without the password that it may hold.
fn redact_url(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if scheme < at => {
            let head = url.get(..scheme + 3).unwrap_or("");
            format!("{head}…{}", url.get(at..).unwrap_or(""))
        }
        _ => url.to_owned(),
    }
}

impl LogFormat {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(format!("\"{text}\" is not a log format; write text or json")),
        }
    }
}

fn directory(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("is empty; write a directory".to_owned()) } else { Ok(text.into()) }
}

/// A file; none where it is empty.
fn file(text: &str) -> Option<PathBuf> {
    Some(text.into()).filter(|_| !text.is_empty())
}

fn default_listen() -> Vec<Listen> {
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], 7411));
    vec![Listen::Tcp { address, tls: false }]
}

/// Names of hosts, with commas between.
fn hosts(text: &str) -> Result<Vec<String>, String> {
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    names
        .map(|name| match name.contains(['/', ' ', '@']) || name.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok() && !name.starts_with('[')) {
            true => Err(format!("\"{}\" is no name of a host; write it without scheme and port, such as notify.example.com", name.escape_debug())),
            false => Ok(name.to_owned()),
        })
        .collect()
}

fn switch(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_any| format!("\"{text}\" is no switch; write true or false"))
}

fn level(text: &str) -> Result<String, String> {
    match text.parse::<tracing_subscriber::filter::Targets>() {
        Ok(_) => Ok(text.to_owned()),
        Err(e) => {
            Err(format!("\"{text}\" is not a log level such as info or postrider=debug: {e}"))
        }
    }
}

fn lease(text: &str) -> Result<Duration, String> {
    let lease = units::parse_span(text)?;
    if (Duration::from_secs(3)..=Duration::from_secs(3_600)).contains(&lease) {
        Ok(lease)
    } else {
        Err(format!("{text} is no lease; write a duration from 3s to 1h"))
    }
}

/// How old something gets; none for ever.
fn age(text: &str) -> Result<Option<Duration>, String> {
    match text {
        "never" => Ok(None),
        _ => {
            units::parse_span(text).map(Some).map_err(|problem| format!("{problem}, or \"never\""))
        }
    }
}

fn concurrency(value: &str) -> Result<u32, String> {
    let number = value.parse().ok().filter(|number| (1..=MAX_CONCURRENCY).contains(number));
    number.ok_or_else(|| {
        format!(
            "\"{}\" is no number of deliveries; write one from 1 to {MAX_CONCURRENCY}",
            value.escape_debug()
        )
    })
}

fn queue_limit(text: &str) -> Result<Option<u64>, String> {
    if text == "none" {
        return Ok(None);
    }
    text.parse().ok().filter(|limit| *limit > 0).map(Some).ok_or_else(|| {
        format!(
            "\"{text}\" is no limit of the queue; write a number of deliveries, such as 1000000, or \"none\""
        )
    })
}

fn body_size(text: &str) -> Result<usize, String> {
    let bytes = usize::try_from(units::parse_bytes(text)?).unwrap_or(usize::MAX);
    if (1_024..=256 << 20).contains(&bytes) {
        Ok(bytes)
    } else {
        Err(format!("{text} is no body size; write one from 1KiB to 256MiB"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect()
    }

    fn file(text: &str) -> (tempfile::TempDir, Flags) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("postrider.toml");
        std::fs::write(&path, text).unwrap();
        (dir, Flags { config: Some(path), ..Flags::default() })
    }

    fn refused(flags: &Flags, variables: &[(&str, &str)]) -> String {
        Config::load(flags, &env(variables)).unwrap_err().to_string()
    }

    #[test]
    fn no_setting_is_needed() {
        let config = Config::load(&Flags::default(), &[]).unwrap();
        assert_eq!(config.plugins_dir, Path::new("data/plugins"));
        assert_eq!(config.database, Database::Sqlite("data/postrider.db".into()));
        assert_eq!(config.listen, Listen::parse_all("127.0.0.1:7411").unwrap());
    }

    #[test]
    fn flags_win_over_the_environment_and_that_over_the_file() {
        let (_dir, mut flags) = file("listen = '127.0.0.1:1'\ndata_dir = 'file'\ngrace = '1s'");
        flags.listen = Some("127.0.0.1:3".into());
        let variables = env(&[("POSTRIDER_LISTEN", "127.0.0.1:2"), ("POSTRIDER_DATA_DIR", "env")]);
        let config = Config::load(&flags, &variables).unwrap();
        assert_eq!(config.listen, Listen::parse_all("127.0.0.1:3").unwrap());
        assert_eq!(config.data_dir, Path::new("env"));
        assert_eq!(config.grace, Duration::from_secs(1));
    }

    #[test]
    fn errors_name_the_source() {
        let (_dir, flags) = file("grace = 1\nlistn = 'x'");
        let error = refused(&flags, &[]);
        assert!(
            error.contains(
                "postrider.toml: line 2: unknown key \"listn\"; did you mean \"listen\"?"
            ),
            "{error}"
        );
        let (_dir, flags) = file("listen = 'x'");
        let error = refused(&flags, &[]);
        assert!(
            error.contains("postrider.toml: line 1: listen: \"x\" is not an address"),
            "{error}"
        );
        let none = Flags::default();
        let error = refused(&none, &[("POSTRIDER_LISTEN", "x")]);
        assert!(
            error.starts_with("environment variable POSTRIDER_LISTEN: \"x\" is not"),
            "{error}"
        );
        let error = refused(&none, &[("POSTRIDER_LISTN", "x")]);
        assert!(error.ends_with("is no setting; did you mean POSTRIDER_LISTEN?"), "{error}");
        let flags = Flags { listen: Some("x".into()), ..none };
        assert!(refused(&flags, &[]).starts_with("--listen: \"x\" is not"));
    }

    #[test]
    fn retention_is_a_table_and_may_be_never() {
        let (_dir, flags) = file("max_queue = 5\n[retention]\nfinished = '1d'\ndead = 'never'");
        let config = Config::load(&flags, &env(&[("POSTRIDER_RETENTION_CONTENT", "1h")])).unwrap();
        let hours = |hours: u64| Some(Duration::from_secs(hours * 3_600));
        let wanted = Retention { finished: hours(24), dead: None, content: hours(1) };
        assert_eq!((config.retention, config.max_queue), (wanted, Some(5)));
        let (_dir, flags) = file("[retention]\nfinished = 'soon'");
        let error = refused(&flags, &[]);
        assert!(
            error.contains("postrider.toml: line 2: retention.finished: \"soon\" is not"),
            "{error}"
        );
        let (_dir, flags) = file("[retention]\ndaed = '1d'");
        let error = refused(&flags, &[]);
        assert!(error.contains("unknown key \"daed\"; did you mean \"dead\"?"), "{error}");
        let (_dir, flags) = file("max_concurrency = 0");
        assert!(refused(&flags, &[]).contains("from 1 to 4096"));
        let (_dir, flags) = file("max_queue = 0");
        assert!(refused(&flags, &[]).contains("max_queue: \"0\" is no limit"));
    }

    #[test]
    fn a_wrong_type_says_what_is_expected() {
        let (_dir, flags) = file("listen = [1]");
        let error = refused(&flags, &[]);
        assert!(error.contains("line 1: "), "{error}");
        assert!(error.contains("a text, a whole number, true or false"), "{error}");
    }

    #[test]
    fn a_switch_is_on_or_off() {
        let on = |text: &str| {
            let (_dir, flags) = file(text);
            Config::load(&flags, &[]).map(|config| config.listen_notify)
        };
        assert!(!on("").unwrap());
        assert!(on("listen_notify = true").unwrap());
        let error = on("listen_notify = 'yes'").unwrap_err().to_string();
        assert!(
            error.ends_with("listen_notify: \"yes\" is no switch; write true or false"),
            "{error}"
        );
    }

    #[test]
    fn https_takes_a_certificate_and_its_key() {
        let at = |listen: &str| Flags { listen: Some(listen.into()), ..Flags::default() };
        let https = at("https://0.0.0.0:7411");
        assert!(refused(&https, &[]).contains("set tls_cert and tls_key"));
        let error = refused(&https, &[("POSTRIDER_TLS_CERT", "cert.pem")]);
        assert!(error.starts_with("tls_key: is missing"), "{error}");
        let both = env(&[("POSTRIDER_TLS_CERT", "cert.pem"), ("POSTRIDER_TLS_KEY", "key.pem")]);
        let files = Files { certificate: "cert.pem".into(), key: "key.pem".into() };
        assert_eq!(Config::load(&https, &both).unwrap().tls, Some(files));
    }

    #[test]
    fn hosts_are_names_without_ports() {
        let (_dir, flags) = file("hosts = 'a.example, b.example'\nrequire_token = true");
        let config = Config::load(&flags, &[]).unwrap();
        assert_eq!(config.hosts, ["a.example", "b.example"]);
        assert!(config.require_token);
        let (_dir, flags) = file("hosts = 'https://a.example'");
        assert!(refused(&flags, &[]).contains("without scheme and port"));
        let (_dir, flags) = file("hosts = 'a.example:443'");
        assert!(refused(&flags, &[]).contains("without scheme and port"));
    }

    #[test]
    fn a_refused_database_does_not_show_its_password() {
        let flags = Flags { database: Some("mysql://me:secret@db/x".into()), ..Flags::default() };
        let error = refused(&flags, &[]);
        assert!(!error.contains("secret") && error.contains("sqlite:PATH"), "{error}");
    }
}
