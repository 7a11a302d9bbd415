//! Plugins: every version that lies there, is in force or in quarantine, and the operator's hand on them.

use std::collections::BTreeSet;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use postrider_core::suggest;
use postrider_queue::{Quarantine, QuarantineRecord, VersionRecord};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::auth::caller::Caller;
use super::extract::Named;
use super::notifications::read;
use super::problem::Problem;
use super::{Api, schema};
use crate::registry::{PluginEntry, Registry};

/// Why, where the operator says nothing.
const BY_HAND: &str = "by hand";
/// Longest reason, in bytes.
const REASON: usize = 500;

/// Which module, and why.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChosenModule {
    /// SHA-256, or the beginning of one. Without it quarantine takes the module in force, release all.
    #[serde(default)]
    sha256: Option<String>,
    /// For those who find it quarantined; at most 500 bytes.
    #[serde(default)]
    reason: Option<String>,
}

/// Lists plugins: of each the version in force, the file that lies there where it is another, and those in quarantine.
#[utoipa::path(
    get, path = "/v1/plugins", tag = "plugins",
    responses(
        (status = 200, body = schema::Plugins),
        (status = "default", body = schema::Problem, content_type = "application/problem+json", description = "What is wrong.")
    )
)]
pub async fn list(State(api): State<Api>) -> Json<Value> {
    // What is in force can be told while the queue is away.
    let quarantined = api.queue.quarantined().await.unwrap_or_default();
    let registry = api.registry.load();
    let mut items: Vec<Value> = Vec::new();
    for (name, entry) in &registry.plugins {
        items.extend(of_entry(name, entry));
    }
    items.extend(others(&registry, &quarantined));
    items.sort_by_key(|item| item.get("name").and_then(Value::as_str).map(str::to_owned));
    Json(json!({"items": items, "next": null, "wasmtime": postrider_sandbox::wasmtime_version()}))
}

/// Shows a plugin with the versions of it that are remembered.
#[utoipa::path(
    get, path = "/v1/plugins/{name}", tag = "plugins",
    params(("name" = String, Path, description = "Its name.")),
    responses(
        (status = 200, body = schema::PluginHistory),
        (status = "default", body = schema::Problem, content_type = "application/problem+json", description = "What is wrong.")
    )
)]
pub async fn show(State(api): State<Api>, Named(name): Named) -> Result<Json<Value>, Problem> {
    one(&api, &name).await
}

/// The plugin whose name is the word that stands for all of them where something is posted.
pub async fn show_reload(State(api): State<Api>) -> Result<Json<Value>, Problem> {
    one(&api, "reload").await
}

/// Looks at the plugins directory now, also at files that could not be used before.
#[utoipa::path(
    post, path = "/v1/plugins/reload", tag = "plugins",
    responses(
        (status = 200, body = schema::Plugins),
        (status = "default", body = schema::Problem, content_type = "application/problem+json", description = "What is wrong.")
    )
)]
pub async fn reload_all(State(api): State<Api>, caller: Caller) -> Result<Json<Value>, Problem> {
    let looked = look(&api, true).await;
    api.audit.record(&caller.actor, "plugin.reload", "plugins", json!({})).await?;
    looked?;
    Ok(list(State(api)).await)
}

/// Looks at the plugins directory now, and answers with one plugin.
#[utoipa::path(
    post, path = "/v1/plugins/{name}/reload", tag = "plugins",
    params(("name" = String, Path, description = "Its name.")),
    responses(
        (status = 200, body = schema::PluginHistory),
        (status = "default", body = schema::Problem, content_type = "application/problem+json", description = "What is wrong.")
    )
)]
pub async fn reload(
    State(api): State<Api>,
    caller: Caller,
    Named(name): Named,
) -> Result<Json<Value>, Problem> {
    let looked = look(&api, true).await;
    record(&api, &caller, "plugin.reload", &name, json!({})).await?;
    looked?;
    one(&api, &name).await
}

