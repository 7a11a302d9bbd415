//! Dead letters, by what they died of.

use axum::Json;
use axum::extract::State;
use postrider_queue::{DEAD_GROUPS, DEAD_LOOKED, DeadGroup};
use serde_json::{Value, json};

use super::problem::Problem;
use super::{Api, schema};

/// Lists the newest 10,000 dead deliveries by destination, cause and reason, the most first; 500 groups at most.
#[utoipa::path(
    get, path = "/v1/dead", tag = "deliveries",
    responses(
        (status = 200, body = schema::DeadLetters),
        (status = "default", body = schema::Problem, content_type = "application/problem+json", description = "What is wrong.")
    )
)]
pub async fn list(State(api): State<Api>) -> Result<Json<Value>, Problem> {
    let groups = api.queue.dead_letters().await?;
    let looked: u64 = groups.iter().map(|group| group.count).sum();
    let complete = looked < DEAD_LOOKED && (groups.len() as u64) < DEAD_GROUPS;
    Ok(Json(json!({
        "items": groups.iter().map(value).collect::<Vec<_>>(),
        "complete": complete,
        "next": null,
    })))
}

fn value(group: &DeadGroup) -> Value {
    json!({
        "destination": group.destination,
        "cause": group.cause,
        "reason": group.reason,
        "count": group.count,
        "first": group.first,
        "last": group.last,
        "newest": group.newest,
    })
}
