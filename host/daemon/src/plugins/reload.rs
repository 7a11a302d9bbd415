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
use postrider_queue::{KeptDestination, QuarantineRecord, Queue};
use postrider_sandbox::{BindError, Notifier, Plugin, Sandbox, StateStore};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::again::{self, Again};
use super::asked::Asker;
use super::directory::{self, FileAt, Listing, ReadError, Stamp};
use super::kept::KeptModules;
use super::loading::{Bad, Loaded, Loading};
use super::secrets::{Given, Sources};
use super::trials::Trials;
use super::watcher::Watcher;
use super::{changes, fallbacks, resuming};
use crate::dispatcher::{NotifierCall, Waker};
use crate::registry::{
    self, Entry, FileState, PluginEntry, Registry, SharedRegistry, Status, Unfit,
};
use crate::signals::Signals;
use crate::signals::pulse::Loop;

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
    pub trials: Trials,
    pub asked: Asker,
    /// The time of day, for "since when".
    pub now: fn() -> Timestamp,
    pub memory: Memory,
}

/// What earlier looks found, so that a look reads only what changed.
#[derive(Default)]
pub struct Memory {
    /// Stamp and hash of the module files that were read.
    pub(super) modules: HashMap<String, (Stamp, Read)>,
    destinations: HashMap<String, (Stamp, Result<String, String>)>,
    loading: Loading,
    /// What the queue kept from earlier runs.
    pub(super) kept: BTreeMap<String, KeptDestination>,
    /// Modules that no host may use, by hash, as the queue last said.
    pub(super) quarantine: BTreeMap<String, QuarantineRecord>,
    /// Destinations that did not bind: not tried again until something changed, or some time has passed.
    failed: HashMap<String, Failed>,
    /// Lines that the last look said or would have said again.
    said: BTreeSet<String>,
    saying: BTreeSet<String>,
    /// The queue could not keep the destinations in force; the next look tries again.
    unkept: bool,
}

#[derive(Clone)]
pub(super) enum Read {
    /// It is in force.
    Good,
    /// Its module's hash is in quarantine.
    Quarantined(String),
    Bad(Bad, Option<Again>),
}

/// What did not bind: its fingerprint, why, and when to try again.
struct Failed {
    fingerprint: String,
    error: BindError,
    again: Option<Again>,
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
    fn ready(notifier: Arc<dyn NotifierCall>, fingerprint: String) -> Self {
        let module = notifier.module().to_owned();
        Self { module, fingerprint, status: Status::Ready, notifier: Some(notifier) }
    }
}

impl Reloader {
    /// Recalls what the queue kept from earlier runs. Before the first look.
    ///
    /// Those destinations are in force at once, parked: what is accepted before the first look has ended waits for
    /// them. Answers whether they are all that the directory makes: if not, what is accepted now would miss some.
    pub async fn recall(&mut self) -> anyhow::Result<bool> {
        for version in self.queue.versions().await? {
            self.trials.begin(&version);
        }
        self.read_quarantine().await;
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
        let (begun, afresh) = self.asked.begins();
        if afresh {
            self.memory.modules.retain(|_, (_, read)| !matches!(read, Read::Bad(..)));
            self.memory.failed.clear();
        }
        self.read_quarantine().await;
        self.look_at_files().await;
        self.asked.ends(begun);
    }

