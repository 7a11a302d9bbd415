//! The daemon of postrider, as a library; `main.rs` is thin.
//!
//! - [`app`]: opens everything, serves, closes.
//! - [`listen`]: where callers come in.
//! - [`api`]: the HTTP API.
//! - [`page`]: the web page, on top of it.
//! - [`config`]: settings from file, environment and flags.
//! - [`registry`]: plugins and destinations in force.
//! - [`plugins`]: the plugins directory, which becomes the registry.
//! - [`dispatcher`]: the loop that claims what is due and starts attempts.
//! - [`feed`]: what happens, for whoever listens.
//! - [`notifier`]: how the sandbox keeps a destination's notes.
//! - [`signals`]: what the daemon tells of itself: metrics, probes.
//! - [`upkeep`]: retention, the heartbeat, limits.
//! - [`cli`]: the command line.
//! - [`logs`]: the daemon's log.
//! - [`manager`]: what a service manager is told.
//! - [`settings`]: the settings in force, and their reload.

pub mod api;
pub mod app;
pub mod cli;
pub mod config;
pub mod dispatcher;
pub mod feed;
pub mod listen;
pub mod logs;
pub mod manager;
pub mod notifier;
pub mod page;
pub mod plugins;
pub mod registry;
pub mod settings;
pub mod signals;
pub mod upkeep;
