//! The snapshot of plugins and destinations in force. A reload replaces it whole; whoever holds one finishes on it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use postrider_core::{Destination, Notification};
use postrider_sandbox::Plugin;

use crate::dispatcher::NotifierCall;

/// The registry in force, for everyone.
pub type SharedRegistry = ArcSwap<Registry>;

/// Plugins and destinations, by name.
#[derive(Default)]
pub struct Registry {
    /// Counts the reloads that changed something.
    pub generation: u64,
    pub plugins: BTreeMap<String, PluginEntry>,
    destinations: BTreeMap<String, Arc<Entry>>,
    /// Destination files that were never good, and why.
    pub refused: BTreeMap<String, String>,
    /// What is not as it should be with destinations that are in force all the same.
    pub warnings: BTreeMap<String, String>,
}

/// One `.wasm` of the plugins directory.
#[derive(Clone)]
pub struct PluginEntry {
    /// The module in force; none where no file of this name was ever good.
    pub plugin: Option<Arc<Plugin>>,
    /// Why the file that lies there now is not the one in force.
    pub problem: Option<String>,
    pub since: Timestamp,
}

/// One destination in force, or known and out of force.
pub struct Entry {
    pub spec: Destination,
    /// The text of its file that is in force.
    pub text: String,
    /// SHA-256 of the module that it uses; empty where it has none.
    pub module: String,
    /// Of text, module and secrets: what is the same need not be bound again.
    pub fingerprint: String,
    pub status: Status,
    /// Why its file or its module that lies there now is not the one in force.
    pub problem: Option<String>,
    /// What runs its attempts; set when it is ready.
    pub notifier: Option<Arc<dyn NotifierCall>>,
    pub since: Timestamp,
}

/// Whether a destination gets deliveries, and whether this host sends them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Gets deliveries and sends them.
    Ready,
    /// Gets deliveries; they wait until the reason is gone.
    Parked(String),
    /// Its `configure` said no or refused: it gets none.
    Off(String),
}

impl Entry {
    /// The same entry with another problem.
    pub fn with_problem(&self, problem: Option<String>) -> Self {
        Self {
            spec: self.spec.clone(),
            text: self.text.clone(),
            module: self.module.clone(),
            fingerprint: self.fingerprint.clone(),
            status: self.status.clone(),
            problem,
            notifier: self.notifier.clone(),
            since: self.since,
        }
    }
}

impl Status {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Parked(_) => "parked",
            Self::Off(_) => "off",
        }
    }

    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Ready => None,
            Self::Parked(reason) | Self::Off(reason) => Some(reason),
        }
    }
}

/// Why an entry cannot join a registry.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Clash {
    #[error("the name is empty")]
    Empty,
    #[error("\"{new}\" and \"{old}\" differ in case only; rename one of them")]
    Duplicate { new: String, old: String },
}

impl Registry {
    /// Adds a destination. Names that differ in case only would be one file elsewhere, so they are refused.
    pub fn insert(&mut self, entry: Arc<Entry>) -> Result<(), Clash> {
        let name = entry.spec.name.clone();
        clash(&name, self.destinations.keys())?;
        self.destinations.insert(name, entry);
        Ok(())
    }

    pub fn destination(&self, name: &str) -> Option<&Arc<Entry>> {
        self.destinations.get(name)
    }

    pub fn destinations(&self) -> impl Iterator<Item = (&str, &Arc<Entry>)> {
        self.destinations.iter().map(|(name, entry)| (name.as_str(), entry))
    }

    /// Destinations whose attempts this host can run now.
    pub fn ready(&self) -> impl Iterator<Item = (&str, &Arc<Entry>)> {
        self.destinations().filter(|(_, entry)| entry.status == Status::Ready)
    }

    /// The destinations that get `notification`. Depends on names and `match` only, never on what is loaded.
    pub fn route(&self, notification: &Notification) -> Vec<String> {
        self.destinations()
            .filter(|(_, entry)| !matches!(entry.status, Status::Off(_)))
            .filter(|(_, entry)| entry.spec.filter.matches(notification))
            .map(|(name, _)| name.to_owned())
            .collect()
    }
}

/// Refuses a name that is empty or that another has but for its case.
pub fn clash<'a>(name: &str, others: impl Iterator<Item = &'a String>) -> Result<(), Clash> {
    if name.is_empty() {
        return Err(Clash::Empty);
    }
    let lower = name.to_lowercase();
    match others.into_iter().find(|other| other.to_lowercase() == lower) {
        Some(old) => Err(Clash::Duplicate { new: name.to_owned(), old: old.clone() }),
        None => Ok(()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn entry(
        name: &str,
        text: &str,
        notifier: Option<Arc<dyn NotifierCall>>,
    ) -> Arc<Entry> {
        let status = match &notifier {
            Some(_) => Status::Ready,
            None => Status::Parked("no module".into()),
        };
        Arc::new(Entry {
            spec: Destination::parse(name, text).unwrap(),
            text: text.into(),
            module: String::new(),
            fingerprint: String::new(),
            status,
            problem: None,
            notifier,
            since: Timestamp::UNIX_EPOCH,
        })
    }

    #[test]
    fn duplicate_and_empty_names_are_refused() {
        let mut registry = Registry::default();
        registry.insert(entry("slack", "", None)).unwrap();
        let clash = registry.insert(entry("Slack", "", None)).unwrap_err();
        assert_eq!(
            clash.to_string(),
            "\"Slack\" and \"slack\" differ in case only; rename one of them"
        );
        assert_eq!(super::clash("", [].iter()), Err(Clash::Empty));
    }

    #[test]
    fn a_parked_destination_is_routed_to_and_one_that_is_off_is_not() {
        let mut registry = Registry::default();
        registry.insert(entry("parked", "", None)).unwrap();
        let off = entry("off", "", None);
        let off = Entry {
            status: Status::Off("said no".into()),
            spec: off.spec.clone(),
            text: String::new(),
            module: String::new(),
            fingerprint: String::new(),
            problem: None,
            notifier: None,
            since: Timestamp::UNIX_EPOCH,
        };
        registry.insert(Arc::new(off)).unwrap();
        let notification = postrider_core::Draft { kind: "x".into(), ..Default::default() }
            .accept(postrider_core::NotificationId(uuid::Uuid::nil()), Timestamp::UNIX_EPOCH)
            .unwrap();
        assert_eq!(registry.route(&notification), ["parked"]);
        assert_eq!(registry.ready().count(), 0);
    }
}
