//! The plugins directory, which becomes the registry without a restart.
//!
//! - [`directory`]: what lies there, and whether it holds still.
//! - [`watcher`]: hints that something changed.
//! - [`secrets`]: the values behind a destination's `[secrets]`.
//! - [`kept`]: copies of the last good modules.
//! - [`reload`]: from files to a registry; a bad file leaves the last good one in force and says so.

pub mod directory;
pub mod kept;
pub mod reload;
pub mod secrets;
pub mod watcher;
