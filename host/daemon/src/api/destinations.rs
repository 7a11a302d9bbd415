//! One destination: look at it, pause it, resume it, send it a test.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use postrider_core::{Draft, NotificationId, Schedule, suggest};
use postrider_queue::{Blocked, DeliveryFilter, Enqueue, Enqueued, Hold, Page};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::auth::caller::Caller;
use super::extract::Named;
use super::notifications::read;
use super::problem::Problem;
use super::{Api, intake, registry, schema, trace};

/// The type of a test notification. It is postrider's own, so no other destination gets it.
pub const TEST: &str = "postrider.test";
/// Longest reason of a pause, in bytes.
const REASON: usize = 500;

/// The body of a pause.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PauseReason {
    /// For those who find it paused; at most 500 bytes.
    #[serde(default)]
    reason: String,
}

/// Lists destinations: those in force, and files that never were good.
#[utoipa::path(
    get, path = "/v1/destinations", tag = "destinations",
    responses(
        (status = 200, body = schema::Destinations),
        (status = "default", body = schema::Problem, content_type = "application/problem+json", description = "What is wrong.")
    )
)]
pub async fn list(State(api): State<Api>) -> Result<Json<Value>, Problem> {
    Ok(Json(json!({"items": all(&api).await, "next": null})))
}

/// Shows one destination.
#[utoipa::path(
    get, path = "/v1/destinations/{name}", tag = "destinations",
    params(("name" = String, Path, description = "Its name.")),
    responses(
        (status = 200, body = schema::Destination),
        (status = "default", body = schema::Problem, content_type = "application/problem+json", description = "What is wrong.")
    )
)]
pub async fn show(State(api): State<Api>, Named(name): Named) -> Result<Json<Value>, Problem> {
    one(&api, &name).await.map(Json)
}

/// Pauses a destination on every host: its deliveries wait, and burn no attempts. Attempts that run go on.
#[utoipa::path(
    post, path = "/v1/destinations/{name}/pause", tag = "destinations",
    params(("name" = String, Path, description = "Its name.")),
    request_body = Option<PauseReason>,
    responses(
        (status = 200, body = schema::Destination),
        (status = "default", body = schema::Problem, content_type = "application/problem+json", description = "What is wrong.")
    )
)]
pub async fn pause(
    State(api): State<Api>,
    caller: Caller,
    Named(name): Named,
    body: Body,
) -> Result<Json<Value>, Problem> {
    let body = read(body, api.max_body).await?;
    let given = match body.trim_ascii().is_empty() {
        true => PauseReason::default(),
        false => serde_json::from_slice(&body).map_err(|error| {
            let detail =
                format!("the body is no pause in JSON: {}", suggest::reword(&error.to_string()));
            Problem::new(StatusCode::BAD_REQUEST, detail)
        })?,
    };
    if given.reason.len() > REASON || given.reason.contains(char::is_control) {
        let detail = format!("must be at most {REASON} bytes without control characters");
        return Err(Problem::field("reason", &detail));
    }
    one(&api, &name).await?;
    api.queue.pause(&name, &given.reason).await?;
    api.waker.rest(&name);
    record(&api, &caller, "destination.pause", &name, json!({"reason": given.reason})).await?;
    api.feed.tell([api.feed.destination("destination.paused", &name, &given.reason)]);
    api.overview.changed();
    one(&api, &name).await.map(Json)
}

/// Resumes a destination: ends its pause, closes its breaker, and ends the rest that it asked for.
#[utoipa::path(
    post, path = "/v1/destinations/{name}/resume", tag = "destinations",
    params(("name" = String, Path, description = "Its name.")),
    responses(
        (status = 200, body = schema::Destination),
        (status = "default", body = schema::Problem, content_type = "application/problem+json", description = "What is wrong.")
    )
)]
pub async fn resume(
    State(api): State<Api>,
    caller: Caller,
    Named(name): Named,
) -> Result<Json<Value>, Problem> {
    one(&api, &name).await?;
    let resumed = api.queue.resume(&name).await?;
    record(&api, &caller, "destination.resume", &name, json!({"resumed": resumed})).await?;
    api.waker.wake();
    api.feed.tell([api.feed.destination("destination.resumed", &name, "")]);
    api.overview.changed();
    one(&api, &name).await.map(Json)
}

