//! Formats that other systems speak: each becomes notifications, and is answered after their commit.
//!
//! - [`cloudevents`]: CloudEvents 1.0 over HTTP.
//! - [`alertmanager`]: the webhook of Prometheus Alertmanager and of Grafana.
//! - [`notify`]: a line of text, or the JSON of the Apprise API.
//!
//! *Invariant:* nothing of a request is stored unless all of it is; one that comes again is stored once.

pub mod alertmanager;
pub mod cloudevents;
pub mod notify;

use axum::Json;
use axum::http::{HeaderMap, StatusCode, header};
use postrider_core::{Draft, NotificationId, Schedule};
use postrider_queue::{Enqueue, Enqueued, MAX_BATCH};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::problem::Problem;
use super::{Api, intake, trace};

/// What became of one draft.
#[derive(Debug)]
struct Taken {
    id: NotificationId,
    deliveries: Option<u32>,
    new: bool,
}

impl Taken {
    fn of(enqueued: &Enqueued) -> Self {
        match *enqueued {
            Enqueued::Stored { id, deliveries } => {
                Self { id, deliveries: Some(deliveries), new: true }
            }
            Enqueued::Existing { id, deliveries } => {
                Self { id, deliveries: Some(deliveries), new: false }
            }
            // Its producer says by the key that it is the same.
            Enqueued::Conflict { id } => Self { id, deliveries: None, new: false },
        }
    }

    fn json(&self) -> Value {
        json!({"id": self.id, "deliveries": self.deliveries, "new": self.new})
    }
}

/// Stores drafts in one transaction. `name` words the place of the draft that is refused.
async fn take(
    api: &Api,
    headers: &HeaderMap,
    drafts: Vec<Draft>,
    name: impl Fn(usize) -> String,
) -> Result<Vec<Taken>, Problem> {
    if drafts.len() > MAX_BATCH {
        let detail = format!("{} at once are too many; send at most {MAX_BATCH}", drafts.len());
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
    }
    api.admission.check()?;
    let registry = api.registry.load();
    let now = (api.now)();
    let mut batch = Vec::with_capacity(drafts.len());
    for (place, mut draft) in drafts.into_iter().enumerate() {
        trace::onto(&mut draft, headers);
        let idempotency_key = draft.idempotency_key.clone();
        let notification =
            draft.accept(NotificationId((api.new_id)()), now).map_err(|mut error| {
                error.field.insert_str(0, &name(place));
                Problem::from(error)
            })?;
        let destinations = registry.route(&notification);
        let schedule = Schedule::default();
        batch.push(Enqueue { notification, idempotency_key, schedule, destinations });
    }
    let answers = intake::store(api, batch).await?;
    Ok(answers.iter().map(Taken::of).collect())
}

/// The answer for one: 201 when it is new, 200 when it came before.
fn one(taken: &[Taken]) -> Result<(StatusCode, Json<Value>), Problem> {
    let taken = taken.first().ok_or_else(|| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the queue gave no answer")
    })?;
    let status = if taken.new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(taken.json())))
}

/// The answer for many.
fn many(taken: &[Taken]) -> (StatusCode, Json<Value>) {
    let items: Vec<Value> = taken.iter().map(Taken::json).collect();
    (StatusCode::OK, Json(json!({"items": items})))
}

/// The media type of the body, lower case and without parameters; empty when the request names none.
fn media_type(headers: &HeaderMap) -> String {
    let named = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let bare = named.unwrap_or("").split(';').next().unwrap_or("");
    bare.trim().to_ascii_lowercase()
}

/// SHA-256 of a text in hexadecimal, for what is too long for a key.
fn digest(text: &str) -> String {
    use std::fmt::Write as _;
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(text) {
        let _infallible = write!(hex, "{byte:02x}");
    }
    hex
}

/// Text as a field may hold it: without control characters, cut at `max` bytes with an ellipsis.
fn fitted(text: &str, max: usize) -> String {
    const CUT: &str = "…";
    let mut fitted: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if fitted.len() > max {
        let end = max.saturating_sub(CUT.len());
        let end = (0..=end).rev().find(|at| fitted.is_char_boundary(*at)).unwrap_or(0);
        fitted.truncate(end);
        fitted.push_str(CUT);
    }
    fitted
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parameters_and_case_of_a_media_type_do_not_count() {
        let headers = |value: &'static str| {
            [(header::CONTENT_TYPE, header::HeaderValue::from_static(value))].into_iter().collect()
        };
        assert_eq!(media_type(&headers("Application/JSON; charset=UTF-8")), "application/json");
        assert_eq!(media_type(&HeaderMap::new()), "");
    }

    proptest! {
        #[test]
        fn fitted_text_fits(text in any::<String>(), max in 3usize..40) {
            let fitted = fitted(&text, max);
            prop_assert!(fitted.len() <= max);
            prop_assert!(!fitted.contains(char::is_control));
            if text.len() <= max && !text.contains(char::is_control) {
                prop_assert_eq!(fitted, text);
            }
        }
    }
}
