//! The HTTP API, version 1.
//!
//! - [`notifications`]: taking them in, and looking at them.
//! - [`ingest`]: formats that other systems speak.
//! - [`deliveries`]: where they stand, with every attempt.
//! - [`breakers`]: destinations that are left alone.
//! - [`db`]: the store itself, and the hosts on it.
//! - `find`, `scan`: lists by a filter.
//! - [`batch`], `intake`: many at once, and what every way in has in common.
//! - [`dead`]: dead letters by what they died of.
//! - [`overview`]: everything at a glance, made once for all who ask.
//! - [`explain`]: where a notification would go.
//! - [`actions`]: redeliver, cancel and drop.
//! - [`destinations`]: pause, resume, test.
//! - [`events`]: what happens, as it happens.
//! - `openapi`, `schema`, `docs_page`: the API described.
//! - [`request_id`]: a name for each request.
//! - [`plugins`]: every version of them, and the operator's hand on them.
//! - [`registry`]: destinations in force.
//! - [`extract`]: parts of a request, refused as problems.
//! - [`auth`]: who calls, what they may, and what they changed.
//! - [`gate`]: before there is anything to answer with.
//! - [`guard`]: web pages are kept out.
//! - [`problem`]: errors as `application/problem+json`.
//! - `trace`: the trace that a request belongs to.
//! - [`view`]: the JSON of what is stored.

pub mod actions;
pub mod auth;
pub mod batch;
pub mod breakers;
pub mod db;
pub mod dead;
pub mod deliveries;
pub mod destinations;
mod docs_page;
pub mod events;
pub mod explain;
pub mod extract;
mod find;
pub mod gate;
pub mod guard;
pub mod ingest;
mod intake;
pub mod notifications;
mod openapi;
pub mod overview;
pub mod plugins;
pub mod problem;
pub mod registry;
pub mod request_id;
mod scan;
mod schema;
mod trace;
pub mod view;

use std::ops::Deref;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use jiff::Timestamp;
use postrider_queue::{Access, Queue};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::dispatcher::Waker;
use crate::feed::Feed;
use crate::page;
use crate::plugins::asked::Asker;
use crate::registry::SharedRegistry;
use crate::settings::Settings;
use crate::signals::{Signals, probes, requests, scrape};
use crate::upkeep::admission::Admission;
use auth::audit::Audit;
use auth::doorman::{self, Doorman};
use problem::Problem;

/// What the handlers need: one for all requests.
#[derive(Clone)]
pub struct Api(Arc<Parts>);

/// Its parts.
pub struct Parts {
    pub queue: Arc<dyn Queue>,
    pub access: Arc<dyn Access>,
    pub audit: Audit,
    pub doorman: Doorman,
    pub registry: Arc<SharedRegistry>,
    pub waker: Waker,
    pub signals: Signals,
    /// Asks for a look at the plugins directory.
    pub asked: Asker,
    /// Largest request body, in bytes.
    pub max_body: usize,
    pub admission: Admission,
    pub feed: Feed,
    pub overview: overview::Overview,
    /// Ends what never ends by itself.
    pub feed_stop: CancellationToken,
    pub settings: Settings,
    /// The database as the settings name it, without a password.
    pub database: Arc<str>,
    pub now: fn() -> Timestamp,
    pub new_id: fn() -> uuid::Uuid,
}

impl Api {
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }
}

