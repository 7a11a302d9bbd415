//! What takes the place of a module in quarantine, and which version came before which.

use std::collections::BTreeSet;
use std::sync::Arc;

use postrider_core::Destination;
use postrider_queue::{QuarantineRecord, VersionRecord, VersionSeen};
use postrider_sandbox::Plugin;

use super::directory::FileAt;
use super::reload::{Read, Reloader};
use crate::registry::{FileState, PluginEntry, Unfit};

impl Reloader {
    /// Reads what is quarantined; while the queue is unavailable, what was known of it stays.
    pub(super) async fn read_quarantine(&mut self) {
        match self.queue.quarantined().await {
            Ok(records) => {
                let by_hash = records.into_iter().map(|r| (r.module.hash.clone(), r));
                self.memory.quarantine = by_hash.collect();
            }
            Err(error) => tracing::debug!(%error, "the quarantine could not be read"),
        }
    }

    pub(super) fn is_quarantined(&self, hash: &str) -> bool {
        self.memory.quarantine.contains_key(hash)
    }

    /// Tells the queue of a module that comes into force, and watches it while it is new.
    pub(super) async fn begin_trial(
        &mut self,
        name: &str,
        plugin: &Plugin,
        before: Option<&Arc<Plugin>>,
    ) {
        let same = before.is_some_and(|before| before.hash() == plugin.hash());
        if same && self.trials.knows(name, plugin.hash()) {
            return;
        }
        let before = before.map(|before| before.hash().to_owned()).or_else(|| self.last_hash(name));
        let before = match before {
            Some(hash) if hash == plugin.hash() => self.trials.predecessor(name, &hash),
            Some(hash) if self.is_quarantined(&hash) => self.trials.predecessor(name, &hash),
            Some(hash) if self.has_worked(name, &hash).await => Some(hash),
            Some(hash) => self.trials.predecessor(name, &hash),
            None => None,
        };
        // Back in force, one does not come after the version that took its place.
        let before = before.filter(|hash| hash != plugin.hash() && !self.is_quarantined(hash));
        let seen = VersionSeen {
            plugin: name.to_owned(),
            hash: plugin.hash().to_owned(),
            version: plugin.description().version.clone(),
            predecessor: before,
            tried: 0,
            faults: 0,
            worked: false,
        };
        let known = match self.queue.tell_version(&seen).await {
            Ok(known) => known,
            Err(error) => {
                tracing::warn!(%error, plugin.name = name, "the new version could not be kept for a restart");
                VersionRecord { seen, since: (self.now)() }
            }
        };
        self.trials.begin(&known);
    }

    /// Whether a version delivered something, here or on another host.
    async fn has_worked(&self, name: &str, hash: &str) -> bool {
        if !self.trials.worked(name, hash) {
            match self.queue.versions().await {
                Ok(known) => self.trials.learn(&known),
                Err(error) => tracing::debug!(%error, "the versions of plugins could not be read"),
            }
        }
        self.trials.worked(name, hash)
    }

    /// A file whose module is quarantined: what is in force stays, or else the version before it takes its place.
    pub(super) async fn roll_back(
        &mut self,
        name: &str,
        file: &FileAt,
        record: &QuarantineRecord,
        in_force: Option<Arc<Plugin>>,
        before: Option<&PluginEntry>,
    ) -> PluginEntry {
        let hash = &record.module.hash;
        self.memory.modules.insert(name.to_owned(), (file.stamp, Read::Quarantined(hash.clone())));
        let in_force = match in_force.filter(|plugin| !self.is_quarantined(plugin.hash())) {
            Some(plugin) => Some(plugin),
            None => self.predecessor(name, hash).await,
        };
        let short = hash.get(..12).unwrap_or(hash);
        let unfit = Unfit {
            problem: format!(
                "plugin \"{name}\" {} ({short}) is quarantined: {}; put another module there, or let it be tried again \
                 with: postrider plugin release {name}",
                record.module.version, record.module.reason
            ),
            state: FileState::Quarantined,
            hash: Some(hash.clone()),
            version: Some(record.module.version.clone()),
            since: record.since,
        };
        self.plugin_entry(in_force, Some(unfit), before)
    }

    /// What is in force, unless it was quarantined meanwhile: then the version before it.
    pub(super) async fn unquarantined(
        &mut self,
        name: &str,
        in_force: Option<Arc<Plugin>>,
    ) -> Option<Arc<Plugin>> {
        match in_force {
            Some(plugin) if self.is_quarantined(plugin.hash()) => {
                let hash = plugin.hash().to_owned();
                self.predecessor(name, &hash).await
            }
            other => other,
        }
    }

    /// The next older version that worked, is not quarantined and is still there.
    async fn predecessor(&mut self, name: &str, hash: &str) -> Option<Arc<Plugin>> {
        let mut seen = BTreeSet::from([hash.to_owned()]);
        let mut next = self.trials.predecessor(name, hash);
        while let Some(hash) = next.filter(|hash| seen.insert(hash.clone())) {
            if let Some(plugin) = self.kept_module(name, &hash).await {
                self.begin_trial(name, &plugin, None).await;
                return Some(plugin);
            }
            next = self.trials.predecessor(name, &hash);
        }
        self.last_good(name).await
    }

    /// A kept copy of a module, if it may be used.
    async fn kept_module(&self, name: &str, hash: &str) -> Option<Arc<Plugin>> {
        if self.is_quarantined(hash) {
            return None;
        }
        let content = self.modules.get(hash).ok()?;
        self.sandbox.load(name, content).await.ok()
    }

    /// The module that an earlier run last used under this name.
    pub(super) async fn last_good(&self, name: &str) -> Option<Arc<Plugin>> {
        let hash = self.last_hash(name)?;
        let plugin = self.kept_module(name, &hash).await?;
        tracing::warn!(
            plugin.name = name,
            plugin.hash = hash,
            "the last good module is used instead of the broken file"
        );
        Some(plugin)
    }

    fn last_hash(&self, name: &str) -> Option<String> {
        let users = self.memory.kept.values().filter(|kept| !kept.module.is_empty());
        let mut hashes = users.filter(|kept| {
            Destination::parse(&kept.name, &kept.text).is_ok_and(|spec| spec.plugin == name)
        });
        Some(hashes.next()?.module.clone())
    }
}