/// Takes a module out of use on every host; the version before it that worked takes its place.
#[utoipa::path(
    post, path = "/v1/plugins/{name}/quarantine", tag = "plugins",
    params(("name" = String, Path, description = "Its name.")),
    request_body = Option<ChosenModule>,
    responses(
        (status = 200, body = schema::PluginHistory),
        (status = "default", body = schema::Problem, content_type = "application/problem+json", description = "What is wrong.")
    )
)]
pub async fn quarantine(
    State(api): State<Api>,
    caller: Caller,
    Named(name): Named,
    body: Body,
) -> Result<Json<Value>, Problem> {
    let chosen = chosen(&api, body).await?;
    let known = api.queue.versions().await?;
    let module = {
        let registry = api.registry.load();
        let Some(entry) = registry.plugins.get(&name) else {
            return Err(unknown(&name, &registry));
        };
        let mut modules = modules(&name, entry, &known);
        // Without a hash the module in force.
        modules.truncate(if chosen.sha256.is_none() { 1 } else { modules.len() });
        let found = modules.into_iter().find(|(hash, _)| is_chosen(hash, chosen.sha256.as_deref()));
        found.ok_or_else(|| no_module(&name, chosen.sha256.as_deref()))?
    };
    put_away(&api, &caller, "plugin.quarantine", (&name, module), chosen.reason).await
}

/// Quarantines the module in force, where a version before it is known to work.
#[utoipa::path(
    post, path = "/v1/plugins/{name}/rollback", tag = "plugins",
    params(("name" = String, Path, description = "Its name.")),
    request_body = Option<ChosenModule>,
    responses(
        (status = 200, body = schema::PluginHistory),
        (status = 409, body = schema::Problem, content_type = "application/problem+json", description = "There is no version before it that worked."),
        (status = "default", body = schema::Problem, content_type = "application/problem+json", description = "What is wrong.")
    )
)]
pub async fn rollback(
    State(api): State<Api>,
    caller: Caller,
    Named(name): Named,
    body: Body,
) -> Result<Json<Value>, Problem> {
    let chosen = chosen(&api, body).await?;
    let (known, quarantined) = (api.queue.versions().await?, api.queue.quarantined().await?);
    let module = {
        let registry = api.registry.load();
        let Some(entry) = registry.plugins.get(&name) else {
            return Err(unknown(&name, &registry));
        };
        let plugin = entry.plugin.as_ref().ok_or_else(|| no_module(&name, None))?;
        if !has_predecessor(&name, plugin.hash(), &known, &quarantined) {
            let detail =
                format!("no version of plugin \"{name}\" before the one in force is known to work");
            return Err(Problem::new(StatusCode::CONFLICT, detail));
        }
        (plugin.hash().to_owned(), plugin.description().version.clone())
    };
    put_away(&api, &caller, "plugin.rollback", (&name, module), chosen.reason).await
}

/// Takes quarantined modules of a plugin, all or the one named, out of the quarantine; their trials begin anew.
#[utoipa::path(
    post, path = "/v1/plugins/{name}/release", tag = "plugins",
    params(("name" = String, Path, description = "Its name.")),
    request_body = Option<ChosenModule>,
    responses(
        (status = 200, body = schema::PluginHistory),
        (status = 409, body = schema::Problem, content_type = "application/problem+json", description = "Nothing of it is quarantined."),
        (status = "default", body = schema::Problem, content_type = "application/problem+json", description = "What is wrong.")
    )
)]
pub async fn release(
    State(api): State<Api>,
    caller: Caller,
    Named(name): Named,
    body: Body,
) -> Result<Json<Value>, Problem> {
    let chosen = chosen(&api, body).await?;
    let quarantined = api.queue.quarantined().await?;
    let known = api.queue.versions().await?;
    // The same module may be quarantined under another plugin's name.
    let is_ours = |module: &Quarantine| {
        let seen =
            |known: &VersionRecord| known.seen.plugin == name && known.seen.hash == module.hash;
        module.plugin == name || known.iter().any(seen)
    };
    let ours = quarantined.iter().map(|record| &record.module).filter(|module| is_ours(module));
    let ours = ours.filter(|module| is_chosen(&module.hash, chosen.sha256.as_deref()));
    let hashes: BTreeSet<&str> = ours.map(|module| module.hash.as_str()).collect();
    if hashes.is_empty() {
        let which = chosen.sha256.map(|hash| format!(" whose SHA-256 begins with \"{hash}\""));
        let which = which.unwrap_or_default();
        let detail = format!("no module of plugin \"{name}\"{which} is quarantined");
        return Err(Problem::new(StatusCode::CONFLICT, detail));
    }
    for hash in &hashes {
        api.queue.release_module(hash).await?;
    }
    record(&api, &caller, "plugin.release", &name, json!({"sha256": hashes})).await?;
    look(&api, true).await?;
    one(&api, &name).await
}

