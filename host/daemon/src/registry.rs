//! The snapshot of plugins and destinations in force. A reload replaces it whole; whoever holds one finishes on it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use postrider_core::{Destination, Notification};
use postrider_queue::{AgeBound, Target};
use postrider_sandbox::Plugin;

use crate::dispatcher::NotifierCall;

/// The problem of a module that is not known to be good or bad yet.
pub const COMPILING: &str = "its file is being compiled";

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
    /// The file that lies there now, where it is not the one in force.
    pub unfit: Option<Unfit>,
    pub since: Timestamp,
}

/// A file that is not in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// Why, and what to do.
    pub problem: String,
    pub state: FileState,
    /// SHA-256 of the file, where it could be read.
    pub hash: Option<String>,
    /// What the module calls its version, where it could be asked.
    pub version: Option<String>,
    pub since: Timestamp,
}

/// Why a file is not in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileState {
    /// Not yet: it is being compiled.
    Compiling,
    /// It cannot be used.
    Rejected,
    /// It must not be used.
    Quarantined,
}

impl PluginEntry {
    /// Why the file that lies there now is not the one in force.
    pub fn problem(&self) -> Option<&str> {
        self.unfit.as_ref().map(|unfit| unfit.problem.as_str())
    }
}

impl FileState {
    pub fn name(self) -> &'static str {
        match self {
            Self::Compiling => "compiling",
            Self::Rejected => "rejected",
            Self::Quarantined => "quarantined",
        }
    }
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
    /// Whether this host can run its attempts now.
    pub fn is_ready(&self) -> bool {
        self.status == Status::Ready
    }

    fn target(&self, notification: &Notification) -> Target {
        let ordered_by = self.spec.ordered_by.as_ref();
        Target {
            destination: self.spec.name.clone(),
            order_key: ordered_by.and_then(|by| by.key(notification)),
            expires_after: self.spec.policy.expires_after,
        }
    }

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
        self.destinations().filter(|(_, entry)| entry.is_ready())
    }

    /// Everything in the plugins directory that cannot be used as it lies there: its name and why.
    pub fn refusals(&self) -> impl Iterator<Item = (&str, &str)> {
        let plugins = self.plugins.iter().filter_map(|(name, entry)| {
            let unfit = entry.unfit.as_ref()?;
            let rejected = unfit.state == FileState::Rejected;
            rejected.then_some((name.as_str(), unfit.problem.as_str()))
        });
        let destinations = self.destinations.iter().filter_map(|(name, entry)| {
            // What is being compiled is not known yet.
            let problem = entry.problem.as_deref().filter(|problem| !problem.ends_with(COMPILING));
            Some((name.as_str(), problem?))
        });
        let refused = self.refused.iter();
        let refused = refused.map(|(file, problem)| (file.as_str(), problem.as_str()));
        plugins.chain(destinations).chain(refused)
    }

    /// The destinations that get `notification`. Depends on names and `match` only, never on what is loaded.
    pub fn route(&self, notification: &Notification) -> Vec<Target> {
        self.destinations()
            .filter(|(_, entry)| !matches!(entry.status, Status::Off(_)))
            .filter(|(_, entry)| entry.spec.filter.matches(notification))
            .map(|(_, entry)| entry.target(notification))
            .collect()
    }

    /// `name` as a target of `notification`; one that is not known here has no order and no bound.
    pub fn target(&self, name: &str, notification: &Notification) -> Target {
        match self.destination(name) {
            Some(entry) => entry.target(notification),
            None => Target::new(name),
        }
    }

    /// The age at which the deliveries of each destination die.
    pub fn age_bounds(&self) -> Vec<AgeBound> {
        let bounds = self.destinations().map(|(name, entry)| AgeBound {
            destination: name.to_owned(),
            max_age: entry.spec.policy.max_age,
            early: false,
        });
        bounds.collect()
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
    fn a_target_has_its_destinations_order_and_bound() {
        let mut registry = Registry::default();
        let text = "ordered_by = 'subject'\n[policy]\nexpires_after = '5m'";
        registry.insert(entry("pager", text, None)).unwrap();
        let subject = Some("db-1".to_owned());
        let draft = postrider_core::Draft { kind: "x".into(), subject, ..Default::default() };
        let id = postrider_core::NotificationId(uuid::Uuid::nil());
        let notification = draft.accept(id, Timestamp::UNIX_EPOCH).unwrap();
        let target = Target {
            destination: "pager".into(),
            order_key: Some("db-1".into()),
            expires_after: Some(std::time::Duration::from_secs(300)),
        };
        assert_eq!(registry.route(&notification), std::slice::from_ref(&target));
        assert_eq!(registry.target("pager", &notification), target);
        assert_eq!(registry.target("gone", &notification), Target::from("gone"));
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
        assert_eq!(registry.route(&notification), [Target::from("parked")]);
        assert_eq!(registry.ready().count(), 0);
    }
}
