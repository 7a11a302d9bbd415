//! The daemon's log: lines on standard error, as text or JSON.

use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

/// What libraries say unless the level names them: of a broken connection the database's driver warns for each of them,
/// where one line of the daemon says what that means.
const LIBRARIES: &str = "sqlx_core=error";

/// Changes the level of the log that was started.
pub struct Level(Box<dyn Fn(EnvFilter) + Send + Sync>);

impl Level {
    pub fn set(&self, level: &str) {
        (self.0)(filter(level));
    }
}

/// Starts the log. Later calls do nothing, so that tests may start several daemons in one process.
pub fn start(format: LogFormat, level: &str) -> Option<Level> {
    let lines =
        tracing_subscriber::fmt().with_env_filter(filter(level)).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => {
            let colour = std::io::IsTerminal::is_terminal(&std::io::stderr());
            let lines = lines.with_ansi(colour).with_filter_reloading();
            let handle = lines.reload_handle();
            // It fails only where the log itself is gone.
            let set = move |filter| handle.reload(filter).unwrap_or_default();
            lines.try_init().ok().map(|()| Level(Box::new(set)))
        }
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_filter_reloading();
            let handle = lines.reload_handle();
            let set = move |filter| handle.reload(filter).unwrap_or_default();
            lines.try_init().ok().map(|()| Level(Box::new(set)))
        }
    }
}

fn filter(level: &str) -> EnvFilter {
    EnvFilter::builder().parse_lossy(format!("{LIBRARIES},{level}"))
}