/// Whether a version before this one worked and may be used.
fn has_predecessor(
    plugin: &str,
    hash: &str,
    known: &[VersionRecord],
    quarantined: &[QuarantineRecord],
) -> bool {
    let before = |hash: &str| {
        let mut ours = known.iter().filter(|known| known.seen.plugin == plugin);
        ours.find(|known| known.seen.hash == hash)?.seen.predecessor.clone()
    };
    let mut seen = BTreeSet::from([hash.to_owned()]);
    let mut next = before(hash);
    while let Some(hash) = next.filter(|hash| seen.insert(hash.clone())) {
        if !quarantined.iter().any(|record| record.module.hash == hash) {
            return true;
        }
        next = before(&hash);
    }
    false
}

async fn put_away(
    api: &Api,
    caller: &Caller,
    action: &str,
    (name, (hash, version)): (&str, (String, String)),
    reason: Option<String>,
) -> Result<Json<Value>, Problem> {
    let reason = reason.filter(|reason| !reason.trim().is_empty());
    let reason = reason.unwrap_or_else(|| BY_HAND.to_owned());
    let module = Quarantine { hash, plugin: name.to_owned(), version, reason };
    api.queue.quarantine(&module, false).await?;
    let details =
        json!({"sha256": module.hash, "version": module.version, "reason": module.reason});
    record(api, caller, action, name, details).await?;
    look(api, false).await?;
    one(api, name).await
}

/// Waits for a look at the plugins directory.
async fn look(api: &Api, afresh: bool) -> Result<(), Problem> {
    match api.asked.look(afresh).await {
        true => Ok(()),
        false => Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the look at the plugins directory takes long and goes on; ask for the plugins later",
        )),
    }
}

async fn record(
    api: &Api,
    caller: &Caller,
    action: &str,
    name: &str,
    details: Value,
) -> Result<(), Problem> {
    let subject = format!("plugin {name}");
    Ok(api.audit.record(&caller.actor, action, &subject, details).await?)
}

/// A plugin and its versions, or a problem that names the nearest.
async fn one(api: &Api, name: &str) -> Result<Json<Value>, Problem> {
    let (known, quarantined) = (api.queue.versions().await?, api.queue.quarantined().await?);
    let registry = api.registry.load();
    let entry = registry.plugins.get(name);
    let now = entry.map(|entry| of_entry(name, entry)).unwrap_or_default();
    let known = known.into_iter().filter(|known| known.seen.plugin == name).collect::<Vec<_>>();
    let put_away = quarantined.iter().filter(|record| record.module.plugin == name);
    let put_away = put_away.map(in_quarantine).collect::<Vec<_>>();
    let Some(first) = now.first().or(put_away.first()).cloned() else {
        return Err(unknown(name, &registry));
    };
    let versions = history(&known, &quarantined, now, put_away);
    let mut shown = first;
    if let Some(fields) = shown.as_object_mut() {
        fields.insert("versions".to_owned(), versions.into());
    }
    Ok(Json(shown))
}

/// What is remembered of a plugin's versions, the newest first; before them what no host ever used.
fn history(
    known: &[VersionRecord],
    quarantined: &[QuarantineRecord],
    now: Vec<Value>,
    put_away: Vec<Value>,
) -> Vec<Value> {
    let of = |hash: &str| {
        let has = |item: &&Value| item.get("sha256").and_then(Value::as_str) == Some(hash);
        let elsewhere = quarantined.iter().find(|record| record.module.hash == hash);
        let listed = now.iter().chain(&put_away).find(has).cloned();
        listed.or_else(|| elsewhere.map(in_quarantine))
    };
    let version = |known: &VersionRecord| {
        let seen = &known.seen;
        let state = of(&seen.hash).unwrap_or_else(|| json!({"state": "past"}));
        json!({
            "version": seen.version, "sha256": seen.hash, "state": state.get("state"),
            "first_seen": known.since, "since": state.get("since"), "reason": state.get("reason"),
            "worked": seen.worked, "predecessor": seen.predecessor,
        })
    };
    let is_known = |item: &Value| {
        let hash = item.get("sha256").and_then(Value::as_str);
        known.iter().any(|known| Some(known.seen.hash.as_str()) == hash)
    };
    let mut unknown: Vec<Value> = Vec::new();
    for item in now.iter().chain(&put_away).filter(|item| !is_known(item)) {
        if unknown.iter().any(|seen| seen.get("sha256") == item.get("sha256")) {
            continue;
        }
        unknown.push(json!({
            "version": item.get("version"), "sha256": item.get("sha256"), "state": item.get("state"),
            "first_seen": null, "since": item.get("since"), "reason": item.get("reason"),
            "worked": false, "predecessor": null,
        }));
    }
    unknown.extend(known.iter().map(version));
    unknown
}

