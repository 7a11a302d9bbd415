//! Destinations in force.

use postrider_queue::Blocked;
use serde_json::{Value, json};

use super::breakers;
use crate::registry::Registry;

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
