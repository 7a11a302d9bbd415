//! The operator's hand on deliveries: one by its number, or many by a query.

use std::collections::BTreeSet;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use postrider_core::{DeliveryId, DeliveryState, suggest};
use postrider_queue::{DeliveryFilter, DeliveryRecord, MAX_BATCH, Page, QueueError};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::auth::caller::Caller;
use super::extract::{Named, sought};
use super::notifications::read;
use super::problem::Problem;
use super::{Api, deliveries, schema};

/// Longest note for the audit, in bytes.
const NOTE: usize = 500;

/// What is done to a delivery.
#[derive(Clone, Copy)]
enum Action {
    Redeliver,
    Cancel,
    /// Puts a dead one away.
    Drop,
}

/// Which deliveries: the body of a bulk action.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChosenDeliveries {
    /// redeliver: dead by default, cancelled or pending; cancel: pending by default, or leased; drop: dead.
    #[serde(default)]
    state: Option<String>,
    #[serde(default)]
    destination: Option<String>,
    /// Those only whose last reason is this, to the letter.
    #[serde(default)]
    reason: Option<String>,
    /// Those only of these numbers; at most 1000, and no `after` beside them.
    #[serde(default)]
    ids: Option<Vec<i64>>,
    /// Why it is done, for the audit; at most 500 bytes.
    #[serde(default)]
    note: String,
    /// Counts only.
    #[serde(default)]
    dry_run: bool,
    /// Most deliveries of this call.
    #[serde(default)]
    limit: Option<usize>,
    /// The `next` of the call before.
    #[serde(default)]
    after: Option<String>,
}

/// Revives a dead or cancelled delivery, and makes a pending one due now.
#[utoipa::path(
    post, path = "/v1/deliveries/{id}/redeliver", tag = "deliveries", params(("id" = i64, Path, description = "Its number.")),
    responses(
        (status = 200, body = schema::WholeDelivery),
        (status = "default", body = schema::Problem, content_type = "application/problem+json", description = "What is wrong.")
    )
)]
pub async fn redeliver(
    State(api): State<Api>,
    caller: Caller,
    Named(id): Named,
) -> Result<Json<Value>, Problem> {
    Action::Redeliver.on_one(&api, &caller, &id).await
}

/// Ends a delivery that is pending or being sent.
#[utoipa::path(
    post, path = "/v1/deliveries/{id}/cancel", tag = "deliveries", params(("id" = i64, Path, description = "Its number.")),
    responses(
        (status = 200, body = schema::WholeDelivery),
        (status = "default", body = schema::Problem, content_type = "application/problem+json", description = "What is wrong.")
    )
)]
pub async fn cancel(
    State(api): State<Api>,
    caller: Caller,
    Named(id): Named,
) -> Result<Json<Value>, Problem> {
    Action::Cancel.on_one(&api, &caller, &id).await
}

/// Puts a dead delivery away: it becomes cancelled, with its history.
#[utoipa::path(
    post, path = "/v1/deliveries/{id}/drop", tag = "deliveries", params(("id" = i64, Path, description = "Its number.")),
    responses(
        (status = 200, body = schema::WholeDelivery),
        (status = "default", body = schema::Problem, content_type = "application/problem+json", description = "What is wrong.")
    )
)]
pub async fn put_away(
    State(api): State<Api>,
    caller: Caller,
    Named(id): Named,
) -> Result<Json<Value>, Problem> {
    Action::Drop.on_one(&api, &caller, &id).await
}

/// Redelivers all that a query matches, up to 1000 a call.
#[utoipa::path(
    post, path = "/v1/deliveries/redeliver", tag = "deliveries",
    request_body = Option<ChosenDeliveries>,
    responses(
        (status = 200, body = schema::Acted),
        (status = "default", body = schema::Problem, content_type = "application/problem+json", description = "What is wrong.")
    )
)]
pub async fn redeliver_many(
    State(api): State<Api>,
    caller: Caller,
    body: Body,
) -> Result<Json<Value>, Problem> {
    Action::Redeliver.on_many(&api, &caller, body).await
}

/// Cancels all that a query matches, up to 1000 a call.
#[utoipa::path(
    post, path = "/v1/deliveries/cancel", tag = "deliveries",
    request_body = Option<ChosenDeliveries>,
    responses(
        (status = 200, body = schema::Acted),
        (status = "default", body = schema::Problem, content_type = "application/problem+json", description = "What is wrong.")
    )
)]
pub async fn cancel_many(
    State(api): State<Api>,
    caller: Caller,
    body: Body,
) -> Result<Json<Value>, Problem> {
    Action::Cancel.on_many(&api, &caller, body).await
}

