//! `GET /v1/notifications`: those that a filter lets through.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use jiff::{SignedDuration, Timestamp};
use postrider_core::units;
use postrider_queue::NotificationFilter;
use serde::Deserialize;
use serde_json::Value;

use super::extract::{Parameters, sought};
use super::problem::Problem;
use super::{Api, Paging, list as envelope, next_of, scan, schema, view};

/// The query.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// A pattern: `*` stands for any characters, `?` for one.
    #[serde(rename = "type")]
    kind: Option<String>,
    /// A pattern.
    source: Option<String>,
    /// `NAME=VALUE`, more of them separated by commas: all must be there.
    label: Option<String>,
    /// Moment (RFC 3339), or an age such as `2h`: from then on.
    since: Option<String>,
    /// Moment or age: before it.
    until: Option<String>,
    /// arrived, malformed, unrouted, live, delivered, dead or cancelled.
    state: Option<String>,
    /// Most rows, 1 to 1000; 100 by default.
    limit: Option<String>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// Lists notifications, newest first, without content. A page may be short, or empty, and yet have a `next`.
#[utoipa::path(
    get, path = "/v1/notifications", tag = "notifications", params(Wanted),
    responses(
        (status = 200, body = schema::Notifications),
        (status = "default", body = schema::Problem, content_type = "application/problem+json", description = "What is wrong.")
    )
)]
pub(super) async fn list(
    State(api): State<Api>,
    Parameters(wanted): Parameters<Wanted>,
) -> Result<Json<Value>, Problem> {
    let filter = filter(wanted, (api.now)())?;
    let (records, next) = if filter.is_narrow() {
        let range = scan::range(&*api.queue, &filter).await?;
        let fetch = |page, above| {
            let filter = NotificationFilter { page, above: Some(above), ..filter.clone() };
            let queue = api.queue.clone();
            async move { queue.find_notifications(&filter).await }
        };
        scan::scan(range, filter.page.limit, |record| record.row, fetch).await?
    } else {
        let records = api.queue.find_notifications(&filter).await?;
        let next = next_of(&records, filter.page.limit, |record| record.row);
        (records, next)
    };
    let items = records.iter().map(|record| Value::Object(view::notification(record)));
    Ok(envelope(items.collect(), next))
}

fn filter(wanted: Wanted, now: Timestamp) -> Result<NotificationFilter, Problem> {
    let page = Paging { limit: wanted.limit, after: wanted.after }.page()?;
    let state = wanted.state.map(|text| text.parse()).transpose();
    let state = state.map_err(|problem: String| Problem::field("state", &problem))?;
    let moment = |field: &str, text: Option<String>| {
        let moment = text.map(|text| moment(&text, now)).transpose();
        moment.map_err(|problem| Problem::field(field, &problem))
    };
    Ok(NotificationFilter {
        kind: sought("type", wanted.kind)?,
        source: sought("source", wanted.source)?,
        labels: labels(sought("label", wanted.label)?.as_deref())?,
        since: moment("since", wanted.since)?,
        until: moment("until", wanted.until)?,
        state,
        above: None,
        page,
    })
}

fn labels(text: Option<&str>) -> Result<BTreeMap<String, String>, Problem> {
    let pairs = text.into_iter().flat_map(|all| all.split(','));
    pairs
        .map(|pair| match pair.split_once('=') {
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            None => Err(Problem::field("label", "must be NAME=VALUE, such as severity=high")),
        })
        .collect()
}

/// A moment as RFC 3339 has it, or an age.
fn moment(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if let Ok(moment) = text.parse() {
        return Ok(moment);
    }
    let age = units::parse_span(text).ok().and_then(|age| SignedDuration::try_from(age).ok());
    age.and_then(|age| now.checked_sub(age).ok()).ok_or_else(|| {
        "must be a moment such as 2026-11-24T07:00:00Z, or an age such as 2h".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_may_be_an_age() {
        let now: Timestamp = "2026-11-24T07:00:00Z".parse().unwrap();
        assert_eq!(moment("2h", now), Ok(now - SignedDuration::from_hours(2)));
        assert_eq!(moment("2026-11-24T07:00:00Z", now), Ok(now));
        assert!(moment("yesterday", now).unwrap_err().contains("such as 2h"));
    }

    #[test]
    fn labels_come_in_one_text() {
        let found = labels(Some("a=1,b=x=y")).unwrap();
        assert_eq!(found, [("a".into(), "1".into()), ("b".into(), "x=y".into())].into());
        assert!(labels(Some("a")).is_err());
    }
}