    async fn look_at_files(&mut self) {
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
                Err(clash) => {
                    self.plugin_entry(None, Some(self.rejected(clash.to_string(), None)), before)
                }
            };
            plugins.insert(name.clone(), entry);
        }
        self.memory.modules.retain(|name, _| listing.modules.contains_key(name));
        plugins
    }

    /// What an earlier look found of this very file, if that still tells.
    fn known(&self, name: &str, file: &FileAt, in_force: bool) -> Option<&Read> {
        let (stamp, read) = self.memory.modules.get(name)?;
        let tells = match read {
            Read::Good => in_force,
            Read::Quarantined(hash) => self.is_quarantined(hash),
            Read::Bad(_, again) => !again.is_some_and(Again::is_due),
        };
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
        if let Some(read) = self.known(name, file, in_force.is_some()).cloned() {
            return self.plugin_as_before(name, file, &read, in_force, before).await;
        }
        let bad = match self.memory.loading.end(name, until).await {
            Some(Loaded::Good(plugin, content)) => {
                self.keep(&plugin, &content);
                self.begin_trial(name, &plugin, in_force.as_ref()).await;
                if let Some(record) = self.memory.quarantine.get(plugin.hash()).cloned() {
                    return self.roll_back(name, file, &record, in_force, before).await;
                }
                self.memory.modules.insert(name.to_owned(), (file.stamp, Read::Good));
                return self.plugin_entry(Some(plugin), None, before);
            }
            Some(Loaded::Bad(bad)) => bad,
            // The next look reads it; the stamp of now is of no use.
            Some(Loaded::Moving) => {
                let in_force = self.unquarantined(name, in_force).await;
                return self.plugin_entry(in_force, before.and_then(|b| b.unfit.clone()), before);
            }
            None => {
                let problem = format!("plugin \"{name}\": {}", registry::COMPILING);
                let unfit = Unfit { state: FileState::Compiling, ..self.rejected(problem, None) };
                let in_force = self.unquarantined(name, in_force).await;
                return self.plugin_entry(in_force, Some(unfit), before);
            }
        };
        let earlier = match self.memory.modules.get(name) {
            Some((stamp, Read::Bad(_, again))) if *stamp == file.stamp => *again,
            Some(_) | None => None,
        };
        let again = bad.may_pass.then(|| Again::after(earlier));
        self.memory.modules.insert(name.to_owned(), (file.stamp, Read::Bad(bad.clone(), again)));
        let in_force = match self.unquarantined(name, in_force).await {
            Some(plugin) => Some(plugin),
            None => self.last_good(name).await,
        };
        let unfit = self.rejected(bad.problem, bad.hash);
        self.plugin_entry(in_force, Some(unfit), before)
    }

    /// What an earlier look found, with what was quarantined since.
    async fn plugin_as_before(
        &mut self,
        name: &str,
        file: &FileAt,
        read: &Read,
        in_force: Option<Arc<Plugin>>,
        before: Option<&PluginEntry>,
    ) -> PluginEntry {
        let hash = match read {
            Read::Good => in_force.as_ref().map(|plugin| plugin.hash().to_owned()),
            Read::Quarantined(hash) => Some(hash.clone()),
            Read::Bad(..) => None,
        };
        let record = hash.and_then(|hash| self.memory.quarantine.get(&hash).cloned());
        if let Some(record) = record {
            return self.roll_back(name, file, &record, in_force, before).await;
        }
        let unfit = match read {
            Read::Good | Read::Quarantined(_) => None,
            Read::Bad(bad, _) => Some(self.rejected(bad.problem.clone(), bad.hash.clone())),
        };
        let in_force = self.unquarantined(name, in_force).await;
        self.plugin_entry(in_force, unfit, before)
    }

    fn rejected(&self, problem: String, hash: Option<String>) -> Unfit {
        Unfit { problem, state: FileState::Rejected, hash, version: None, since: (self.now)() }
    }

    pub(super) fn plugin_entry(
        &self,
        plugin: Option<Arc<Plugin>>,
        unfit: Option<Unfit>,
        before: Option<&PluginEntry>,
    ) -> PluginEntry {
        let hash = |plugin: &Option<Arc<Plugin>>| plugin.as_ref().map(|p| p.hash().to_owned());
        let same = before.filter(|before| hash(&before.plugin) == hash(&plugin));
        let since = same.map_or_else(|| (self.now)(), |before| before.since);
        let unfit = unfit.map(|unfit| match before.and_then(|before| before.unfit.as_ref()) {
            Some(before) if before.problem == unfit.problem => {
                Unfit { since: before.since, ..unfit }
            }
            Some(_) | None => unfit,
        });
        PluginEntry { plugin, unfit, since }
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
            self.note_failed(&name, failed);
            if let Err(clash) = new.insert(Arc::new(entry)) {
                new.refused.insert(format!("{name}.toml"), clash.to_string());
            }
        }
    }

    /// Remembers what did not bind, and when to try it again.
    fn note_failed(&mut self, name: &str, failed: Option<(String, BindError)>) {
        let Some((fingerprint, error)) = failed else {
            self.memory.failed.remove(name);
            return;
        };
        let earlier = self.memory.failed.get(name).filter(|f| f.fingerprint == fingerprint);
        let earlier = earlier.and_then(|failed| failed.again);
        let again = match earlier {
            Some(again) if !again.is_due() => Some(again),
            other => again::may_bind(&error).then(|| Again::after(other)),
        };
        self.memory.failed.insert(name.to_owned(), Failed { fingerprint, error, again });
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
            Some(failed)
                if failed.fingerprint == fingerprint
                    && !failed.again.is_some_and(Again::is_due) =>
            {
                Err(failed.error.clone())
            }
            Some(_) | None => {
                plugin.bind(&candidate.spec, values.into(), Some(self.state.clone())).await
            }
        };
        let error = match bound {
            Ok(notifier) => {
                let made = Made::ready(self.watch(&candidate.spec, notifier), fingerprint);
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
        let problem = plugins.get(wanted).and_then(PluginEntry::problem);
        let reason = match problem.map(str::to_owned) {
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
        let usable = |b: &&Arc<Entry>| b.notifier.is_some() && !self.is_quarantined(&b.module);
        if let Some(before) = before.as_ref().filter(usable) {
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
        if self.is_quarantined(&kept.module) {
            return None;
        }
        let spec = Destination::parse(name, &kept.text).ok()?;
        let content = self.modules.get(&kept.module).ok()?;
        let plugin = self.sandbox.load(&spec.plugin, content).await.ok()?;
        let values = self.secrets(&spec).await.ok()?;
        let fingerprint = fingerprint(&kept.text, plugin.hash(), &values);
        let notifier = plugin.bind(&spec, values.into(), Some(self.state.clone())).await.ok()?;
        let candidate = Candidate { spec, text: kept.text.clone(), problem: None };
        let made = Made::ready(self.watch(&candidate.spec, notifier), fingerprint);
        Some(self.made(candidate, made, None))
    }

    /// Lets a destination's attempts be counted, and watched while its module is new.
    fn watch(&self, spec: &Destination, notifier: Notifier) -> Arc<dyn NotifierCall> {
        let watched = self.signals.watch(&spec.name, notifier);
        self.trials.watch(&spec.plugin, &spec.name, Arc::new(watched))
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
        let mut used: Vec<&str> = used.into_iter().chain(loaded.map(|p| p.hash())).collect();
        let quarantine = &self.memory.quarantine;
        self.trials.retain(|hash| used.contains(&hash) || quarantine.contains_key(hash));
        // What they may fall back to stays at hand.
        let predecessors = self.trials.predecessors();
        used.extend(predecessors.iter().map(String::as_str));
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
