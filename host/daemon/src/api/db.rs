//! The store itself: numbers, retention by hand, hosts.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use postrider_core::{Retention, suggest, units};
use postrider_queue::{HostRecord, Pruned, Rows, Stats};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;
use utoipa::ToSchema;

use super::auth::caller::Caller;
use super::notifications::read;
use super::problem::Problem;
use super::{Api, schema};
use crate::upkeep::pruner::add;

/// How long one request prunes; `next` then says where the next goes on.
const PRUNE_FOR: Duration = Duration::from_secs(10);

/// Lists the hosts on this queue, the newest first.
#[utoipa::path(
    get, path = "/v1/hosts", tag = "hosts",
    responses(
        (status = 200, body = schema::Hosts),
        (status = "default", body = schema::Problem, content_type = "application/problem+json", description = "What is wrong.")
    )
)]
pub async fn hosts(State(api): State<Api>) -> Result<Json<Value>, Problem> {
    Ok(Json(hosts_value(&api.queue.hosts().await?)))
}

/// Says which database this daemon works on.
#[utoipa::path(
    get, path = "/v1/db", tag = "hosts",
    responses(
        (status = 200, body = schema::Database),
        (status = "default", body = schema::Problem, content_type = "application/problem+json", description = "What is wrong.")
    )
)]
pub async fn status(State(api): State<Api>) -> Json<Value> {
    Json(json!({"database": *api.database}))
}

/// Counts rows and bytes.
#[utoipa::path(
    get, path = "/v1/db/stats", tag = "hosts",
    responses(
        (status = 200, body = schema::Stats),
        (status = "default", body = schema::Problem, content_type = "application/problem+json", description = "What is wrong.")
    )
)]
pub async fn stats(State(api): State<Api>) -> Result<Json<Value>, Problem> {
    Ok(Json(stats_value(&api.queue.stats().await?)))
}

/// The body of a prune; what is left out is as the daemon is set. Ages such as `30d`, or `never`.
#[derive(Deserialize, Default, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Prune)]
pub(super) struct Wanted {
    finished: Option<String>,
    dead: Option<String>,
    content: Option<String>,
    after: Option<i64>,
}

/// Removes what is finished and old enough, for ten seconds at most.
#[utoipa::path(
    post, path = "/v1/db/prune", tag = "hosts",
    request_body = Option<Wanted>,
    responses(
        (status = 200, body = schema::Pruned),
        (status = "default", body = schema::Problem, content_type = "application/problem+json", description = "What is wrong.")
    )
)]
pub async fn prune(
    State(api): State<Api>,
    caller: Caller,
    body: Body,
) -> Result<Json<Value>, Problem> {
    let body = read(body, api.max_body).await?;
    let wanted: Wanted = match body.is_empty() {
        true => Wanted::default(),
        false => serde_json::from_slice(&body).map_err(|error| {
            let detail = format!("the body: {}", suggest::reword(&error.to_string()));
            Problem::new(StatusCode::BAD_REQUEST, detail)
        })?,
    };
    let kept = &api.settings.current().retention;
    let retention = Retention {
        finished: age("finished", wanted.finished.as_deref(), kept.finished)?,
        dead: age("dead", wanted.dead.as_deref(), kept.dead)?,
        content: age("content", wanted.content.as_deref(), kept.content)?,
    };
    let began = Instant::now();
    let mut sum = Pruned { next: wanted.after, ..Pruned::default() };
    loop {
        sum = add(sum, api.queue.prune(&retention, sum.next).await?);
        if sum.next.is_none() || began.elapsed() >= PRUNE_FOR {
            let pruned = pruned_value(&sum);
            if sum != (Pruned { next: sum.next, ..Pruned::default() }) {
                api.audit.record(&caller.actor, "db.prune", &api.database, pruned.clone()).await?;
            }
            return Ok(Json(pruned));
        }
        tokio::task::yield_now().await;
    }
}

fn age(
    field: &str,
    given: Option<&str>,
    or: Option<Duration>,
) -> Result<Option<Duration>, Problem> {
    match given {
        None => Ok(or),
        Some("never") => Ok(None),
        Some(text) => {
            units::parse_span(text).map(Some).map_err(|problem| Problem::field(field, &problem))
        }
    }
}

pub fn pruned_value(pruned: &Pruned) -> Value {
    json!({
        "notifications": pruned.notifications,
        "deliveries": pruned.deliveries,
        "attempts": pruned.attempts,
        "contents": pruned.contents,
        "next": pruned.next,
    })
}

pub fn hosts_value(hosts: &[HostRecord]) -> Value {
    let items = hosts.iter().map(|host| {
        json!({
            "id": host.told.id,
            "name": host.told.name,
            "version": host.told.version,
            "listen": host.told.listen,
            "state": if host.live { "live" } else { "silent" },
            "started": host.started,
            "seen": host.seen,
            "destinations": host.told.destinations,
        })
    });
    json!({"items": items.collect::<Vec<_>>(), "next": null})
}

pub fn stats_value(stats: &Stats) -> Value {
    let rows = |rows: &Rows| json!({"count": rows.count, "exact": rows.exact});
    json!({
        "notifications": rows(&stats.notifications),
        "deliveries": rows(&stats.deliveries),
        "attempts": stats.attempts.as_ref().map(rows),
        "arrived": rows(&stats.arrived),
        "live": rows(&stats.live),
        "dead": rows(&stats.dead),
        "cancelled": rows(&stats.cancelled),
        "oldest_due_ms": stats.oldest_due.map(|overdue| overdue.as_millis()),
        "bytes": {
            "total": stats.sizes.total,
            "log": stats.sizes.log,
            "free": stats.sizes.free,
            "notifications": stats.sizes.notifications,
            "deliveries": stats.sizes.deliveries,
            "attempts": stats.sizes.attempts,
        },
    })
}
