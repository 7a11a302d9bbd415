//! A module in this process, bound to its destination without a network, and what it says while it runs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use clap::Args;
use jiff::Timestamp;
use postrider_core::{Destination, Draft, Grant, Notification, NotificationId, secret};
use postrider_queue::MemoryQueue;
use postrider_sandbox::offline::Receiver;
use postrider_sandbox::{
    BindError, CompilerConfig, Notifier, Plugin, Sandbox, SandboxConfig, Secrets,
};
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::{EnvFilter, Layer, registry};

use super::project::Project;
use crate::api::notifications::read_draft;
use crate::notifier::QueueState;

/// Instances at once, of which `bench` uses the most.
const INSTANCES: u32 = 64;
/// The id of the notifications that are tried: any UUIDv7, the same each time, so that two runs can be compared.
const ID: u128 = 0x0197_0000_0000_7000_8000_0000_0000_0001;
/// What a project without a notification of its own is tried with.
const SAMPLE: &str = r#"{
    "type": "alert.firing", "source": "prometheus", "subject": "db1",
    "labels": {"severity": "critical", "team": "ops"},
    "content": {"summary": "disk is full", "value": 98.5}
}"#;
/// Words of a module that are kept.
const MAX_LINES: usize = 10_000;

/// What a module is tried with.
#[derive(Args, Clone, Default)]
pub(super) struct Given {
    /// The destination [default: `NAME.toml.example`, else `NAME.toml` beside the module].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The notification, JSON as the API takes it [default: `payload.json` beside the module, else a sample].
    #[arg(long, value_name = "FILE")]
    payload: Option<PathBuf>,
    /// A secret's value; may be given again. One that is missing gets a made-up value.
    #[arg(long = "secret", value_name = "NAME=VALUE", value_parser = pair)]
    secrets: Vec<(String, String)>,
}

/// A module and all that it is tried with.
pub(super) struct Stage {
    pub(super) plugin: Arc<Plugin>,
    pub(super) destination: Destination,
    /// Values by name.
    pub(super) secrets: BTreeMap<String, String>,
    pub(super) draft: Draft,
    pub(super) words: Arc<Words>,
    /// A directory that goes with the stage, where no cache of the user's can be had.
    _cache: Option<TempDir>,
}

impl Stage {
    pub(super) async fn open(project: &Project, given: &Given) -> Result<Self> {
        let words = Words::listen();
        let (cache, own) = cache()?;
        let plugin = load(project, &sandbox(&cache)?).await?;
        let destination = destination(project, given, &plugin)?;
        let mut secrets = made_up(&destination, &plugin);
        secrets.extend(given.secrets.iter().cloned());
        let draft = payload(given.payload.as_ref().or(project.payload.as_ref()))?;
        Ok(Self { plugin, destination, secrets, draft, words, _cache: own })
    }

    /// Binds the module to its destination, with an empty state.
    pub(super) async fn bind(&self, receiver: Arc<dyn Receiver>) -> Result<Notifier, BindError> {
        self.bind_to(&self.destination, &self.secrets, receiver).await
    }

    pub(super) async fn bind_to(
        &self,
        destination: &Destination,
        secrets: &BTreeMap<String, String>,
        receiver: Arc<dyn Receiver>,
    ) -> Result<Notifier, BindError> {
        let state = Arc::new(QueueState(Arc::new(MemoryQueue::new(Timestamp::UNIX_EPOCH))));
        let secrets = Secrets::from_iter(secrets.clone());
        self.plugin.bind_offline(destination, secrets, Some(state), receiver).await
    }

    pub(super) fn notification(&self) -> Result<Notification> {
        accept(self.draft.clone())
    }
}

/// A sandbox for the command line, which compiles into `cache`.
pub(super) fn sandbox(cache: &Path) -> Result<Sandbox> {
    Ok(Sandbox::new(SandboxConfig {
        cache_dir: cache.to_owned(),
        instances: INSTANCES,
        own: Vec::new(),
        threads: 1,
        compiler: CompilerConfig::default(),
    })?)
}

async fn load(project: &Project, sandbox: &Sandbox) -> Result<Arc<Plugin>> {
    let bytes = project.bytes()?;
    Ok(sandbox.load(&project.name, bytes.into()).await?)
}

/// Makes a notification of a draft, as at the start of time.
pub(super) fn accept(draft: Draft) -> Result<Notification> {
    Ok(draft.accept_own(NotificationId(uuid::Uuid::from_u128(ID)), Timestamp::UNIX_EPOCH)?)
}

/// The text of a destination file.
pub(super) fn read_destination(name: &str, path: &Path) -> Result<Destination> {
    let place = path.display();
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {place}"))?;
    Destination::parse(name, &text).map_err(|error| anyhow!("{place}: {}", error.problem))
}

