//! Many notifications at once.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use postrider_core::NotificationId;
use postrider_queue::{Enqueue, Enqueued, MAX_BATCH};
use serde_json::{Value, json};

use super::notifications::{Given, draft, parse_json, read};
use super::problem::Problem;
use super::{Api, intake, schema, trace};

/// Takes up to 1000 notifications in, in one transaction: a wrong one refuses all, and the answer names it.
#[utoipa::path(
    post, path = "/v1/notifications/batch", tag = "notifications",
    request_body = Vec<Given>,
    responses(
        (status = 200, body = schema::Batch, description = "Stored, or known before, each as its item says."),
        (status = "default", body = schema::Problem, content_type = "application/problem+json", description = "What is wrong; nothing is stored.")
    )
)]
pub async fn create(
    State(api): State<Api>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Problem> {
    let body = read(body, api.max_body).await?;
    api.admission.check()?;
    if body.trim_ascii_start().first().is_some_and(|first| *first != b'[') {
        let detail =
            "the body must be a list of notifications, such as [{\"type\": \"alert.firing\"}]";
        return Err(Problem::new(StatusCode::BAD_REQUEST, detail));
    }
    let given: Vec<Given> = parse_json(&body, "a list of notifications")?;
    if given.len() > MAX_BATCH {
        let detail = format!("{} at once are too many; send at most {MAX_BATCH}", given.len());
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
    }
    let registry = api.registry.load();
    let now = (api.now)();
    let mut batch = Vec::with_capacity(given.len());
    for (place, given) in given.into_iter().enumerate() {
        let named = |problem: Problem| problem.within(&format!("[{place}]"));
        let (mut draft, schedule) = draft(given).map_err(named)?;
        trace::onto(&mut draft, &headers);
        let idempotency_key = draft.idempotency_key.clone();
        let accepted = draft.accept(NotificationId((api.new_id)()), now);
        let notification = accepted.map_err(|error| named(error.into()))?;
        let destinations = registry.route(&notification);
        batch.push(Enqueue { notification, idempotency_key, schedule, destinations });
    }
    let answers = intake::store(&api, batch).await?;
    // Moved: `json!` would copy all items.
    let items = Value::Array(answers.iter().map(shown).collect());
    Ok(Json([("items".to_owned(), items)].into_iter().collect()))
}

fn shown(answer: &Enqueued) -> Value {
    match answer {
        Enqueued::Stored { id, deliveries } => {
            json!({"status": 201, "id": id, "deliveries": deliveries})
        }
        Enqueued::Existing { id, deliveries } => {
            json!({"status": 200, "id": id, "deliveries": deliveries})
        }
        Enqueued::Conflict { id } => json!({
            "status": 409, "id": id, "deliveries": null,
            "detail": "idempotency_key: was used before, for another notification",
        }),
    }
}
