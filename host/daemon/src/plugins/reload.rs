//! From the files of the plugins directory to a registry.
//!
//! A look lists the directory, reads what changed, compiles and type-checks modules, binds destinations, and only then
//! replaces the registry whole. A bad file leaves the last good one in force and says why; the last good text of each
//! destination and the last good module outlive a restart. Running attempts finish on the registry they started with.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use postrider_core::Destination;
use postrider_queue::{KeptDestination, Queue};
use postrider_sandbox::{BindError, Plugin, Sandbox, Secrets, StateStore};
use tokio_util::sync::CancellationToken;

use super::directory::{self, FileAt, Listing, ReadError, Stamp};
use super::kept::KeptModules;
use super::secrets::Sources;
use super::watcher::Watcher;
use crate::dispatcher::{NotifierCall, Waker};
use crate::registry::{self, Entry, PluginEntry, Registry, SharedRegistry, Status};

/// Keeps the registry in step with the plugins directory.
pub struct Reloader {
    pub sandbox: Sandbox,
    pub queue: Arc<dyn Queue>,
    pub state: Arc<dyn StateStore>,
    pub registry: Arc<SharedRegistry>,
    pub waker: Waker,
    pub directory: PathBuf,
    pub modules: KeptModules,
    pub sources: Sources,
    /// The time of day, for "since when".
    pub now: fn() -> Timestamp,
    pub memory: Memory,
}

/// What earlier looks found, so that a look reads only what changed.
#[derive(Default)]
pub struct Memory {
    /// Stamp and hash of the module files that were read.
    modules: HashMap<String, (Stamp, Read)>,
    destinations: HashMap<String, (Stamp, Result<String, String>)>,
    /// What the queue kept from earlier runs.
    kept: BTreeMap<String, KeptDestination>,
    /// Fingerprints of destinations that did not bind, and why: not tried again until something changed.
    failed: HashMap<String, (String, BindError)>,
    said: BTreeSet<String>,
}

#[derive(Clone)]
enum Read {
    /// SHA-256 of the file in force.
    Good,
    Bad(String),
}

/// A destination file as it lies there now: its text in force, and what is wrong with the one that lies there.
struct Candidate {
    spec: Destination,
    text: String,
    problem: Option<String>,
}

impl Reloader {
    /// Recalls what the queue kept from earlier runs. Before the first look.
    pub async fn recall(&mut self) -> anyhow::Result<()> {
        let kept = self.queue.kept_destinations().await?;
        self.memory.kept = kept.into_iter().map(|kept| (kept.name.clone(), kept)).collect();
        Ok(())
    }

