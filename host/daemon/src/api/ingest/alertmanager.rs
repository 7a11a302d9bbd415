//! The webhook of Prometheus Alertmanager (version 4) and of Grafana, which posts the same shape.
//!
//! Each alert becomes a notification `alert.firing` or `alert.resolved` with the alert's labels, its name as the subject
//! and `alertmanager/RECEIVER` (or `grafana/RECEIVER`) as the source. The content is the alert's own JSON with what its
//! group says beside it. An alert is known by fingerprint, status and start, so that replicas of Alertmanager and its
//! repetitions make one notification.
//!
//! *Invariant:* no alert is refused for what it says. Alertmanager takes any 4xx for final and drops the group, so what
//! is too long for a label is cut there; the content has all of it.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use postrider_core::Draft;
use postrider_core::notification::{
    MAX_LABEL_NAME, MAX_LABEL_VALUE, MAX_LABELS, MAX_SOURCE, MAX_SUBJECT,
};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::Api;
use super::super::notifications::read;
use super::super::problem::Problem;
use super::super::schema;
use super::{digest, fitted, many, take};

/// Fields of the group that go with each of its alerts.
const OF_GROUP: [&str; 6] =
    ["receiver", "groupKey", "groupLabels", "commonLabels", "commonAnnotations", "externalURL"];

#[derive(Deserialize)]
struct Webhook {
    alerts: Vec<Map<String, Value>>,
    #[serde(default, rename = "truncatedAlerts")]
    truncated: u64,
    #[serde(flatten)]
    group: Map<String, Value>,
}

/// Takes the webhook of Alertmanager or Grafana in: one notification for each alert.
#[utoipa::path(
    post, path = "/v1/alertmanager", tag = "ingest",
    request_body(content = schema::AlertWebhook, content_type = "application/json", description = "The webhook of Alertmanager or Grafana."),
    responses(
        (status = 201, body = schema::Taken, description = "One that is new."),
        (status = 200, body = serde_json::Value, description = "One that came before, or many: `items`."),
        (status = "default", body = schema::Problem, content_type = "application/problem+json", description = "What is wrong.")
    )
)]
pub async fn create(
    State(api): State<Api>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let body = read(body, api.max_body).await?;
    let webhook: Webhook = serde_json::from_slice(&body).map_err(|error| {
        let detail = format!("the body is not a webhook of Alertmanager or Grafana: {error}");
        Problem::new(StatusCode::BAD_REQUEST, detail)
    })?;
    if webhook.truncated > 0 {
        tracing::warn!(
            alerts.truncated = webhook.truncated,
            "Alertmanager left alerts out of a group; raise max_alerts of its webhook"
        );
    }
    let drafts = webhook.alerts.iter().map(|alert| draft(alert, &webhook.group)).collect();
    Ok(many(&take(&api, &headers, drafts, |place| format!("alerts[{place}].")).await?))
}

fn draft(alert: &Map<String, Value>, group: &Map<String, Value>) -> Draft {
    let text = |of: &Map<String, Value>, key: &str| {
        of.get(key).and_then(Value::as_str).unwrap_or("").to_owned()
    };
    let status = match text(alert, "status").as_str() {
        "resolved" => "resolved",
        _firing => "firing",
    };
    let system = if group.contains_key("orgId") { "grafana" } else { "alertmanager" };
    let source = fitted(&format!("{system}/{}", text(group, "receiver")), MAX_SOURCE);
    let labels = alert.get("labels").and_then(Value::as_object);
    let fingerprint = match text(alert, "fingerprint") {
        // Older ones send none: the labels are what it is made of.
        none if none.is_empty() => {
            let labels = labels.map(|labels| Value::Object(labels.clone())).unwrap_or_default();
            digest(&labels.to_string())
        }
        given => given,
    };
    let started = text(alert, "startsAt");
    let key = format!("{source}:{fingerprint}:{status}:{started}");
    let subject = labels.and_then(|labels| labels.get("alertname")).and_then(Value::as_str);
    Draft {
        kind: format!("alert.{status}"),
        subject: Some(fitted(subject.unwrap_or(&fingerprint), MAX_SUBJECT)),
        labels: labels.map(kept).unwrap_or_default(),
        content_type: "application/json".to_owned(),
        content: content(alert, group).into(),
        idempotency_key: Some(shortened(&key)),
        trace: None,
        source,
    }
}

