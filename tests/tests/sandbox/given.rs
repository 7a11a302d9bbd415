//! Sandbox, destinations and notifications for the tests.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use postrider_core::{Destination, Notification, NotificationId, Outcome};
use postrider_sandbox::{
    BindError, CompilerConfig, Notifier, Plugin, Sandbox, SandboxConfig, Secrets, Sent, StateStore,
};
use postrider_tests::daemon::binary;
use postrider_tests::modules::module;
use uuid::Uuid;

/// A test that takes longer hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn sandbox_in(cache: &Path, instances: u32) -> Sandbox {
    sandbox_with(cache, instances, compiler())
}

pub(crate) fn sandbox_with(cache: &Path, instances: u32, compiler: CompilerConfig) -> Sandbox {
    let own = vec!["127.0.0.1:1".parse().unwrap()];
    let cache_dir = cache.to_owned();
    Sandbox::new(SandboxConfig { cache_dir, instances, own, threads: 2, compiler }).unwrap()
}

/// The daemon's binary compiles: that of a test would run tests.
pub(crate) fn compiler() -> CompilerConfig {
    CompilerConfig { program: binary().to_owned(), ..CompilerConfig::default() }
}

/// One sandbox for all tests of the process, with code that earlier runs compiled.
pub(crate) fn sandbox() -> &'static Sandbox {
    static SANDBOX: OnceLock<Sandbox> = OnceLock::new();
    SANDBOX.get_or_init(|| sandbox_in(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("cwasm"), 64))
}

pub(crate) async fn plugin(name: &str) -> Arc<Plugin> {
    let bytes = std::fs::read(module(name)).unwrap();
    sandbox().load(name, bytes.into()).await.unwrap()
}

/// Binds the fixture to a destination given as TOML.
pub(crate) async fn fixture(toml: &str) -> Notifier {
    try_bind("fixture", "test", toml, None).await.unwrap()
}

pub(crate) async fn try_bind(
    module: &str,
    name: &str,
    toml: &str,
    state: Option<Arc<dyn StateStore>>,
) -> Result<Notifier, BindError> {
    let destination = Destination::parse(name, toml).unwrap();
    let known = [
        ("token", "s3cr3t-T0KEN"),
        ("url", ""),
        ("long", "a b/c"),
        ("key", "whsec_c2VjcmV0LWtleS0x"),
    ];
    let mut secrets: BTreeMap<String, String> =
        known.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    // `env` stands for the value itself here.
    for (name, source) in &destination.secrets {
        if let postrider_core::secret::SecretSource::Env(value) = source
            && !value.is_empty()
        {
            secrets.insert(name.clone(), value.clone());
        }
    }
    let tls = destination.tls.by_key().into_iter().filter_map(|(key, source)| match source {
        postrider_core::secret::SecretSource::File(path) => {
            Some((key, std::fs::read_to_string(path).unwrap()))
        }
        _ => None,
    });
    let secrets = Secrets::from_iter(secrets).with_tls(tls);
    plugin(module).await.bind(&destination, secrets, state).await
}

pub(crate) fn notification(content: &str) -> Notification {
    Notification {
        id: NotificationId(Uuid::from_u128(7)),
        kind: "alert.firing".into(),
        source: "test".into(),
        subject: None,
        labels: BTreeMap::from([("severity".into(), "high".into())]),
        content_type: "application/json".into(),
        content: Bytes::copy_from_slice(content.as_bytes()),
        time: Timestamp::UNIX_EPOCH,
        trace: None,
    }
}

pub(crate) async fn send(notifier: &Notifier, content: &str) -> Sent {
    let notification = notification(content);
    tokio::time::timeout(PATIENCE, notifier.send(&notification, 1, 0)).await.expect("bounded time")
}

/// The receipt's note of a delivered notification.
pub(crate) fn note(sent: &Sent) -> &str {
    match &sent.outcome {
        Outcome::Delivered(receipt) => receipt.note.as_deref().unwrap_or_default(),
        other => panic!("not delivered: {other:?}"),
    }
}

/// Everything that was logged for a destination so far.
pub(crate) fn logged(destination: &str) -> Vec<String> {
    let wanted = format!("destination.name=\"{destination}\"");
    let plain = format!("destination.name={destination}");
    let log = log().lock().unwrap();
    let text = String::from_utf8_lossy(&log);
    text.lines()
        .filter(|line| line.contains(&wanted) || line.contains(&plain))
        .map(str::to_owned)
        .collect()
}

/// Starts to keep what is logged. Guests log on threads of their own, so the log is the process's.
pub(crate) fn watch_log() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        tracing_subscriber::fmt()
            .with_ansi(false)
            .with_env_filter("off,plugin=trace,postrider_sandbox=trace")
            .with_writer(|| Writer)
            .init();
    });
}

fn log() -> &'static Mutex<Vec<u8>> {
    static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());
    &LOG
}

struct Writer;

impl std::io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        log().lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The only entry of a cache, beside its notes.
pub(crate) fn entry(cache: &Path) -> PathBuf {
    let paths = std::fs::read_dir(cache).unwrap().map(|entry| entry.unwrap().path());
    let code = paths.filter(|path| path.extension().is_some_and(|is| is == "cwasm"));
    let [entry] = code.collect::<Vec<_>>().try_into().unwrap();
    entry
}