/// Puts all dead ones away that a query matches, up to 1000 a call.
#[utoipa::path(
    post, path = "/v1/deliveries/drop", tag = "deliveries",
    request_body = Option<ChosenDeliveries>,
    responses(
        (status = 200, body = schema::Acted),
        (status = "default", body = schema::Problem, content_type = "application/problem+json", description = "What is wrong.")
    )
)]
pub async fn put_away_many(
    State(api): State<Api>,
    caller: Caller,
    body: Body,
) -> Result<Json<Value>, Problem> {
    Action::Drop.on_many(&api, &caller, body).await
}

impl Action {
    /// As the audit has it.
    fn name(self) -> &'static str {
        match self {
            Self::Redeliver => "delivery.redeliver",
            Self::Cancel => "delivery.cancel",
            Self::Drop => "delivery.drop",
        }
    }

    async fn on_one(self, api: &Api, caller: &Caller, id: &str) -> Result<Json<Value>, Problem> {
        let before = deliveries::find(api, id).await?;
        if self.on(api, &[before.id]).await? == 0 {
            let state = before.state.name();
            let detail = match self {
                Self::Redeliver => {
                    format!("the delivery is {state}: there is nothing to redeliver")
                }
                Self::Cancel => format!("the delivery is {state}: there is nothing to cancel"),
                Self::Drop => format!("the delivery is {state}: only dead ones can be dropped"),
            };
            return Err(Problem::new(StatusCode::CONFLICT, detail));
        }
        let details = json!({"destination": before.destination, "was": before.state.name()});
        api.overview.changed();
        api.audit.record(&caller.actor, self.name(), &format!("delivery {id}"), details).await?;
        let after = deliveries::find(api, id).await?;
        Ok(Json(deliveries::with_attempts(api, &after).await?))
    }

    async fn on_many(self, api: &Api, caller: &Caller, body: Body) -> Result<Json<Value>, Problem> {
        let chosen = parse(&read(body, api.max_body).await?)?;
        let filter = self.filter(&chosen)?;
        let (found, next) = match &chosen.ids {
            Some(ids) => (named(api, &filter, ids).await?, None),
            None => deliveries::found(api, &filter).await?,
        };
        let next = next.map(|next| next.to_string());
        let same = |record: &&DeliveryRecord| {
            chosen.reason.as_ref().is_none_or(|reason| *reason == record.reason)
        };
        let ids: Vec<DeliveryId> = found.iter().filter(same).map(|record| record.id).collect();
        let (mut done, mut gone) = (0, 0);
        if !chosen.dry_run {
            (done, gone) = self.on_each(api, &ids).await?;
            let first = ids.last().map(|id| id.0);
            let details = json!({
                "state": filter.state.map(|state| state.name()),
                "destination": filter.destination,
                "ids": {"from": first, "to": ids.first().map(|id| id.0)},
                "done": done,
                "reason": chosen.reason,
                "note": chosen.note,
            });
            if done > 0 {
                api.overview.changed();
                api.audit.record(&caller.actor, self.name(), "deliveries", details).await?;
            }
        }
        Ok(Json(json!({"found": ids.len(), "done": done, "gone": gone, "next": next})))
    }

    /// Which ones, and at most how many.
    fn filter(self, chosen: &ChosenDeliveries) -> Result<DeliveryFilter, Problem> {
        use DeliveryState::{Cancelled, Dead, Leased, Pending};
        let (by_default, possible): (_, &[DeliveryState]) = match self {
            Self::Redeliver => (Dead, &[Dead, Cancelled, Pending]),
            Self::Cancel => (Pending, &[Pending, Leased]),
            Self::Drop => (Dead, &[Dead]),
        };
        let given: Option<DeliveryState> = match &chosen.state {
            None => None,
            Some(text) => {
                Some(text.parse().map_err(|problem: String| Problem::field("state", &problem))?)
            }
        };
        let state = given.unwrap_or(by_default);
        if !possible.contains(&state) {
            let names: Vec<&str> = possible.iter().map(|state| state.name()).collect();
            let detail = format!("must be one of {}", names.join(", "));
            return Err(Problem::field("state", &detail));
        }
        let limit = chosen.limit.unwrap_or(MAX_BATCH);
        if !(1..=MAX_BATCH).contains(&limit) {
            let detail = format!("must be a number from 1 to {MAX_BATCH}");
            return Err(Problem::field("limit", &detail));
        }
        if chosen.note.len() > NOTE || chosen.note.contains(char::is_control) {
            let detail = format!("must be at most {NOTE} bytes without control characters");
            return Err(Problem::field("note", &detail));
        }
        let ids = chosen.ids.as_deref().unwrap_or_default();
        if ids.len() > MAX_BATCH || (chosen.ids.is_some() && chosen.after.is_some()) {
            let detail = format!("must be at most {MAX_BATCH}, and not beside `after`");
            return Err(Problem::field("ids", &detail));
        }
        let after = chosen.after.as_ref().map(|text| text.parse()).transpose();
        let wrong = |_any| Problem::field("after", "must be the `next` of the call before");
        let page =
            Page { after: after.map_err(wrong)?, limit: u32::try_from(limit).unwrap_or(u32::MAX) };
        let destination = sought("destination", chosen.destination.clone())?;
        Ok(DeliveryFilter {
            state: Some(state),
            destination,
            notification: None,
            id: None,
            above: None,
            page,
        })
    }

    /// Answers how many it was done to, and how many had lost their content.
    async fn on_each(self, api: &Api, ids: &[DeliveryId]) -> Result<(u64, u64), Problem> {
        match self.on(api, ids).await {
            Ok(done) => return Ok((done, 0)),
            Err(QueueError::Pruned(_)) => {}
            Err(error) => return Err(error.into()),
        }
        // Only now and then: content goes before its rows where the retention says so.
        let (mut done, mut gone) = (0, 0);
        for id in ids {
            match self.on(api, &[*id]).await {
                Ok(count) => done += count,
                Err(QueueError::Pruned(_)) => gone += 1,
                Err(error) => return Err(error.into()),
            }
        }
        Ok((done, gone))
    }

    async fn on(self, api: &Api, ids: &[DeliveryId]) -> Result<u64, QueueError> {
        let done = match self {
            Self::Redeliver => api.queue.redeliver(ids).await?,
            Self::Cancel => api.queue.cancel(ids).await?,
            Self::Drop => api.queue.put_away(ids).await?,
        };
        if done > 0 {
            api.waker.wake();
        }
        Ok(done)
    }
}

