//! Where deliveries stand, with every attempt.

use axum::Json;
use axum::extract::State;
use postrider_core::{DeliveryId, DeliveryState};
use postrider_queue::{DeliveryFilter, DeliveryRecord, Page};
use serde::Deserialize;
use serde_json::Value;

use super::extract::{Named, Parameters};
use super::problem::Problem;
use super::{Api, Paging, list as envelope, view};

/// The query of `GET /v1/deliveries`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    state: Option<String>,
    destination: Option<String>,
    limit: Option<String>,
    after: Option<String>,
}

/// `GET /v1/deliveries`: newest first.
pub async fn list(
    State(api): State<Api>,
    Parameters(wanted): Parameters<Wanted>,
) -> Result<Json<Value>, Problem> {
    let page = Paging { limit: wanted.limit, after: wanted.after }.page()?;
    let state: Option<DeliveryState> = match wanted.state {
        None => None,
        Some(text) => {
            Some(text.parse().map_err(|problem: String| Problem::field("state", &problem))?)
        }
    };
    let filter = DeliveryFilter {
        state,
        destination: wanted.destination,
        notification: None,
        id: None,
        page,
    };
    let records = api.queue.deliveries(&filter).await?;
    let last = records.last().map(|record| record.id.0);
    let items = records.iter().map(|record| Value::Object(view::delivery(record)));
    Ok(envelope(items.collect(), page.limit, last))
}

/// `GET /v1/deliveries/{id}`: with every attempt.
pub async fn show(State(api): State<Api>, Named(id): Named) -> Result<Json<Value>, Problem> {
    let record = find(&api, &id).await?;
    Ok(Json(with_attempts(&api, &record).await?))
}

/// The delivery of this number.
pub(super) async fn find(api: &Api, id: &str) -> Result<DeliveryRecord, Problem> {
    let id: i64 =
        id.parse().map_err(|_any| Problem::field("id", "is not the number of a delivery"))?;
    let page = Page { after: None, limit: 1 };
    let id = Some(DeliveryId(id));
    let filter = DeliveryFilter { state: None, destination: None, notification: None, id, page };
    let found = api.queue.deliveries(&filter).await?.pop();
    found.ok_or_else(|| Problem::not_found("there is no such delivery"))
}

pub(super) async fn with_attempts(api: &Api, record: &DeliveryRecord) -> Result<Value, Problem> {
    let attempts = api.queue.attempts(record.id).await?;
    let mut shown = view::delivery(record);
    shown.insert("history".to_owned(), attempts.iter().map(view::attempt).collect());
    Ok(Value::Object(shown))
}