/// Sends a marked notification, of the type `postrider.test`, to this destination only.
#[utoipa::path(
    post, path = "/v1/destinations/{name}/test", tag = "destinations",
    params(("name" = String, Path, description = "Its name.")),
    responses(
        (status = 201, body = schema::Tested),
        (status = "default", body = schema::Problem, content_type = "application/problem+json", description = "What is wrong.")
    )
)]
pub async fn test(
    State(api): State<Api>,
    caller: Caller,
    Named(name): Named,
    headers: HeaderMap,
) -> Result<(StatusCode, Json<Value>), Problem> {
    api.admission.check()?;
    let registry = api.registry.load();
    if registry.destination(&name).is_none() {
        return Err(unknown(&name, &registry));
    }
    let text = format!("A test of the destination {name}, sent by hand. Nothing is wrong.");
    let draft = Draft {
        kind: TEST.to_owned(),
        source: "postrider".to_owned(),
        subject: Some(format!("test of {name}")),
        labels: [("severity".to_owned(), "info".to_owned())].into(),
        content_type: "application/json".to_owned(),
        content: Bytes::from(json!({"test": true, "text": text}).to_string()),
        idempotency_key: None,
        trace: trace::of(&headers),
    };
    let id = NotificationId((api.new_id)());
    let notification = draft.accept_own(id, (api.now)())?;
    let destinations = vec![registry.target(&name, &notification)];
    let schedule = Schedule::default();
    let item = Enqueue { notification, idempotency_key: None, schedule, destinations };
    let answers = intake::store(&api, vec![item]).await?;
    if !matches!(answers.first(), Some(Enqueued::Stored { .. })) {
        let detail = "the queue gave no answer";
        return Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail));
    }
    record(&api, &caller, "destination.test", &name, json!({"notification": id})).await?;
    let filter = DeliveryFilter {
        state: None,
        destination: Some(name),
        notification: Some(id),
        id: None,
        above: None,
        page: Page { after: None, limit: 1 },
    };
    let made = api.queue.deliveries(&filter).await?.pop();
    Ok((StatusCode::CREATED, Json(json!({"id": id, "delivery": made.map(|record| record.id)}))))
}

async fn record(
    api: &Api,
    caller: &Caller,
    action: &str,
    name: &str,
    details: Value,
) -> Result<(), Problem> {
    let subject = format!("destination {name}");
    Ok(api.audit.record(&caller.actor, action, &subject, details).await?)
}

/// A destination as lists show it, or a problem that names the nearest.
async fn one(api: &Api, name: &str) -> Result<Value, Problem> {
    let mut all = all(api).await;
    match all.iter().position(|item| item.get("name").and_then(Value::as_str) == Some(name)) {
        Some(place) => Ok(all.swap_remove(place)),
        None => Err(unknown(name, &api.registry.load())),
    }
}

fn unknown(name: &str, registry: &crate::registry::Registry) -> Problem {
    let known = registry.destinations().map(|(name, _)| name);
    let meant = suggest::nearest(name, known);
    let meant = meant.map_or_else(String::new, |near| format!("; did you mean \"{near}\"?"));
    Problem::not_found(format!("there is no destination \"{}\"{meant}", name.escape_debug()))
}

/// Those of the registry, and what holds them: nothing is said of that while the queue cannot be asked.
async fn all(api: &Api) -> Vec<Value> {
    let (holds, blocked) = tokio::join!(api.queue.holds(), api.queue.blocked());
    shown(&api.registry.load(), &holds.unwrap_or_default(), blocked.ok().as_deref())
}

/// What is known of the destinations, of what holds them, and of their breakers.
pub(super) fn shown(
    registry: &crate::registry::Registry,
    holds: &[Hold],
    blocked: Option<&[Blocked]>,
) -> Vec<Value> {
    let mut items = registry::destinations(registry, blocked);
    for item in &mut items {
        let name = item.get("name").and_then(Value::as_str);
        let hold = holds.iter().find(|hold| Some(hold.destination.as_str()) == name);
        let open = blocked
            .unwrap_or_default()
            .iter()
            .any(|blocked| blocked.breaker.is_some() && Some(blocked.destination.as_str()) == name);
        if let Some(fields) = item.as_object_mut() {
            fields.extend(held(hold, open));
            let breaker = fields.get_mut("breaker").and_then(Value::as_object_mut);
            if let Some(breaker) = breaker.filter(|_| hold.is_some_and(|h| h.paused.is_some())) {
                // A person's pause has no end that could be told.
                breaker.retain(|name, _| !name.starts_with("held_"));
            }
        }
    }
    items
}

/// A breaker that is not closed has a hold without an end, which tells nobody anything.
fn held(hold: Option<&Hold>, open: bool) -> [(String, Value); 2] {
    let paused = hold.and_then(|hold| hold.paused.as_ref());
    let until = hold.filter(|hold| hold.paused.is_none() && !open).map(|hold| hold.until);
    let paused = paused.map(|pause| json!({"since": pause.since, "reason": pause.reason}));
    [("paused".to_owned(), json!(paused)), ("held_until".to_owned(), json!(until))]
}
