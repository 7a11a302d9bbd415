//! The plugins directory, which becomes the registry without a restart.
//!
//! - [`directory`]: what lies there, and whether it holds still.
//! - [`watcher`]: hints that something changed.
//! - [`trials`]: new versions, watched until they worked; `rollback`: what takes the place of one in quarantine.
//! - `again`: when what failed is tried again; [`asked`]: looks that somebody asked for.
//! - `loading`: modules that are being read or compiled.
//! - [`secrets`]: the values behind a destination's `[secrets]`.
//! - [`kept`]: copies of the last good modules.
//! - `changes`: what a look changed, in lines for the log.
//! - `fallbacks`: whether they lead somewhere, and end.
//! - [`reload`]: from files to a registry; a bad file leaves the last good one in force and says so.

mod again;
pub mod asked;
mod changes;
pub mod directory;
mod fallbacks;
pub mod kept;
mod loading;
pub mod reload;
mod resuming;
mod rollback;
pub mod secrets;
pub mod trials;
pub mod watcher;
