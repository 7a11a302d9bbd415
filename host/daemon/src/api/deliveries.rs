//! Where deliveries stand, with every attempt.

use axum::Json;
use axum::extract::State;
use postrider_core::{DeliveryId, DeliveryState};
use postrider_queue::{DeliveryFilter, DeliveryRecord, EXACT_SIZE, Page};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use super::extract::{Named, Parameters, sought};
use super::problem::Problem;
use super::scan::{Range, scan};
use super::{Api, Paging, list as envelope, next_of, schema, view};

/// The query of `GET /v1/deliveries`.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Wanted {
    /// pending, leased, delivered, dead or cancelled.
    state: Option<String>,
    destination: Option<String>,
    /// UUID of their notification.
    notification: Option<String>,
    /// Most rows, 1 to 1000; 100 by default.
    limit: Option<String>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// Lists deliveries, newest first. A page may be short, or empty, and yet have a `next`.
#[utoipa::path(
    get, path = "/v1/deliveries", tag = "deliveries", params(Wanted),
    responses(
        (status = 200, body = schema::Deliveries),
        (status = "default", body = schema::Problem, content_type = "application/problem+json", description = "What is wrong.")
    )
)]
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
    let notification =
        match wanted.notification {
            None => None,
            Some(text) => Some(text.parse().map_err(|_any| {
                Problem::field("notification", "is not the UUID of a notification")
            })?),
        };
    let destination = sought("destination", wanted.destination)?;
    let filter = DeliveryFilter { state, destination, notification, id: None, above: None, page };
    let (records, next) = found(&api, &filter).await?;
    let items = records.iter().map(|record| Value::Object(view::delivery(record)));
    Ok(envelope(items.collect(), next))
}

/// A page of what the filter lets through, and where to go on: what no index leads to is looked for a moment only.
pub(super) async fn found(
    api: &Api,
    filter: &DeliveryFilter,
) -> Result<(Vec<DeliveryRecord>, Option<i64>), Problem> {
    if !has_index(api, filter).await? {
        return scanned(api, filter).await;
    }
    let records = api.queue.deliveries(filter).await?;
    let next = next_of(&records, filter.page.limit, |record| record.id.0);
    Ok((records, next))
}

/// Whether one of the queue's indexes leads to the rows, however many others there are.
async fn has_index(api: &Api, filter: &DeliveryFilter) -> Result<bool, Problem> {
    use DeliveryState::{Cancelled, Dead, Delivered, Leased, Pending};
    Ok(match (filter.notification, filter.state, &filter.destination) {
        (Some(_), ..) | (None, None | Some(Dead | Cancelled), None) => true,
        // Sorted whole: quick while there are few.
        (None, Some(Pending | Leased), _) => api.queue.size().await? < EXACT_SIZE,
        (None, Some(Delivered), _) | (None, None | Some(Dead | Cancelled), Some(_)) => false,
    })
}

async fn scanned(
    api: &Api,
    filter: &DeliveryFilter,
) -> Result<(Vec<DeliveryRecord>, Option<i64>), Problem> {
    let began = Instant::now();
    let below = match filter.page.after {
        Some(after) => after,
        None => {
            let page = Page { after: None, limit: 1 };
            let (state, destination) = (None, None);
            let newest = DeliveryFilter { state, destination, page, ..filter.clone() };
            let newest = api.queue.deliveries(&newest).await?.pop();
            newest.map_or(0, |record| record.id.0.saturating_add(1))
        }
    };
    let fetch = |page, above| {
        let filter = DeliveryFilter { page, above: Some(above), ..filter.clone() };
        let queue = api.queue.clone();
        async move { queue.deliveries(&filter).await }
    };
    let range = Range { below, above: 0, began };
    Ok(scan(range, filter.page.limit, |record| record.id.0, fetch).await?)
}

/// One delivery with every attempt.
#[utoipa::path(
    get, path = "/v1/deliveries/{id}", tag = "deliveries", params(("id" = i64, Path, description = "Its number.")),
    responses(
        (status = 200, body = schema::WholeDelivery),
        (status = "default", body = schema::Problem, content_type = "application/problem+json", description = "What is wrong.")
    )
)]
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
    let filter = DeliveryFilter {
        state: None,
        destination: None,
        notification: None,
        id,
        above: None,
        page,
    };
    let found = api.queue.deliveries(&filter).await?.pop();
    found.ok_or_else(|| Problem::not_found("there is no such delivery"))
}

pub(super) async fn with_attempts(api: &Api, record: &DeliveryRecord) -> Result<Value, Problem> {
    let attempts = api.queue.attempts(record.id).await?;
    let mut shown = view::delivery(record);
    shown.insert("history".to_owned(), attempts.iter().map(view::attempt).collect());
    Ok(Value::Object(shown))
}
