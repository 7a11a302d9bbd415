//! The JSON of what is stored.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use postrider_core::{Attempt, Notification, TraceContext};
use postrider_queue::{DeliveryRecord, NotificationRecord};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

/// A notification without its content.
pub fn notification(record: &NotificationRecord) -> Map<String, Value> {
    let n = &record.notification;
    // How many deliveries it became; none until it is fanned out.
    let fields = [
        ("id", json!(n.id)),
        ("type", json!(n.kind)),
        ("source", json!(n.source)),
        ("subject", json!(n.subject)),
        ("labels", json!(n.labels)),
        ("content_type", json!(n.content_type)),
        ("time", json!(n.time)),
        ("idempotency_key", json!(record.idempotency_key)),
        ("malformed", json!(record.malformed)),
        ("pruned", json!(record.pruned)),
        ("fan_out", json!(record.deliveries)),
        ("expires", json!(record.expires)),
        ("traceparent", json!(n.trace.as_ref().map(TraceContext::parent))),
        ("tracestate", json!(n.trace.as_ref().and_then(TraceContext::state))),
    ];
    fields.map(|(name, value)| (name.to_owned(), value)).into_iter().collect()
}

/// A notification with its content.
#[derive(Serialize)]
pub struct Whole {
    #[serde(flatten)]
    pub fields: Map<String, Value>,
    /// None where retention has taken it.
    #[serde(flatten)]
    pub content: Option<Content>,
}

/// The content under the name that a producer would send it by.
#[derive(Serialize)]
pub enum Content {
    /// As it came, to the byte.
    #[serde(rename = "content")]
    Json(Box<RawValue>),
    #[serde(rename = "content_text")]
    Text(String),
    #[serde(rename = "content_base64")]
    Bytes(String),
}

pub fn content(n: &Notification) -> Content {
    let is_json =
        n.content_type.starts_with("application/json") || n.content_type.contains("+json");
    if is_json && let Ok(json) = serde_json::from_slice(&n.content) {
        return Content::Json(json);
    }
    match std::str::from_utf8(&n.content) {
        Ok(text) => Content::Text(text.to_owned()),
        Err(_binary) => Content::Bytes(STANDARD.encode(&n.content)),
    }
}

pub fn delivery(record: &DeliveryRecord) -> Map<String, Value> {
    let fields = [
        ("id", json!(record.id)),
        ("notification", json!(record.notification)),
        ("type", json!(record.kind)),
        ("destination", json!(record.destination)),
        ("state", json!(record.state)),
        ("attempts", json!(record.attempts)),
        ("created", json!(record.created)),
        ("due", json!(record.due)),
        ("expires", json!(record.expires)),
        ("order_key", json!(record.order_key)),
        ("waiting", json!(record.waiting)),
        ("finished", json!(record.finished)),
        ("reason", json!(record.reason)),
        ("cause", json!(record.cause)),
        ("fallback_of", json!(record.fallback_of)),
        ("fallback_to", json!(record.fallback_to)),
    ];
    fields.map(|(name, value)| (name.to_owned(), value)).into_iter().collect()
}

pub fn attempt(attempt: &Attempt) -> Value {
    json!({
        "number": attempt.number,
        "started": attempt.started,
        "duration_ms": (attempt.duration.as_secs_f64() * 1e6).round() / 1e3,
        "outcome": attempt.outcome,
        "reason": attempt.reason,
        "plugin": attempt.plugin,
        "host": attempt.host,
    })
}
