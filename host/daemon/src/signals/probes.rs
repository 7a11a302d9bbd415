//! `GET /livez`: a supervisor restarts what does not answer, or has a loop that stands still. `GET /readyz`: a load
//! balancer sends nobody to what cannot work now.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::Signals;
use super::pulse;
use crate::api::Api;

/// A loop that is overdue by more than this will not come by itself; a slow database makes nobody so late.
const STUCK: Duration = Duration::from_secs(300);
/// A queue that takes longer to say its size is of no use to callers either.
const PATIENCE: Duration = Duration::from_secs(2);

type Answer = (StatusCode, Json<Value>);

/// `GET /livez`: 503 only where a restart would help.
pub async fn live(State(api): State<Api>) -> Answer {
    let stuck: Vec<&str> = api.signals.stuck().collect();
    let body = json!({"live": stuck.is_empty(), "stuck": stuck});
    (status(stuck.is_empty()), Json(body))
}

/// `GET /readyz`: which loop is late, whether the queue answers, and which generation of the registry is in force.
pub async fn ready(State(api): State<Api>) -> Answer {
    let mut problems = api.signals.problems();
    match timeout(PATIENCE, api.queue.size_within(1)).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => problems.push(error.to_string()),
        Err(_elapsed) => problems.push(format!("the queue did not answer within {PATIENCE:?}")),
    }
    let registry = api.registry.load();
    if registry.generation == 0 {
        problems.push("the plugins directory was not read yet".to_owned());
    }
    let body = json!({
        "ready": problems.is_empty(),
        "problems": problems,
        "generation": registry.generation,
        "settings": {
            "refused": api.settings.is_refused(),
            "need_restart": api.settings.waiting(),
        },
        "loops": api.signals.loops(),
    });
    (status(problems.is_empty()), Json(body))
}

impl Signals {
    /// The loops that stand still: what a supervisor's watchdog asks for.
    pub fn stuck(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.0.pulse.states().filter(|state| state.late > STUCK).map(|state| state.who.name())
    }

    /// The loops that are overdue now; each may come yet.
    pub fn late(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.0.pulse.states().filter(pulse::State::is_late).map(|state| state.who.name())
    }

    /// How each loop is.
    pub fn loops(&self) -> Vec<Value> {
        self.0.pulse.states().map(|state| value(&state)).collect()
    }

    /// What is wrong with the loops, in words.
    pub fn problems(&self) -> Vec<String> {
        self.0.pulse.states().filter_map(|state| problem(&state)).collect()
    }
}

fn status(well: bool) -> StatusCode {
    if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

fn problem(state: &pulse::State) -> Option<String> {
    let name = state.who.name();
    match state.since {
        None => Some(format!("the loop \"{name}\" has not begun yet")),
        Some(since) if state.is_late() => Some(format!(
            "the loop \"{name}\" is late: its last round was {} s ago",
            since.as_secs()
        )),
        Some(_) => None,
    }
}

fn value(state: &pulse::State) -> Value {
    json!({
        "name": state.who.name(),
        "late": state.is_late(),
        "last_ms": state.since.map(|since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)),
    })
}
