//! What one registry has that another has not, in lines for the log.

use crate::registry::{PluginEntry, Registry, Status};

/// One line of what a look changed.
pub(super) enum Change {
    Good(String),
    Bad(String),
}

impl Change {
    pub(super) fn say(&self) {
        match self {
            Self::Good(line) => tracing::info!("{line}"),
            Self::Bad(line) => tracing::warn!("{line}"),
        }
    }
}

pub(super) fn changes(old: &Registry, new: &Registry) -> Vec<Change> {
    let mut changes = Vec::new();
    for (name, entry) in &new.plugins {
        let before = old.plugins.get(name);
        let hash = |e: &PluginEntry| e.plugin.as_ref().map(|p| p.hash().to_owned());
        if let Some(problem) = entry.problem()
            && before.and_then(PluginEntry::problem) != Some(problem)
        {
            let kept =
                if entry.plugin.is_some() { "; the last good one stays in force" } else { "" };
            changes.push(Change::Bad(format!("{problem}{kept}")));
        }
        if let Some(plugin) = &entry.plugin
            && (before.and_then(hash) != hash(entry)
                || (entry.unfit.is_none() && before.is_some_and(|b| b.unfit.is_some())))
        {
            let (version, short) =
                (&plugin.description().version, plugin.hash().get(..12).unwrap_or(""));
            changes
                .push(Change::Good(format!("plugin \"{name}\" {version} ({short}) is in force")));
        }
    }
    for name in old.plugins.keys().filter(|name| !new.plugins.contains_key(*name)) {
        changes.push(Change::Good(format!("plugin \"{name}\" is gone")));
    }
    for (name, entry) in new.destinations() {
        let before = old.destination(name);
        if let Some(problem) = &entry.problem
            && before.and_then(|b| b.problem.as_ref()) != Some(problem)
        {
            changes.push(Change::Bad(format!(
                "destination \"{name}\": {problem}; the last good one stays in force"
            )));
        }
        if before.is_some_and(|b| {
            b.status == entry.status && b.fingerprint == entry.fingerprint && b.text == entry.text
        }) {
            if entry.problem.is_none() && before.is_some_and(|b| b.problem.is_some()) {
                changes
                    .push(Change::Good(format!("destination \"{name}\": its file is good again")));
            }
            continue;
        }
        changes.push(match &entry.status {
            Status::Ready => Change::Good(format!("destination \"{name}\" is ready")),
            Status::Parked(reason) => Change::Bad(format!(
                "destination \"{name}\" is parked, its deliveries wait: {reason}"
            )),
            Status::Off(reason) => Change::Bad(format!("destination \"{name}\" is off: {reason}")),
        });
    }
    for (name, _) in old.destinations().filter(|(name, _)| new.destination(name).is_none()) {
        changes.push(Change::Good(format!(
            "destination \"{name}\" is gone; its deliveries wait until it is back"
        )));
    }
    for (file, problem) in new.refused.iter().filter(|(file, p)| old.refused.get(*file) != Some(*p))
    {
        changes.push(Change::Bad(format!("{file} is refused: {problem}")));
    }
    if old.refused.keys().any(|file| !new.refused.contains_key(file)) {
        changes.push(Change::Good("a refused file is good now, or gone".to_owned()));
    }
    changes
}
