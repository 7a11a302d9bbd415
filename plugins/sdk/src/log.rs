//! Lines for the daemon's log, which adds the destination's name and bounds their number and length.

use crate::bindings::postrider::notifier::host;

pub use crate::bindings::postrider::notifier::host::Level;

/// Writes a line at a level chosen at run time.
pub fn log(level: Level, message: &str) {
    host::log(level, message);
}

/// Writes a line at level `trace`.
pub fn trace(message: &str) {
    log(Level::Trace, message);
}

/// Writes a line at level `debug`.
pub fn debug(message: &str) {
    log(Level::Debug, message);
}

/// Writes a line at level `info`.
pub fn info(message: &str) {
    log(Level::Info, message);
}

/// Writes a line at level `warn`.
pub fn warn(message: &str) {
    log(Level::Warn, message);
}

/// Writes a line at level `error`.
pub fn error(message: &str) {
    log(Level::Error, message);
}
