//! Everything at a glance: made once, for all who ask within a moment.
//!
//! *Invariant:* however many pages are open, the queue is asked as often as for one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use jiff::Timestamp;
use postrider_core::HostId;
use postrider_queue::{Backlog, Blocked, Hold, HostRecord, QueueError, Rows};
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::{Api, db, destinations, schema};
use crate::signals::rates::Hour;

/// How long one answer serves all.
const FRESH: Duration = Duration::from_secs(2);
/// And so many times as long as it took to make: a slow queue is not asked more often than it can bear.
const SHARE: u32 = 20;
/// A page would rather see old numbers than none.
const PATIENCE: Duration = Duration::from_secs(5);

/// The newest answer. Cheap to clone: all are one.
#[derive(Clone)]
pub struct Overview(Arc<Inner>);

struct Inner {
    host: HostId,
    told: Mutex<Told>,
    /// Somebody changed something through this host.
    changed: AtomicBool,
}

#[derive(Default)]
struct Told {
    text: Bytes,
    until: Option<Instant>,
    counted: Option<Counted>,
}

/// What the queue said last.
struct Counted {
    at: Timestamp,
    backlog: Vec<Backlog>,
    holds: Vec<Hold>,
    blocked: Vec<Blocked>,
    hosts: Vec<HostRecord>,
}

/// Shows everything at a glance, no more than some seconds old: destinations with what waits and the last hour of this
/// host, hosts, loops, and what is refused.
#[utoipa::path(
    get, path = "/v1/overview", tag = "hosts",
    responses(
        (status = 200, body = schema::Overview),
        (status = "default", body = schema::Problem, content_type = "application/problem+json", description = "What is wrong.")
    )
)]
pub async fn show(State(api): State<Api>) -> Response {
    let text = api.overview.text(&api).await;
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

impl Overview {
    pub fn new(host: HostId) -> Self {
        let (told, changed) = (Mutex::default(), AtomicBool::new(false));
        Self(Arc::new(Inner { host, told, changed }))
    }

    /// Says that the newest answer is no longer true.
    pub fn changed(&self) {
        self.0.changed.store(true, Ordering::Relaxed);
    }

    async fn text(&self, api: &Api) -> Bytes {
        let mut told = self.0.told.lock().await;
        let changed = self.0.changed.swap(false, Ordering::Relaxed);
        if !changed && told.until.is_some_and(|until| Instant::now() < until) {
            return told.text.clone();
        }
        let began = Instant::now();
        let problem = match timeout(PATIENCE, count(api)).await {
            Ok(Ok(counted)) => {
                told.counted = Some(counted);
                None
            }
            Ok(Err(error)) => Some(error.to_string()),
            Err(_elapsed) => Some(format!("the queue did not answer within {PATIENCE:?}")),
        };
        told.text = self.worded(api, told.counted.as_ref(), problem).to_string().into();
        told.until = Some(Instant::now() + FRESH.max(began.elapsed() * SHARE));
        told.text.clone()
    }

    fn worded(&self, api: &Api, counted: Option<&Counted>, problem: Option<String>) -> Value {
        let registry = api.registry.load();
        let refused = registry.refusals().map(|(name, why)| json!({"name": name, "problem": why}));
        json!({
            "at": (api.now)(),
            "host": self.0.host,
            "version": env!("CARGO_PKG_VERSION"),
            "generation": registry.generation,
            "queue": {"problem": problem, "counted": counted.map(|counted| counted.at)},
            "loops": api.signals.loops(),
            "problems": api.signals.problems(),
            "refused": refused.collect::<Vec<_>>(),
            "destinations": destinations_of(api, counted),
            "hosts": counted.map_or(Value::Null, |counted| {
                db::hosts_value(&counted.hosts).get_mut("items").map_or(Value::Null, Value::take)
            }),
        })
    }
}

async fn count(api: &Api) -> Result<Counted, QueueError> {
    Ok(Counted {
        at: (api.now)(),
        backlog: api.queue.backlog().await?,
        holds: api.queue.holds().await?,
        blocked: api.queue.blocked().await?,
        hosts: api.queue.hosts().await?,
    })
}

/// Those that files name, and those that only have deliveries any more.
fn destinations_of(api: &Api, counted: Option<&Counted>) -> Vec<Value> {
    let registry = api.registry.load();
    let holds = counted.map_or(&[][..], |counted| &counted.holds);
    let blocked = counted.map(|counted| &*counted.blocked);
    let mut items = destinations::shown(&registry, holds, blocked);
    let known = |name: &str, items: &[Value]| items.iter().any(|item| named(item) == name);
    for one in counted.into_iter().flat_map(|counted| &counted.backlog) {
        if !known(&one.destination, &items) {
            let reason = "no file names it: what waits dies after orphan_after";
            items.push(json!({"name": one.destination, "state": "removed", "reason": reason}));
        }
    }
    let hours = api.signals.rates().hours();
    for item in &mut items {
        let name = named(item).to_owned();
        let none = Backlog { destination: name.clone(), ..exactly_nothing() };
        let backlog = counted.map(|counted| {
            let mut all = counted.backlog.iter();
            all.find(|one| one.destination == name).unwrap_or(&none)
        });
        if let Some(fields) = item.as_object_mut() {
            fields.extend(backlog.map(numbers).unwrap_or_default());
            fields.insert("hour".to_owned(), hour(hours.get(&name)));
        }
    }
    items
}

fn named(item: &Value) -> &str {
    item.get("name").and_then(Value::as_str).unwrap_or_default()
}

fn exactly_nothing() -> Backlog {
    let none = Rows { count: 0, exact: true };
    let (destination, oldest_due) = (String::new(), None);
    Backlog { destination, fresh: none, retries: none, due: none, dead: none, oldest_due }
}

fn numbers(backlog: &Backlog) -> Map<String, Value> {
    let rows = |rows: Rows| json!({"count": rows.count, "exact": rows.exact});
    let waiting = Rows {
        count: backlog.fresh.count + backlog.retries.count,
        exact: backlog.fresh.exact && backlog.retries.exact,
    };
    let fields = [
        ("waiting", rows(waiting)),
        ("due", rows(backlog.due)),
        ("retrying", rows(backlog.retries)),
        ("dead", rows(backlog.dead)),
        ("oldest_due_ms", json!(backlog.oldest_due.map(|age| age.as_millis()))),
    ];
    fields.map(|(name, value)| (name.to_owned(), value)).into_iter().collect()
}

/// Each minute as `[delivered, to be tried again, dead]`, the oldest first.
fn hour(hour: Option<&Hour>) -> Value {
    let Some(hour) = hour else { return json!({"rate": 0.0, "minutes": []}) };
    let minutes = hour.minutes.iter().map(|sum| [sum.delivered, sum.retried, sum.dead]);
    json!({"rate": (hour.rate * 100.0).round() / 100.0, "minutes": minutes.collect::<Vec<_>>()})
}