fn destination(project: &Project, given: &Given, plugin: &Plugin) -> Result<Destination> {
    if let Some(path) = given.config.as_ref().or(project.destination.as_ref()) {
        return read_destination(&project.name, path);
    }
    // Without a destination file it is granted what it wants.
    let mut destination = Destination::parse(&project.name, "")?;
    let origins = plugin.description().origins.iter();
    destination.allow = origins.filter_map(|origin| Grant::parse(origin).ok()).collect();
    Ok(destination)
}

/// A value for each secret of a destination. One that is the whole of a URL's key becomes a URL that is granted.
fn made_up(destination: &Destination, plugin: &Plugin) -> BTreeMap<String, String> {
    let granted = destination.allow.iter().map(Grant::to_string);
    let origin = granted
        .chain(plugin.description().origins.iter().cloned())
        .find(|origin| !origin.contains('*'));
    let names = destination.secrets.keys().cloned().chain(secret::referenced(&destination.config));
    let value = |name: String| {
        let value = format!("value-of-{name}");
        match &origin {
            Some(origin) if is_url(&destination.config, "", &name) => {
                (name, format!("{origin}/{value}"))
            }
            _ => (name, value),
        }
    };
    names.map(value).collect()
}

/// Whether a key that ends in `url` has this secret and nothing else.
fn is_url(config: &Value, key: &str, name: &str) -> bool {
    match config {
        Value::String(text) => {
            *text == format!("{{{{secret:{name}}}}}") && key.to_ascii_lowercase().ends_with("url")
        }
        Value::Object(map) => map.iter().any(|(key, value)| is_url(value, key, name)),
        Value::Array(items) => items.iter().any(|value| is_url(value, key, name)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn payload(path: Option<&PathBuf>) -> Result<Draft> {
    let Some(path) = path else { return draft(SAMPLE.as_bytes()) };
    let place = path.display();
    let text = fs::read(path).with_context(|| format!("cannot read {place}"))?;
    draft(&text).with_context(|| format!("{place}"))
}

/// Reads a notification as the API takes it.
pub(super) fn draft(json: &[u8]) -> Result<Draft> {
    let (draft, _schedule) = read_draft(json).map_err(|problem| anyhow!("{}", problem.detail()))?;
    // What is wrong with it is said by its file, not by its first use.
    accept(draft.clone())?;
    Ok(draft)
}

fn pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, value)| !name.is_empty() && !value.is_empty());
    let (name, value) = pair.ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Where compiled modules are kept from run to run; else a directory that goes with its owner.
fn cache() -> Result<(PathBuf, Option<TempDir>)> {
    let variable = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let user = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
    if let Some(user) = user {
        let own = user.join("postrider").join("modules");
        if fs::create_dir_all(&own).is_ok() {
            return Ok((own, None));
        }
    }
    let own = TempDir::new("try")?;
    Ok((own.path().to_owned(), Some(own)))
}

/// A directory that goes with its owner.
pub(super) struct TempDir(PathBuf);

impl TempDir {
    pub(super) fn new(what: &str) -> Result<Self> {
        let name = format!("postrider-{what}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // Left to the system's own cleaning where it cannot be removed.
        let _left = fs::remove_dir_all(&self.0).is_err();
    }
}

/// What the module logs, and what the sandbox says of its requests.
#[derive(Default)]
pub(super) struct Words(Mutex<Vec<String>>);

impl Words {
    /// Hears everything from now on. Guests log on threads of their own, so this is for the whole process, once.
    fn listen() -> Arc<Self> {
        let words = Arc::new(Self::default());
        let filter = EnvFilter::new("off,plugin=trace,postrider_sandbox=warn");
        let ear = Ear(words.clone()).with_filter(filter);
        // Not `try_init`, which would also pass on every line that wasmtime writes at level trace.
        if let Err(error) = tracing::subscriber::set_global_default(registry().with(ear)) {
            words.push(format!("warn the module's log cannot be heard: {error}"));
        }
        words
    }

    fn push(&self, line: String) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() < MAX_LINES {
            lines.push(line);
        }
    }

    /// Takes the lines so far, each with its level before it.
    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

struct Ear(Arc<Words>);

impl<S: Subscriber> Layer<S> for Ear {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut message = Message::default();
        event.record(&mut message);
        let level = event.metadata().level().as_str().to_ascii_lowercase();
        self.0.push(format!("{level} {}", message.0));
    }
}

#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

/// Milliseconds with two digits, for people.
pub(super) fn ms(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

/// Mebibytes with one digit, for people.
pub(super) fn mib(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
    let mebibytes = bytes as f64 / f64::from(1 << 20);
    format!("{mebibytes:.1} MiB")
}