    /// Looks whenever the directory is worth a look, until `stop`.
    pub async fn run(mut self, watcher: Watcher, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = watcher.changed() => self.look().await,
            }
        }
    }

    /// One look at the directory. A directory that cannot be read leaves everything as it is.
    pub async fn look(&mut self) {
        let path = self.directory.clone();
        let listing = match tokio::task::spawn_blocking(move || directory::list(&path)).await {
            Ok(Ok(listing)) => listing,
            Ok(Err(error)) => {
                let place = self.directory.display();
                self.say(format!("the plugins directory {place} cannot be read: {error}"));
                return;
            }
            Err(_cancelled) => return,
        };
        let old = self.registry.load_full();
        let mut new = Registry::default();
        for (file, problem) in &listing.misnamed {
            new.refused.insert(file.clone(), problem.clone());
        }
        new.plugins = self.plugins(&listing, &old).await;
        self.destinations(&listing, &old, &mut new).await;
        self.replace(&old, new).await;
    }

    async fn plugins(
        &mut self,
        listing: &Listing,
        old: &Registry,
    ) -> BTreeMap<String, PluginEntry> {
        let mut plugins = BTreeMap::new();
        for (name, file) in &listing.modules {
            let before = old.plugins.get(name);
            let entry = match registry::clash(name, plugins.keys()) {
                Ok(()) => self.plugin(name, file, before).await,
                Err(clash) => self.plugin_entry(None, Some(clash.to_string()), before),
            };
            plugins.insert(name.clone(), entry);
        }
        self.memory.modules.retain(|name, _| listing.modules.contains_key(name));
        plugins
    }

    async fn plugin(
        &mut self,
        name: &str,
        file: &FileAt,
        before: Option<&PluginEntry>,
    ) -> PluginEntry {
        let in_force = before.and_then(|b| b.plugin.clone());
        if let Some((stamp, read)) = self.memory.modules.get(name)
            && *stamp == file.stamp
            && (in_force.is_some() || matches!(read, Read::Bad(_)))
        {
            let problem = match read {
                Read::Good => None,
                Read::Bad(problem) => Some(problem.clone()),
            };
            return self.plugin_entry(in_force, problem, before);
        }
        let at = file.clone();
        let content = tokio::task::spawn_blocking(move || directory::read(&at)).await;
        let problem = match content {
            Ok(Ok(content)) => match self.sandbox.load(name, content.clone()).await {
                Ok(plugin) => {
                    self.keep(&plugin, &content);
                    self.memory.modules.insert(name.to_owned(), (file.stamp, Read::Good));
                    return self.plugin_entry(Some(plugin), None, before);
                }
                Err(error) => error.to_string(),
            },
            // The next look reads it; the stamp of now is of no use.
            Ok(Err(ReadError::Moving)) => {
                return self.plugin_entry(in_force, before.and_then(|b| b.problem.clone()), before);
            }
            Ok(Err(error)) => format!("plugin \"{name}\": {error}"),
            Err(_cancelled) => return self.plugin_entry(in_force, None, before),
        };
        self.memory.modules.insert(name.to_owned(), (file.stamp, Read::Bad(problem.clone())));
        let in_force = match in_force {
            Some(plugin) => Some(plugin),
            None => self.last_good(name).await,
        };
        self.plugin_entry(in_force, Some(problem), before)
    }

    fn plugin_entry(
        &self,
        plugin: Option<Arc<Plugin>>,
        problem: Option<String>,
        before: Option<&PluginEntry>,
    ) -> PluginEntry {
        let same = before.filter(|b| {
            b.problem == problem
                && b.plugin.as_ref().map(|p| p.hash()) == plugin.as_ref().map(|p| p.hash())
        });
        let since = same.map_or_else(|| (self.now)(), |b| b.since);
        PluginEntry { plugin, problem, since }
    }

    /// The module that an earlier run last used under this name.
    async fn last_good(&self, name: &str) -> Option<Arc<Plugin>> {
        let users = self.memory.kept.values().filter(|kept| !kept.module.is_empty());
        let mut hashes = users.filter(|kept| {
            Destination::parse(&kept.name, &kept.text).is_ok_and(|spec| spec.plugin == name)
        });
        let hash = &hashes.next()?.module;
        let content = self.modules.get(hash).ok()?;
        let plugin = self.sandbox.load(name, content).await.ok()?;
        tracing::warn!(
            plugin = name,
            hash,
            "the last good module is used instead of the broken file"
        );
        Some(plugin)
    }

    fn keep(&self, plugin: &Plugin, content: &Bytes) {
        if let Err(error) = self.modules.keep(plugin.hash(), content) {
            tracing::warn!(%error, plugin = plugin.name(), "the module could not be kept for a restart");
        }
    }

    async fn destinations(&mut self, listing: &Listing, old: &Registry, new: &mut Registry) {
        let candidates = self.candidates(listing, old, new);
        for (name, candidate) in candidates {
            let before = old.destination(&name).cloned();
            let entry = self.entry(candidate, before, &new.plugins).await;
            if let Err(clash) = new.insert(Arc::new(entry)) {
                new.refused.insert(format!("{name}.toml"), clash.to_string());
            }
        }
        let unknown: Vec<(String, String)> = new
            .destinations()
            .flat_map(|(name, entry)| {
                entry.spec.fallback.iter().map(move |f| (name.to_owned(), f.clone()))
            })
            .filter(|(_, fallback)| new.destination(fallback).is_none())
            .collect();
        for (name, fallback) in unknown {
            self.say(format!("destination \"{name}\": fallback \"{fallback}\" is not a destination; its deliveries would wait until it is"));
        }
    }

    /// Every destination that a file, or a module that no file uses, makes.
    fn candidates(
        &mut self,
        listing: &Listing,
        old: &Registry,
        new: &mut Registry,
    ) -> BTreeMap<String, Candidate> {
        let mut candidates = BTreeMap::new();
        for (name, file) in &listing.destinations {
            let text = self.text(name, file);
            let parsed = text.and_then(|text| match Destination::parse(name, &text) {
                Ok(spec) => Ok((spec, text)),
                Err(error) => Err(error.problem),
            });
            match parsed {
                Ok((spec, text)) => {
                    candidates.insert(name.clone(), Candidate { spec, text, problem: None });
                }
                Err(problem) => match self.last_text(name, old) {
                    Some((spec, text)) => {
                        let problem = Some(problem);
                        candidates.insert(name.clone(), Candidate { spec, text, problem });
                    }
                    None => {
                        new.refused.insert(format!("{name}.toml"), problem);
                    }
                },
            }
        }
        self.memory.destinations.retain(|name, _| listing.destinations.contains_key(name));
        let used: BTreeSet<String> = candidates.values().map(|c| c.spec.plugin.clone()).collect();
        for name in new.plugins.keys() {
            let has_file = listing.destinations.contains_key(name);
            if !has_file
                && !used.contains(name)
                && let Ok(spec) = Destination::parse(name, "")
            {
                let implicit = Candidate { spec, text: String::new(), problem: None };
                candidates.insert(name.clone(), implicit);
            }
        }
        candidates
    }

    fn text(&mut self, name: &str, file: &FileAt) -> Result<String, String> {
        if let Some((stamp, text)) = self.memory.destinations.get(name)
            && *stamp == file.stamp
        {
            return text.clone();
        }
        let text = match directory::read(file) {
            Ok(bytes) => String::from_utf8(bytes.to_vec())
                .map_err(|_any| "the file is not UTF-8 text".to_owned()),
            // Not remembered: the next look reads it.
            Err(error @ ReadError::Moving) => return Err(error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        self.memory.destinations.insert(name.to_owned(), (file.stamp, text.clone()));
        text
    }

    fn last_text(&self, name: &str, old: &Registry) -> Option<(Destination, String)> {
        if let Some(entry) = old.destination(name) {
            return Some((entry.spec.clone(), entry.text.clone()));
        }
        let kept = self.memory.kept.get(name)?;
        Some((Destination::parse(name, &kept.text).ok()?, kept.text.clone()))
    }

    async fn entry(
        &mut self,
        candidate: Candidate,
        before: Option<Arc<Entry>>,
        plugins: &BTreeMap<String, PluginEntry>,
    ) -> Entry {
        let name = candidate.spec.name.clone();
        let Some(plugin) = plugins.get(&candidate.spec.plugin).and_then(|p| p.plugin.clone())
        else {
            let wanted = &candidate.spec.plugin;
            let reason = match plugins.get(wanted).and_then(|p| p.problem.clone()) {
                Some(problem) => problem,
                None => format!(
                    "plugin \"{wanted}\" is not in the plugins directory; put {wanted}.wasm there"
                ),
            };
            return self.made(
                candidate,
                String::new(),
                String::new(),
                Status::Parked(reason),
                None,
                before.as_deref(),
            );
        };
        if let Some(pin) = &candidate.spec.sha256
            && pin != plugin.hash()
        {
            let problem = format!(
                "the module has SHA-256 {}, the file pins {pin}; put the pinned module there or change sha256",
                plugin.hash()
            );
            return self.fall_back(candidate, before, problem, true);
        }
        let values = match self.sources.read(&candidate.spec.secrets) {
            Ok(values) => values,
            Err(problem) => return self.fall_back(candidate, before, problem, true),
        };
        let fingerprint = fingerprint(&candidate.text, plugin.hash(), &values);
        if let Some(same) =
            before.as_ref().filter(|b| b.fingerprint == fingerprint && b.notifier.is_some())
        {
            return same.with_problem(candidate.problem);
        }
        let bound = match self.memory.failed.get(&name) {
            Some((tried, error)) if *tried == fingerprint => Err(error.clone()),
            Some(_) | None => {
                let secrets: Secrets = values.into_iter().collect();
                plugin.bind(&candidate.spec, secrets, Some(self.state.clone())).await
            }
        };
        match bound {
            Ok(notifier) => {
                self.memory.failed.remove(&name);
                let notifier: Arc<dyn NotifierCall> = Arc::new(notifier);
                let hash = plugin.hash().to_owned();
                self.made(
                    candidate,
                    hash,
                    fingerprint,
                    Status::Ready,
                    Some(notifier),
                    before.as_deref(),
                )
            }
            Err(error) => {
                self.memory.failed.insert(name.clone(), (fingerprint.clone(), error.clone()));
                match error {
                    BindError::Disabled => {
                        let off = Status::Off("its configure says that it is disabled".to_owned());
                        self.made(
                            candidate,
                            plugin.hash().to_owned(),
                            fingerprint,
                            off,
                            None,
                            before.as_deref(),
                        )
                    }
                    BindError::Refused(_) | BindError::Fault { .. } => {
                        let known = self.memory.kept.contains_key(&name);
                        self.fall_back(candidate, before, format!("configure: {error}"), known)
                    }
                }
            }
        }
    }

    /// What is in force when the file that lies there cannot be: the entry before it if it can send; else the new
    /// text, parked where it was good before or only waits for something, off where it never was good.
    fn fall_back(
        &self,
        candidate: Candidate,
        before: Option<Arc<Entry>>,
        problem: String,
        park: bool,
    ) -> Entry {
        if let Some(before) = before.as_ref().filter(|b| b.notifier.is_some()) {
            return before.with_problem(Some(candidate.problem.unwrap_or(problem)));
        }
        let parked = park || before.as_ref().is_some_and(|b| matches!(b.status, Status::Parked(_)));
        let status = if parked { Status::Parked(problem) } else { Status::Off(problem) };
        self.made(candidate, String::new(), String::new(), status, None, before.as_deref())
    }

    fn made(
        &self,
        candidate: Candidate,
        module: String,
        fingerprint: String,
        status: Status,
        notifier: Option<Arc<dyn NotifierCall>>,
        before: Option<&Entry>,
    ) -> Entry {
        let same = before.filter(|b| {
            b.status == status && b.fingerprint == fingerprint && b.text == candidate.text
        });
        Entry {
            since: same.map_or_else(|| (self.now)(), |b| b.since),
            spec: candidate.spec,
            text: candidate.text,
            module,
            fingerprint,
            status,
            problem: candidate.problem,
            notifier,
        }
    }

    /// Puts a registry in force if it differs, says what changed, and keeps it for a restart.
    async fn replace(&mut self, old: &Registry, mut new: Registry) {
        let changes = changes(old, &new);
        if changes.is_empty() && old.generation > 0 {
            return;
        }
        new.generation = old.generation + 1;
        for change in changes {
            change.say();
        }
        if new.ready().next().is_none() {
            tracing::warn!(directory = %self.directory.display(), "no destination is ready; waiting for modules in the plugins directory");
        }
        self.keep_destinations(&new).await;
        self.registry.store(Arc::new(new));
        self.waker.wake();
    }

    async fn keep_destinations(&mut self, new: &Registry) {
        let in_force = new.destinations().filter(|(_, e)| !matches!(e.status, Status::Off(_)));
        let kept: Vec<KeptDestination> = in_force
            .map(|(name, entry)| KeptDestination {
                name: name.to_owned(),
                text: entry.text.clone(),
                module: match entry.module.is_empty() {
                    // A parked one keeps the module that it had.
                    true => {
                        self.memory.kept.get(name).map(|k| k.module.clone()).unwrap_or_default()
                    }
                    false => entry.module.clone(),
                },
            })
            .collect();
        if let Err(error) = self.queue.keep_destinations(&kept).await {
            tracing::error!(%error, "the destinations could not be kept for a restart");
            return;
        }
        let used: Vec<&str> = kept.iter().map(|k| k.module.as_str()).collect();
        let loaded = new.plugins.values().filter_map(|p| p.plugin.as_ref());
        let used: Vec<&str> = used.into_iter().chain(loaded.map(|p| p.hash())).collect();
        if let Err(error) = self.modules.retain(&used) {
            tracing::warn!(%error, "modules that nothing uses any more could not be removed");
        }
        self.memory.kept = kept.into_iter().map(|kept| (kept.name.clone(), kept)).collect();
    }

    /// Says a thing once, not at every look.
    fn say(&mut self, line: String) {
        if !self.memory.said.contains(&line) {
            tracing::warn!("{line}");
            self.memory.said.insert(line);
        }
    }
}

/// What makes two bindings the same: the file's text, the module, the secrets' values.
fn fingerprint(text: &str, module: &str, secrets: &BTreeMap<String, String>) -> String {
    use sha2::Digest as _;
    let mut hash = sha2::Sha256::new();
    for part in
        [text, module].into_iter().chain(secrets.iter().flat_map(|(k, v)| [k.as_str(), v.as_str()]))
    {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let digest: [u8; 32] = hash.finalize().into();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One line of what a look changed.
enum Change {
    Good(String),
    Bad(String),
}

impl Change {
    fn say(&self) {
        match self {
            Self::Good(line) => tracing::info!("{line}"),
            Self::Bad(line) => tracing::warn!("{line}"),
        }
    }
}

fn changes(old: &Registry, new: &Registry) -> Vec<Change> {
    let mut changes = Vec::new();
    for (name, entry) in &new.plugins {
        let before = old.plugins.get(name);
        let hash = |e: &PluginEntry| e.plugin.as_ref().map(|p| p.hash().to_owned());
        if let Some(problem) = &entry.problem
            && before.and_then(|b| b.problem.as_ref()) != Some(problem)
        {
            let kept =
                if entry.plugin.is_some() { "; the last good one stays in force" } else { "" };
            changes.push(Change::Bad(format!("{problem}{kept}")));
        }
        if let Some(plugin) = &entry.plugin
            && (before.and_then(hash) != hash(entry)
                || (entry.problem.is_none() && before.is_some_and(|b| b.problem.is_some())))
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
            "destination \"{name}\" is gone; its deliveries wait for its file"
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