fn kept(labels: &Map<String, Value>) -> BTreeMap<String, String> {
    let named = labels.iter().filter(|(name, _)| !name.is_empty());
    let kept = named.map(|(name, value)| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        (fitted(name, MAX_LABEL_NAME), fitted(&text, MAX_LABEL_VALUE))
    });
    kept.take(MAX_LABELS).collect()
}

/// The alert's fields win over the group's.
fn content(alert: &Map<String, Value>, group: &Map<String, Value>) -> String {
    let of_group = OF_GROUP
        .iter()
        .filter_map(|key| group.get(*key).map(|value| ((*key).to_owned(), value.clone())));
    let mut whole: Map<String, Value> = of_group.collect();
    whole.extend(alert.clone());
    Value::Object(whole).to_string()
}

fn shortened(key: &str) -> String {
    match key.len() <= MAX_SOURCE && !key.contains(char::is_control) {
        true => key.to_owned(),
        false => format!("alert:{}", digest(key)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use postrider_core::NotificationId;
    use proptest::prelude::*;
    use serde_json::json;

    fn drafts(webhook: Value) -> Vec<Draft> {
        let webhook: Webhook = serde_json::from_value(webhook).unwrap();
        webhook.alerts.iter().map(|alert| draft(alert, &webhook.group)).collect()
    }

    fn group(alert: Value) -> Value {
        json!({"version": "4", "receiver": "ops", "externalURL": "http://am-1:9093", "alerts": [alert]})
    }

    fn disk_full() -> Value {
        json!({"status": "firing", "fingerprint": "f1", "startsAt": "2026-11-24T10:00:00Z",
               "labels": {"alertname": "DiskFull", "severity": "critical"},
               "annotations": {"summary": "no room"}})
    }

    #[test]
    fn an_alert_becomes_a_notification() {
        let draft = drafts(group(disk_full())).remove(0);
        assert_eq!(
            (draft.kind.as_str(), draft.source.as_str()),
            ("alert.firing", "alertmanager/ops")
        );
        assert_eq!(draft.subject.as_deref(), Some("DiskFull"));
        assert_eq!(draft.labels.get("severity").unwrap(), "critical");
        assert_eq!(
            draft.idempotency_key.as_deref(),
            Some("alertmanager/ops:f1:firing:2026-11-24T10:00:00Z")
        );
        let content: Value = serde_json::from_slice(&draft.content).unwrap();
        assert_eq!(content["annotations"]["summary"], "no room");
        assert_eq!(content["externalURL"], "http://am-1:9093");
    }

    #[test]
    fn firing_and_resolved_are_two_and_replicas_are_one() {
        let mut resolved = disk_full();
        resolved["status"] = "resolved".into();
        let mut replica = group(disk_full());
        replica["externalURL"] = "http://am-2:9093".into();
        let [first, second, third] =
            [group(disk_full()), group(resolved), replica].map(|webhook| drafts(webhook).remove(0));
        assert_eq!(second.kind, "alert.resolved");
        assert_ne!(first.idempotency_key, second.idempotency_key);
        assert_eq!(first.idempotency_key, third.idempotency_key);
    }

    #[test]
    fn grafana_says_that_it_is_grafana() {
        let mut webhook = group(disk_full());
        webhook["orgId"] = 1.into();
        assert_eq!(drafts(webhook).remove(0).source, "grafana/ops");
    }

    proptest! {
        #[test]
        fn no_alert_is_refused(
            labels in proptest::collection::btree_map(any::<String>(), ".{0,1100}", 0..70),
            receiver in any::<String>(), fingerprint in any::<String>(), starts in any::<String>(),
        ) {
            let alert = json!({"labels": labels, "fingerprint": fingerprint, "startsAt": starts});
            let webhook = json!({"receiver": receiver, "alerts": [alert, {}]});
            for draft in drafts(webhook) {
                let id = NotificationId(uuid::Uuid::nil());
                prop_assert!(draft.accept(id, Timestamp::UNIX_EPOCH).is_ok());
            }
        }
    }
}