impl Deref for Api {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// Rows of a list, unless the caller asks for fewer.
pub const PAGE: u32 = 100;
/// Most rows of a list.
pub const MAX_PAGE: u32 = 1_000;

/// The routes.
pub fn router(api: Api) -> Router {
    openapi::with_description(described())
        .route("/v1/plugins/reload", get(plugins::show_reload))
        .route("/v1/events", get(events::listen))
        .route("/login", get(auth::routes::login_page).post(auth::routes::login))
        .route("/logout", post(auth::routes::logout))
        .route("/livez", get(probes::live))
        .route("/readyz", get(probes::ready))
        .route("/metrics", get(scrape::metrics))
        .route("/", get(page::index))
        .route("/assets/{file}", get(page::asset))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(from_fn_with_state(api.clone(), through))
        .with_state(api)
}

/// What comes before every handler. One layer for all: of each, axum copies the handler and boxes the answer.
async fn through(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    // For handlers that do not read bodies themselves, with an answer that says the limit.
    DefaultBodyLimit::max(api.max_body).apply(&mut request);
    let handled = async |request| next.run(request).await;
    let checked = async |request| doorman::check(&api.doorman, request, handled).await;
    let guarded = async |request| guard::no_pages(&api.settings, request, checked).await;
    requests::count(&api.signals, request, guarded).await
}

/// What programs may count on: all of `/v1/` but the stream of events.
fn described() -> OpenApiRouter<Api> {
    openapi::described()
        .routes(routes!(find::list, notifications::create))
        .routes(routes!(batch::create))
        .routes(routes!(notifications::show))
        .routes(routes!(explain::explain))
        .routes(routes!(ingest::cloudevents::create))
        .routes(routes!(ingest::alertmanager::create))
        .routes(routes!(ingest::notify::create))
        .routes(routes!(deliveries::list))
        .routes(routes!(actions::redeliver_many))
        .routes(routes!(actions::cancel_many))
        .routes(routes!(actions::put_away_many))
        .routes(routes!(deliveries::show))
        .routes(routes!(actions::redeliver))
        .routes(routes!(actions::cancel))
        .routes(routes!(actions::put_away))
        .routes(routes!(plugins::list))
        .routes(routes!(plugins::reload_all))
        .routes(routes!(plugins::show))
        .routes(routes!(plugins::reload))
        .routes(routes!(plugins::quarantine))
        .routes(routes!(plugins::release))
        .routes(routes!(plugins::rollback))
        .routes(routes!(dead::list))
        .routes(routes!(overview::show))
        .routes(routes!(destinations::list))
        .routes(routes!(destinations::show))
        .routes(routes!(destinations::pause))
        .routes(routes!(destinations::resume))
        .routes(routes!(destinations::test))
        .routes(routes!(db::hosts))
        .routes(routes!(db::status))
        .routes(routes!(db::stats))
        .routes(routes!(db::prune))
        .routes(routes!(auth::routes::tokens, auth::routes::create))
        .routes(routes!(auth::routes::revoke))
        .routes(routes!(auth::routes::whoami))
        .routes(routes!(auth::routes::audit))
        .routes(routes!(health))
}

/// The health report of the 2015 notifier, with the queue's size.
#[utoipa::path(
    get, path = "/healthz", tag = "hosts",
    responses(
        (status = 200, body = schema::Health),
        (status = "default", body = schema::Problem, content_type = "application/problem+json", description = "What is wrong.")
    )
)]
async fn health(State(api): State<Api>) -> Result<Json<Value>, Problem> {
    let size = api.queue.size().await?;
    Ok(Json(json!({"essential": false, "healthy": true, "details": {"queue_size": size}})))
}

async fn no_such_path() -> Problem {
    Problem::not_found("there is nothing at this path; the API's paths begin with /v1/")
}

async fn no_such_method() -> Problem {
    Problem::new(axum::http::StatusCode::METHOD_NOT_ALLOWED, "this path does not take this method")
}

/// A list's envelope: `next` is the cursor for `after`, none on the last page.
fn list(items: Vec<Value>, next: Option<i64>) -> Json<Value> {
    let next = next.map_or(Value::Null, |row| row.to_string().into());
    // Moved: `json!` would copy all items.
    let list = [("items", Value::Array(items)), ("next", next)];
    Json(list.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// The cursor after a page that is full; none where it is not.
fn next_of<T>(records: &[T], limit: u32, row: impl Fn(&T) -> i64) -> Option<i64> {
    let full = records.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
    records.last().filter(|_| full).map(row)
}

/// `limit` and `after` of a list, as the query has them.
#[derive(serde::Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct Paging {
    limit: Option<String>,
    after: Option<String>,
}

impl Paging {
    fn page(&self) -> Result<postrider_queue::Page, Problem> {
        let limit = match &self.limit {
            None => PAGE,
            Some(text) => {
                text.parse().ok().filter(|limit| (1..=MAX_PAGE).contains(limit)).ok_or_else(
                    || Problem::field("limit", &format!("must be a number from 1 to {MAX_PAGE}")),
                )?
            }
        };
        let after = match &self.after {
            None => None,
            Some(text) => Some(text.parse().map_err(|_any| {
                Problem::field("after", "must be the `next` of the page before")
            })?),
        };
        Ok(postrider_queue::Page { after, limit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_the_api_is_described_but_the_stream_and_a_name_like_any_other() {
        let (_, source) = include_str!("mod.rs").split_once("pub fn router").unwrap();
        let (routed, _) = source.split_once("fn described").unwrap();
        let hidden: Vec<&str> = routed
            .split("route(\"/v1/")
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
            .collect();
        assert_eq!(hidden, ["plugins/reload", "events"]);
    }

    #[test]
    fn no_two_bodies_share_a_name_in_the_description() {
        let document = serde_json::to_value(described().into_openapi()).unwrap();
        for (path, field) in [
            ("/v1/deliveries/redeliver", "dry_run"),
            ("/v1/deliveries/drop", "ids"),
            ("/v1/plugins/{name}/quarantine", "sha256"),
            ("/v1/destinations/{name}/pause", "reason"),
            ("/v1/tokens", "expires_after"),
            ("/v1/db/prune", "finished"),
        ] {
            let body = &document["paths"][path]["post"]["requestBody"];
            let schema = &body["content"]["application/json"]["schema"];
            let named = schema.get("$ref").or_else(|| schema["oneOf"][0].get("$ref"));
            let name = named.and_then(Value::as_str).and_then(|at| at.rsplit('/').next());
            let fields = &document["components"]["schemas"][name.unwrap_or_default()]["properties"];
            assert!(fields.get(field).is_some(), "{path}: {field} is not in {name:?}: {fields}");
        }
    }
}
