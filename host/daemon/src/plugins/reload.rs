//! From the files of the plugins directory to a registry.
//!
//! A look lists the directory, reads what changed, compiles and type-checks modules, binds destinations, and only then
//! replaces the registry whole. A bad file leaves the last good one in force and says why; the last good text of each
//! destination and the last good module outlive a restart. Running attempts finish on the registry they started with.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use postrider_core::{Destination, TlsSources};
use postrider_queue::{KeptDestination, Queue};
use postrider_sandbox::{BindError, Plugin, Sandbox, StateStore};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::directory::{self, FileAt, Listing, ReadError, Stamp};
use super::kept::KeptModules;
use super::loading::{Loaded, Loading};
use super::secrets::{Given, Sources};
use super::watcher::Watcher;
use super::{changes, fallbacks, resuming};
use crate::dispatcher::{NotifierCall, Waker};
use crate::registry::{self, Entry, PluginEntry, Registry, SharedRegistry, Status};
use crate::signals::Signals;
use crate::signals::pulse::Loop;
use crate::signals::watched::Watched;

/// A look comes every five seconds and waits for modules and their `configure` no longer than this.
const LOOK: Duration = Duration::from_secs(60);

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
    pub signals: Signals,
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
    loading: Loading,
    /// What the queue kept from earlier runs.
    kept: BTreeMap<String, KeptDestination>,
    /// Fingerprints of destinations that did not bind, and why: not tried again until something changed.
    failed: HashMap<String, (String, BindError)>,
    /// Lines that the last look said or would have said again.
    said: BTreeSet<String>,
    saying: BTreeSet<String>,
    /// The queue could not keep the destinations in force; the next look tries again.
    unkept: bool,
}

#[derive(Clone)]
enum Read {
    /// SHA-256 of the file in force.
    Good,
    Bad(String),
}

/// A destination file as it lies there now: its text in force, and what is wrong with the one that lies there.
pub(super) struct Candidate {
    pub(super) spec: Destination,
    pub(super) text: String,
    pub(super) problem: Option<String>,
}

/// What became of a candidate.
struct Made {
    module: String,
    fingerprint: String,
    status: Status,
    notifier: Option<Arc<dyn NotifierCall>>,
}

impl Default for Made {
    fn default() -> Self {
        Self {
            module: String::new(),
            fingerprint: String::new(),
            status: Status::Parked(String::new()),
            notifier: None,
        }
    }
}

impl Made {
    fn ready(notifier: Watched, fingerprint: String) -> Self {
        let module = notifier.module().to_owned();
        Self { module, fingerprint, status: Status::Ready, notifier: Some(Arc::new(notifier)) }
    }
}

impl Reloader {
    /// Recalls what the queue kept from earlier runs. Before the first look.
    ///
    /// Those destinations are in force at once, parked: what is accepted before the first look has ended waits for
    /// them. Answers whether they are all that the directory makes: if not, what is accepted now would miss some.
    pub async fn recall(&mut self) -> anyhow::Result<bool> {
        let kept = self.queue.kept_destinations().await?;
        let mut registry = Registry::default();
        for kept in &kept {
            let Ok(spec) = Destination::parse(&kept.name, &kept.text) else { continue };
            let candidate = Candidate { spec, text: kept.text.clone(), problem: None };
            let status = Status::Parked("its module is being loaded".to_owned());
            let made = Made { status, ..Made::default() };
            // Names that clash were not both kept.
            let _clash = registry.insert(Arc::new(self.made(candidate, made, None)));
        }
        self.registry.store(Arc::new(registry));
        self.memory.kept = kept.into_iter().map(|kept| (kept.name.clone(), kept)).collect();
        let directory = self.directory.clone();
        let listing = tokio::task::spawn_blocking(move || directory::list(&directory)).await??;
        Ok(self.knows_all(&listing))
    }

