//! The daemon's log: lines on standard error, as text or JSON.

use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

/// What libraries say unless the level names them: of a broken connection the database's driver warns for each of them,
/// where one line of the daemon says what that means.
const LIBRARIES: &str = "sqlx_core=error";

/// Starts the log. Later calls do nothing, so that tests may start several daemons in one process.
pub fn start(format: LogFormat, level: &str) {
    let filter = EnvFilter::builder().parse_lossy(format!("{LIBRARIES},{level}"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let _already_started = match format {
        LogFormat::Text => {
            let colour = std::io::IsTerminal::is_terminal(&std::io::stderr());
            lines.with_ansi(colour).try_init()
        }
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
}