/// Those of these numbers that the filter lets through, newest first.
async fn named(
    api: &Api,
    filter: &DeliveryFilter,
    ids: &[i64],
) -> Result<Vec<DeliveryRecord>, Problem> {
    let ids: BTreeSet<i64> = ids.iter().copied().collect();
    let mut found = Vec::with_capacity(ids.len());
    for id in ids.into_iter().rev() {
        let one = DeliveryFilter { id: Some(DeliveryId(id)), ..filter.clone() };
        let record = api.queue.deliveries(&one).await?.pop();
        // An id goes before the other fields of a filter.
        let wanted = |record: &DeliveryRecord| {
            filter.state.is_none_or(|state| state == record.state)
                && filter.destination.as_ref().is_none_or(|name| *name == record.destination)
        };
        found.extend(record.filter(wanted));
    }
    Ok(found)
}

fn parse(body: &[u8]) -> Result<ChosenDeliveries, Problem> {
    if body.trim_ascii().is_empty() {
        return Ok(ChosenDeliveries::default());
    }
    serde_json::from_slice(body).map_err(|error| {
        let detail =
            format!("the body is no choice in JSON: {}", suggest::reword(&error.to_string()));
        Problem::new(StatusCode::BAD_REQUEST, detail)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filtered(action: Action, body: &str) -> Result<DeliveryFilter, String> {
        let chosen = parse(body.as_bytes()).map_err(|problem| format!("{problem:?}"))?;
        action.filter(&chosen).map_err(|problem| format!("{problem:?}"))
    }

    #[test]
    fn without_a_word_the_dead_are_redelivered_and_the_pending_cancelled() {
        let dead = filtered(Action::Redeliver, "").unwrap();
        assert_eq!(dead.state, Some(DeliveryState::Dead));
        assert_eq!(dead.page.limit as usize, MAX_BATCH);
        let pending = filtered(Action::Cancel, "{}").unwrap();
        assert_eq!(pending.state, Some(DeliveryState::Pending));
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        for (action, body, expected) in [
            (Action::Redeliver, r#"{"state":"delivered"}"#, "one of dead, cancelled, pending"),
            (Action::Cancel, r#"{"state":"dead"}"#, "one of pending, leased"),
            (Action::Cancel, r#"{"state":"ded"}"#, "did you mean"),
            (Action::Cancel, r#"{"limit":0}"#, "from 1 to 1000"),
            (Action::Cancel, r#"{"after":"x"}"#, "the `next` of the call before"),
            (Action::Cancel, r#"{"dryrun":true}"#, "did you mean"),
            (Action::Drop, r#"{"ids":[1],"after":"7"}"#, "not beside `after`"),
            (Action::Drop, r#"{"note":"a\u0007"}"#, "without control characters"),
            (Action::Drop, r#"{"destination":"\u0000"}"#, "control character U+0000"),
        ] {
            let error = filtered(action, body).unwrap_err();
            assert!(error.contains(expected), "{body}: {error}");
        }
    }
}
