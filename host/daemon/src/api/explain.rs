//! Which destinations a notification would go to, and why not the others.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use postrider_core::filter::{Filter, Patterns};
use postrider_core::{Notification, NotificationId};
use serde_json::{Value, json};

use super::notifications::{Given, draft, parse, read};
use super::problem::Problem;
use super::{Api, schema};
use crate::registry::{Entry, Status};

/// Says which destinations a notification would go to, and why not to the others. Nothing is stored.
#[utoipa::path(
    post, path = "/v1/explain", tag = "notifications",
    request_body = Given,
    responses(
        (status = 200, body = schema::Explained),
        (status = "default", body = schema::Problem, content_type = "application/problem+json", description = "What is wrong.")
    )
)]
pub async fn explain(State(api): State<Api>, body: Body) -> Result<Json<Value>, Problem> {
    let body = read(body, api.max_body).await?;
    let (draft, _schedule) = draft(parse(&body)?)?;
    let notification = draft.accept_own(NotificationId((api.new_id)()), (api.now)())?;
    let holds = api.queue.holds().await?;
    let registry = api.registry.load();
    let items: Vec<Value> = registry
        .destinations()
        .map(|(name, entry)| {
            let reason = why_not(entry, &notification);
            let paused = holds.iter().any(|hold| hold.destination == name && hold.paused.is_some());
            json!({
                "destination": name,
                "goes": reason.is_none(),
                "reason": reason,
                "state": entry.status.name(),
                "paused": paused,
            })
        })
        .collect();
    Ok(Json(json!({"type": notification.kind, "items": items})))
}

/// None where it goes there.
fn why_not(entry: &Entry, notification: &Notification) -> Option<String> {
    if let Status::Off(reason) = &entry.status {
        return Some(format!("the destination is off: {reason}"));
    }
    let filter = &entry.spec.filter;
    let field = filter.mismatch(notification)?.field;
    Some(worded(filter, notification, &field))
}

fn worded(filter: &Filter, n: &Notification, field: &str) -> String {
    let (value, patterns) = match field {
        "type" => (Some(n.kind.as_str()), Some(&filter.kind)),
        "source" => (Some(n.source.as_str()), Some(&filter.source)),
        "subject" => (Some(n.subject.as_deref().unwrap_or("")), Some(&filter.subject)),
        label => {
            let name = label.strip_prefix("labels.").unwrap_or(label);
            (n.labels.get(name).map(String::as_str), filter.labels.get(name))
        }
    };
    let wanted = patterns.map(|Patterns(all)| all.clone()).unwrap_or_default();
    match value {
        None => format!("it has no label for {field}, which must match {}", quoted(&wanted)),
        Some(value) if field == "type" && value.starts_with("postrider.") => format!(
            "type \"{value}\" is postrider's own: it goes where a pattern begins with \"postrider.\", not to {}",
            quoted(&wanted)
        ),
        Some(value) => format!("{field} \"{value}\" does not match {}", quoted(&wanted)),
    }
}

fn quoted(patterns: &[String]) -> String {
    match patterns {
        [] => "a destination without match".to_owned(),
        some => some.iter().map(|p| format!("\"{p}\"")).collect::<Vec<_>>().join(" or "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::tests::entry;
    use postrider_core::Draft;

    fn reason(text: &str, kind: &str) -> Option<String> {
        let labels = [("severity".to_owned(), "low".to_owned())].into();
        let draft = Draft { kind: kind.into(), labels, ..Draft::default() };
        let id = NotificationId(uuid::Uuid::nil());
        let notification = draft.accept_own(id, jiff::Timestamp::UNIX_EPOCH).unwrap();
        why_not(&entry("x", text, None), &notification)
    }

    #[test]
    fn the_field_the_value_and_the_patterns_are_named() {
        assert_eq!(reason("", "alert.firing"), None);
        for (text, kind, expected) in [
            ("match = { type = ['a.*', 'b'] }", "c", "type \"c\" does not match \"a.*\" or \"b\""),
            ("", "postrider.test", "is postrider's own"),
            (
                "match = { labels = { severity = 'high' } }",
                "c",
                "labels.severity \"low\" does not match \"high\"",
            ),
            ("match = { labels = { team = 'db' } }", "c", "it has no label for labels.team"),
        ] {
            let found = reason(text, kind).unwrap();
            assert!(found.contains(expected), "{found}");
        }
    }
}