/// The version in force, and the file where it is another.
fn of_entry(name: &str, entry: &PluginEntry) -> Vec<Value> {
    let active = entry.plugin.as_ref().map(|plugin| {
        json!({
            "name": name,
            "version": plugin.description().version,
            "summary": plugin.description().summary,
            "sha256": plugin.hash(),
            "size": plugin.size(),
            "state": "active",
            "since": entry.since,
            "reason": entry.problem(),
            "warnings": plugin.warnings(),
        })
    });
    let unfit = entry.unfit.as_ref().map(|unfit| {
        json!({
            "name": name,
            "version": unfit.version,
            "sha256": unfit.hash,
            "state": unfit.state.name(),
            "since": unfit.since,
            "reason": unfit.problem,
        })
    });
    active.into_iter().chain(unfit).collect()
}

/// Quarantined modules that no file of the directory is.
fn others(registry: &Registry, quarantined: &[QuarantineRecord]) -> Vec<Value> {
    let lies_there = |hash: &str| {
        let mut files = registry.plugins.values().filter_map(|entry| entry.unfit.as_ref());
        files.any(|unfit| unfit.hash.as_deref() == Some(hash))
    };
    let others = quarantined.iter().filter(|record| !lies_there(&record.module.hash));
    others.map(in_quarantine).collect()
}

fn in_quarantine(record: &QuarantineRecord) -> Value {
    json!({
        "name": record.module.plugin,
        "version": record.module.version,
        "sha256": record.module.hash,
        "state": "quarantined",
        "since": record.since,
        "reason": record.module.reason,
    })
}

/// Hash and version of a plugin's modules: the one in force, the file, and those that hosts have used.
fn modules(name: &str, entry: &PluginEntry, known: &[VersionRecord]) -> Vec<(String, String)> {
    let in_force = entry.plugin.as_ref();
    let in_force = in_force.map(|p| (p.hash().to_owned(), p.description().version.clone()));
    let file = entry
        .unfit
        .as_ref()
        .and_then(|unfit| Some((unfit.hash.clone()?, unfit.version.clone().unwrap_or_default())));
    let known = known.iter().filter(|known| known.seen.plugin == name);
    let known = known.map(|known| (known.seen.hash.clone(), known.seen.version.clone()));
    in_force.into_iter().chain(file).chain(known).collect()
}

fn is_chosen(hash: &str, wanted: Option<&str>) -> bool {
    wanted.is_none_or(|wanted| !wanted.is_empty() && hash.starts_with(&wanted.to_lowercase()))
}

async fn chosen(api: &Api, body: Body) -> Result<ChosenModule, Problem> {
    let body = read(body, api.max_body).await?;
    if body.trim_ascii().is_empty() {
        return Ok(ChosenModule::default());
    }
    let chosen: ChosenModule = serde_json::from_slice(&body).map_err(|error| {
        let detail = format!("the body: {}", suggest::reword(&error.to_string()));
        Problem::new(StatusCode::BAD_REQUEST, detail)
    })?;
    let reason = chosen.reason.as_deref().unwrap_or_default();
    if reason.len() > REASON || reason.contains(char::is_control) {
        let detail = format!("must be at most {REASON} bytes without control characters");
        return Err(Problem::field("reason", &detail));
    }
    Ok(chosen)
}

fn unknown(name: &str, registry: &Registry) -> Problem {
    let meant = suggest::nearest(name, registry.plugins.keys().map(String::as_str));
    let meant = meant.map_or_else(String::new, |near| format!("; did you mean \"{near}\"?"));
    Problem::not_found(format!("there is no plugin \"{}\"{meant}", name.escape_debug()))
}

fn no_module(name: &str, hash: Option<&str>) -> Problem {
    let which = hash.map_or("has no module in force".to_owned(), |hash| {
        format!("has no module whose SHA-256 begins with \"{hash}\"")
    });
    Problem::new(StatusCode::CONFLICT, format!("plugin \"{name}\" {which}"))
}
