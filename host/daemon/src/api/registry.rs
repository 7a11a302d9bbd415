//! Plugins and destinations in force.

use axum::Json;
use axum::extract::State;
use postrider_queue::Blocked;
use serde_json::{Value, json};

use super::{Api, breakers, schema};
use crate::registry::Registry;

/// Lists plugins.
#[utoipa::path(
    get, path = "/v1/plugins", tag = "plugins",
    responses(
        (status = 200, body = schema::Plugins),
        (status = "default", body = schema::Problem, content_type = "application/problem+json", description = "What is wrong.")
    )
)]
pub async fn plugins(State(api): State<Api>) -> Json<Value> {
    let registry = api.registry.load();
    let items: Vec<Value> = registry
        .plugins
        .iter()
        .map(|(name, entry)| {
            let plugin = entry.plugin.as_ref();
            json!({
                "name": name,
                "version": plugin.map(|p| &p.description().version),
                "summary": plugin.map(|p| &p.description().summary),
                "sha256": plugin.map(|p| p.hash()),
                "size": plugin.map(|p| p.size()),
                "state": match (plugin, &entry.problem) {
                    (Some(_), None) => "loaded",
                    (Some(_), Some(_)) => "kept",
                    (None, _) => "rejected",
                },
                "problem": entry.problem,
                "warnings": plugin.map(|p| p.warnings()),
                "since": entry.since,
            })
        })
        .collect();
    Json(json!({"items": items, "next": null, "wasmtime": postrider_sandbox::wasmtime_version()}))
}

/// Destinations in force, and files that never were good, with the breakers of those that are blocked.
pub(super) fn destinations(registry: &Registry, blocked: Option<&[Blocked]>) -> Vec<Value> {
    let known = registry.destinations().map(|(name, entry)| {
        json!({
            "name": name,
            "plugin": entry.spec.plugin,
            "state": entry.status.name(),
            "reason": entry.status.reason(),
            "problem": entry.problem.as_ref().or_else(|| registry.warnings.get(name)),
            "allow": entry.spec.allow.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "fallback": entry.spec.fallback,
            "breaker": blocked.map(|blocked| breakers::of(blocked, name)),
            "since": entry.since,
        })
    });
    let refused = registry.refused.iter().map(|(file, problem)| {
        let name = file.strip_suffix(".toml").unwrap_or(file);
        json!({"name": name, "plugin": null, "state": "refused", "reason": problem, "problem": problem})
    });
    known.chain(refused).collect()
}