    fn knows_all(&self, listing: &Listing) -> bool {
        let kept = &self.memory.kept;
        let specs = kept.values().filter_map(|k| Destination::parse(&k.name, &k.text).ok());
        let used: BTreeSet<String> = specs.map(|spec| spec.plugin).collect();
        listing.destinations.keys().all(|name| kept.contains_key(name))
            && listing.modules.keys().all(|name| kept.contains_key(name) || used.contains(name))
    }

    /// Looks at once, and whenever the directory is worth a look, until `stop`. A look that is cut off has changed
    /// nothing. `looked` hears of the first one's end.
    pub async fn run(
        mut self,
        watcher: Watcher,
        stop: CancellationToken,
        looked: oneshot::Sender<()>,
    ) {
        self.memory.loading.hint = watcher.hinter();
        let looking = async {
            self.look().await;
            // Nobody waits any more when the daemon is stopping.
            let _stopping = looked.send(());
            loop {
                watcher.changed().await;
                self.look().await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = looking => {}
        }
    }

    /// One look at the directory. A directory that cannot be read leaves everything as it is.
    pub async fn look(&mut self) {
        self.signals.beat(Loop::Reload, LOOK);
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
        self.memory.said = std::mem::take(&mut self.memory.saying);
        self.replace(&old, new).await;
    }

    async fn plugins(
        &mut self,
        listing: &Listing,
        old: &Registry,
    ) -> BTreeMap<String, PluginEntry> {
        let in_force = |name: &str| old.plugins.get(name).is_some_and(|b| b.plugin.is_some());
        // All before any is waited for: one that takes minutes must not hold up the others.
        for (name, file) in &listing.modules {
            if self.known(name, file, in_force(name)).is_none() {
                self.memory.loading.start(&self.sandbox, &self.signals, name, file);
            }
        }
        self.memory.loading.retain(|name| listing.modules.contains_key(name));
        let until = self.memory.loading.patience();
        let mut plugins = BTreeMap::new();
        for (name, file) in &listing.modules {
            let before = old.plugins.get(name);
            let entry = match registry::clash(name, plugins.keys()) {
                Ok(()) => self.plugin(name, file, before, until).await,
                Err(clash) => self.plugin_entry(None, Some(clash.to_string()), before),
            };
            plugins.insert(name.clone(), entry);
        }
        self.memory.modules.retain(|name, _| listing.modules.contains_key(name));
        plugins
    }

    /// What an earlier look found of this very file, if that still tells.
    fn known(&self, name: &str, file: &FileAt, in_force: bool) -> Option<&Read> {
        let (stamp, read) = self.memory.modules.get(name)?;
        let tells = in_force || matches!(read, Read::Bad(_));
        (*stamp == file.stamp && tells).then_some(read)
    }

    async fn plugin(
        &mut self,
        name: &str,
        file: &FileAt,
        before: Option<&PluginEntry>,
        until: Instant,
    ) -> PluginEntry {
        let in_force = before.and_then(|b| b.plugin.clone());
        if let Some(read) = self.known(name, file, in_force.is_some()) {
            let problem = match read {
                Read::Good => None,
                Read::Bad(problem) => Some(problem.clone()),
            };
            return self.plugin_entry(in_force, problem, before);
        }
        let problem = match self.memory.loading.end(name, until).await {
            Some(Loaded::Good(plugin, content)) => {
                self.keep(&plugin, &content);
                self.memory.modules.insert(name.to_owned(), (file.stamp, Read::Good));
                return self.plugin_entry(Some(plugin), None, before);
            }
            Some(Loaded::Bad(problem)) => problem,
            // The next look reads it; the stamp of now is of no use.
            Some(Loaded::Moving) => {
                return self.plugin_entry(in_force, before.and_then(|b| b.problem.clone()), before);
            }
            None => {
                let problem = format!("plugin \"{name}\": {}", registry::COMPILING);
                return self.plugin_entry(in_force, Some(problem), before);
            }
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
            plugin.name = name,
            plugin.hash = hash,
            "the last good module is used instead of the broken file"
        );
        Some(plugin)
    }

    fn keep(&self, plugin: &Plugin, content: &Bytes) {
        if let Err(error) = self.modules.keep(plugin.hash(), content) {
            tracing::warn!(%error, plugin.name = plugin.name(), "the module could not be kept for a restart");
        }
    }

    async fn destinations(&mut self, listing: &Listing, old: &Registry, new: &mut Registry) {
        let mut candidates = self.candidates(listing, old, new);
        self.refuse_loops(&mut candidates, old, new);
        let unknown = fallbacks::unknown(&candidates);
        for (name, problem) in &unknown {
            self.say(format!("destination \"{name}\": {problem}"));
        }
        new.warnings = unknown;
        let reloader = &*self;
        let plugins = &new.plugins;
        let binding = candidates.into_iter().map(|(name, candidate)| async move {
            let before = old.destination(&name).cloned();
            (name, reloader.entry(candidate, before, plugins).await)
        });
        // A configure that hangs delays its own destination only.
        let bound = futures_util::future::join_all(binding).await;
        for (name, (entry, failed)) in bound {
            match failed {
                Some(failed) => self.memory.failed.insert(name.clone(), failed),
                None => self.memory.failed.remove(&name),
            };
            if let Err(clash) = new.insert(Arc::new(entry)) {
                new.refused.insert(format!("{name}.toml"), clash.to_string());
            }
        }
    }

    /// Takes fallbacks that lead back to where they began out of force; the text before takes their place.
    fn refuse_loops(
        &self,
        candidates: &mut BTreeMap<String, Candidate>,
        old: &Registry,
        new: &mut Registry,
    ) {
        while let Some((name, way)) =
            candidates.keys().find_map(|name| fallbacks::find_loop(name, candidates))
        {
            let problem = format!("fallback: {way} is a loop; take one of them out");
            let last = self.last_text(&name, old);
            // The text before must not be in a loop itself.
            let last = last.filter(|(spec, _)| spec.fallback.is_empty());
            match last {
                Some((spec, text)) => {
                    candidates.insert(name, Candidate { spec, text, problem: Some(problem) });
                }
                None => {
                    candidates.remove(&name);
                    new.refused.insert(format!("{name}.toml"), problem);
                }
            }
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
        for (name, plugin) in &new.plugins {
            let has_file = listing.destinations.contains_key(name);
            let was_in_force = self.memory.kept.get(name).is_some_and(|kept| kept.text.is_empty());
            if !has_file
                && !used.contains(name)
                && (plugin.plugin.is_some() || was_in_force)
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
            // What truncates a file before it writes leaves it empty for a moment; it must not match everything then.
            Ok(bytes) if bytes.trim_ascii().is_empty() => {
                Err("the file is empty; write plugin = \"…\" into it".to_owned())
            }
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

    /// What is in force for a candidate, and with which fingerprint it did not bind, if it did not.
    async fn entry(
        &self,
        candidate: Candidate,
        before: Option<Arc<Entry>>,
        plugins: &BTreeMap<String, PluginEntry>,
    ) -> (Entry, Option<(String, BindError)>) {
        let Some(plugin) = plugins.get(&candidate.spec.plugin).and_then(|p| p.plugin.clone())
        else {
            return (self.without_plugin(candidate, before, plugins).await, None);
        };
        if let Some(pin) = &candidate.spec.sha256
            && pin != plugin.hash()
        {
            let problem = format!(
                "the module has SHA-256 {}, the file pins {pin}; put the pinned module there or change sha256",
                plugin.hash()
            );
            return (self.fall_back(candidate, before, problem, true).await, None);
        }
        let values = match self.secrets(&candidate.spec).await {
            Ok(values) => values,
            Err(problem) => return (self.fall_back(candidate, before, problem, true).await, None),
        };
        let fingerprint = fingerprint(&candidate.text, plugin.hash(), &values);
        if let Some(same) =
            before.as_ref().filter(|b| b.fingerprint == fingerprint && b.notifier.is_some())
        {
            return (same.with_problem(candidate.problem), None);
        }
        let bound = match self.memory.failed.get(&candidate.spec.name) {
            Some((tried, error)) if *tried == fingerprint => Err(error.clone()),
            Some(_) | None => {
                plugin.bind(&candidate.spec, values.into(), Some(self.state.clone())).await
            }
        };
        let error = match bound {
            Ok(notifier) => {
                let watched = self.signals.watch(&candidate.spec.name, notifier);
                let made = Made::ready(watched, fingerprint);
                return (self.made(candidate, made, before.as_deref()), None);
            }
            Err(error) => error,
        };
        let failed = Some((fingerprint.clone(), error.clone()));
        let entry = match &error {
            BindError::Disabled => {
                let status = Status::Off("its configure says that it is disabled".to_owned());
                let module = plugin.hash().to_owned();
                let made = Made { module, fingerprint, status, notifier: None };
                self.made(candidate, made, before.as_deref())
            }
            BindError::Refused(_) | BindError::Fault { .. } => {
                let known = self.memory.kept.contains_key(&candidate.spec.name);
                self.fall_back(candidate, before, format!("configure: {error}"), known).await
            }
            BindError::Settings(problem) => {
                let known = self.memory.kept.contains_key(&candidate.spec.name);
                self.fall_back(candidate, before, problem.clone(), known).await
            }
        };
        (entry, failed)
    }

    /// A destination whose module is not there waits for it. One that names another module than before, which is
    /// not there, is rather a mistake: what is in force stays.
    async fn without_plugin(
        &self,
        candidate: Candidate,
        before: Option<Arc<Entry>>,
        plugins: &BTreeMap<String, PluginEntry>,
    ) -> Entry {
        let wanted = &candidate.spec.plugin;
        let reason = match plugins.get(wanted).and_then(|p| p.problem.clone()) {
            Some(problem) => problem,
            None => format!(
                "plugin \"{wanted}\" is not in the plugins directory; put {wanted}.wasm there"
            ),
        };
        if before.as_ref().is_some_and(|b| b.notifier.is_some() && b.text != candidate.text) {
            return self.fall_back(candidate, before, reason, true).await;
        }
        let made = Made { status: Status::Parked(reason), ..Made::default() };
        self.made(candidate, made, before.as_deref())
    }

    /// Reads the values off the runtime: a file may lie on a slow mount.
    async fn secrets(&self, spec: &Destination) -> Result<Given, String> {
        if spec.secrets.is_empty() && spec.tls == TlsSources::default() {
            return Ok(Given::default());
        }
        let (sources, spec) = (self.sources.clone(), spec.clone());
        let reading = tokio::task::spawn_blocking(move || sources.given(&spec));
        reading.await.unwrap_or_else(|stopped| Err(format!("secrets: {stopped}")))
    }

    /// What is in force when the file that lies there cannot be: the entry before it if it can send, after a restart
    /// what last was bound; else the new text, parked where it was good before or only waits for something, off
    /// where it never was good.
    async fn fall_back(
        &self,
        candidate: Candidate,
        before: Option<Arc<Entry>>,
        problem: String,
        park: bool,
    ) -> Entry {
        if let Some(before) = before.as_ref().filter(|b| b.notifier.is_some()) {
            return before.with_problem(Some(candidate.problem.unwrap_or(problem)));
        }
        let first = before.as_ref().is_none_or(|b| b.fingerprint.is_empty());
        if first && let Some(mut revived) = self.revive(&candidate.spec.name).await {
            revived.problem = Some(candidate.problem.unwrap_or(problem));
            return revived;
        }
        let parked = park || before.as_ref().is_some_and(|b| matches!(b.status, Status::Parked(_)));
        let status = if parked { Status::Parked(problem) } else { Status::Off(problem) };
        // Not empty, so that what was kept is tried once.
        let fingerprint = "fallen back".to_owned();
        let made = Made { status, fingerprint, ..Made::default() };
        self.made(candidate, made, before.as_deref())
    }

    /// The text and the module that an earlier run last bound under this name.
    async fn revive(&self, name: &str) -> Option<Entry> {
        let kept = self.memory.kept.get(name).filter(|kept| !kept.module.is_empty())?;
        let spec = Destination::parse(name, &kept.text).ok()?;
        let content = self.modules.get(&kept.module).ok()?;
        let plugin = self.sandbox.load(&spec.plugin, content).await.ok()?;
        let values = self.secrets(&spec).await.ok()?;
        let fingerprint = fingerprint(&kept.text, plugin.hash(), &values);
        let notifier = plugin.bind(&spec, values.into(), Some(self.state.clone())).await.ok()?;
        let candidate = Candidate { spec, text: kept.text.clone(), problem: None };
        let watched = self.signals.watch(name, notifier);
        Some(self.made(candidate, Made::ready(watched, fingerprint), None))
    }

    fn made(&self, candidate: Candidate, made: Made, before: Option<&Entry>) -> Entry {
        let same = before.filter(|b| {
            b.status == made.status && b.fingerprint == made.fingerprint && b.text == candidate.text
        });
        Entry {
            since: same.map_or_else(|| (self.now)(), |b| b.since),
            spec: candidate.spec,
            text: candidate.text,
            module: made.module,
            fingerprint: made.fingerprint,
            status: made.status,
            problem: candidate.problem,
            notifier: made.notifier,
        }
    }

    /// Puts a registry in force if it differs, says what changed, and keeps it for a restart.
    async fn replace(&mut self, old: &Registry, mut new: Registry) {
        let changes = changes::changes(old, &new);
        if changes.is_empty() && old.generation > 0 && new.warnings == old.warnings {
            if self.memory.unkept {
                self.keep_destinations(old).await;
            }
            return;
        }
        new.generation = old.generation + 1;
        self.signals.reloaded(old, &new);
        for change in changes {
            change.say();
        }
        if new.ready().next().is_none() {
            tracing::warn!(file.path = %self.directory.display(), "no destination is ready; waiting for modules in the plugins directory");
        }
        let resumed = resuming::resume_changed(&*self.queue, (old, &new), &self.memory.kept).await;
        if let Err(error) = resumed {
            tracing::warn!(%error, "changed destinations keep their breakers; `postrider destination resume` closes one");
        }
        self.keep_destinations(&new).await;
        self.registry.store(Arc::new(new));
        self.waker.wake();
    }

    async fn keep_destinations(&mut self, new: &Registry) {
        let in_force = new.destinations().filter(|(_, e)| !matches!(e.status, Status::Off(_)));
        let kept: Vec<KeptDestination> = in_force
            .map(|(name, entry)| match (&entry.notifier, self.memory.kept.get(name)) {
                // A parked one keeps what it last was bound with.
                (None, Some(kept)) => kept.clone(),
                (Some(_), _) | (None, None) => KeptDestination {
                    name: name.to_owned(),
                    text: entry.text.clone(),
                    module: entry.module.clone(),
                },
            })
            .collect();
        if let Err(error) = self.queue.keep_destinations(&kept).await {
            // Once: every look tries again, twelve times a minute.
            if !std::mem::replace(&mut self.memory.unkept, true) {
                tracing::error!(%error, "the destinations could not be kept for a restart; trying again");
            }
            return;
        }
        self.memory.unkept = false;
        let used: Vec<&str> = kept.iter().map(|k| k.module.as_str()).collect();
        let loaded = new.plugins.values().filter_map(|p| p.plugin.as_ref());
        let used: Vec<&str> = used.into_iter().chain(loaded.map(|p| p.hash())).collect();
        if let Err(error) = self.modules.retain(&used) {
            tracing::warn!(%error, "modules that nothing uses any more could not be removed");
        }
        self.memory.kept = kept.into_iter().map(|kept| (kept.name.clone(), kept)).collect();
    }

    /// Says a thing once for as long as it lasts, not at every look.
    fn say(&mut self, line: String) {
        if !self.memory.said.contains(&line) && !self.memory.saying.contains(&line) {
            tracing::warn!("{line}");
        }
        self.memory.saying.insert(line);
    }
}

/// What makes two bindings the same: the file's text, the module, the secrets' values.
fn fingerprint(text: &str, module: &str, secrets: &Given) -> String {
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
