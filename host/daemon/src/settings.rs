//! The settings in force, and how they are read again: whole or not at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;

use crate::config::{Config, ConfigError, Flags};
use crate::logs::Level;

/// Cheap to clone: all are one.
#[derive(Clone)]
pub struct Settings(Arc<Inner>);

struct Inner {
    origin: Origin,
    current: ArcSwap<State>,
    refused: AtomicBool,
    level: Option<Level>,
}

/// Where the settings come from, each time.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    pub flags: Flags,
    pub environment: Vec<(String, String)>,
}

struct State {
    config: Arc<Config>,
    /// Settings that were changed since the start and wait for a restart.
    waiting: Vec<&'static str>,
}

/// What a reload came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// Settings that changed and are in force.
    pub taken: Vec<&'static str>,
    /// Settings that differ from those in force and need a restart.
    pub waiting: Vec<&'static str>,
}

impl Settings {
    /// Reads them for the first time.
    pub fn load(origin: Origin) -> Result<Self, ConfigError> {
        let config = Config::load(&origin.flags, &origin.environment)?;
        Ok(Self::new(origin, config, None))
    }

    /// These settings, with the level of the log to be told of.
    pub fn with_level(self, level: Option<Level>) -> Self {
        let config = (*self.current()).clone();
        Self::new(self.0.origin.clone(), config, level)
    }

    fn new(origin: Origin, config: Config, level: Option<Level>) -> Self {
        let state = State { config: Arc::new(config), waiting: Vec::new() };
        let current = ArcSwap::from_pointee(state);
        Self(Arc::new(Inner { origin, current, refused: AtomicBool::new(false), level }))
    }

    /// What is in force now.
    pub fn current(&self) -> Arc<Config> {
        self.0.current.load().config.clone()
    }

    /// Settings that were changed since the start and wait for a restart.
    pub fn waiting(&self) -> Vec<&'static str> {
        self.0.current.load().waiting.clone()
    }

    /// Whether the last reload was refused, so that what is written is not in force.
    pub fn is_refused(&self) -> bool {
        self.0.refused.load(Ordering::Relaxed)
    }

    /// Reads them again and puts in force what can be. An error leaves everything as it was.
    pub fn reload(&self) -> Result<Reloaded, ConfigError> {
        let origin = &self.0.origin;
        let read = Config::load(&origin.flags, &origin.environment);
        self.0.refused.store(read.is_err(), Ordering::Relaxed);
        let read = read?;
        let old = self.current();
        let config = old.with_live(&read);
        let reloaded = Reloaded { taken: old.differing(&config), waiting: config.differing(&read) };
        if let Some(level) = self.0.level.as_ref().filter(|_| old.log_level != config.log_level) {
            level.set(&config.log_level);
        }
        let waiting = reloaded.waiting.clone();
        self.0.current.store(Arc::new(State { config: Arc::new(config), waiting }));
        Ok(reloaded)
    }

    /// Reloads, and says in the log what came of it.
    pub fn reload_aloud(&self) {
        match self.reload() {
            Err(error) => {
                tracing::error!(%error, "the settings were not taken, those from before stay in force; mend them and reload again");
            }
            Ok(Reloaded { taken, waiting }) => {
                if taken.is_empty() {
                    tracing::info!("the settings were read again; none changed");
                } else {
                    tracing::info!(
                        settings.taken = taken.join(", "),
                        "changed settings are in force"
                    );
                }
                if !waiting.is_empty() {
                    tracing::warn!(
                        settings.waiting = waiting.join(", "),
                        "these changed settings need a restart"
                    );
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reload_takes_everything_or_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("postrider.toml");
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        write("max_queue = 1\nlease = '10s'");
        let flags = Flags { config: Some(path.clone()), ..Flags::default() };
        let settings = Settings::load(Origin { flags, environment: Vec::new() }).unwrap();
        assert_eq!(settings.reload().unwrap(), Reloaded::default());

        write("max_queue = 2\nlease = 'soon'");
        let error = settings.reload().unwrap_err().to_string();
        assert!(error.contains("postrider.toml: line 2: lease: \"soon\" is not"), "{error}");
        assert!(settings.is_refused());
        assert_eq!(settings.current().max_queue, Some(1));

        write("max_queue = 2\nlease = '20s'");
        let expected = Reloaded { taken: vec!["max_queue"], waiting: vec!["lease"] };
        assert_eq!(settings.reload().unwrap(), expected);
        assert_eq!((settings.current().max_queue, settings.is_refused()), (Some(2), false));
        assert_eq!(settings.current().lease.as_secs(), 10);
        // Said again until somebody does it.
        assert_eq!(settings.reload().unwrap().waiting, ["lease"]);
        assert_eq!(settings.waiting(), ["lease"]);
    }
}
