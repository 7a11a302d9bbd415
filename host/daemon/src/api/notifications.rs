//! Taking notifications in, and looking at them.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use postrider_core::{Draft, NotificationId, Schedule, TraceContext, suggest};
use postrider_queue::{DeliveryFilter, Enqueue, Enqueued, Page};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::extract::Named;
use super::problem::Problem;
use super::{Api, MAX_PAGE, deliveries, intake, schema, trace, view};

/// The body of `POST /v1/notifications`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewNotification)]
pub(super) struct Given {
    /// What happened, such as `disk.full`; at most 200 bytes, no white space.
    #[serde(rename = "type", default)]
    #[schema(required = true, value_type = String, max_length = 200, pattern = "^(?!postrider[.])[^\\s\\x00-\\x1f\\x7f-\\x9f]+$")]
    kind: Option<String>,
    #[serde(default)]
    #[schema(max_length = 500, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*$")]
    source: Option<String>,
    #[serde(default)]
    #[schema(max_length = 1000, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*$")]
    subject: Option<String>,
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, schema::LabelValue>)]
    labels: BTreeMap<String, String>,
    /// At most one of the three contents is given. Any JSON, null too, kept byte for byte.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = serde_json::Value)]
    content: Option<Box<RawValue>>,
    #[serde(default)]
    content_text: Option<String>,
    #[serde(default)]
    content_base64: Option<String>,
    #[serde(default)]
    #[schema(max_length = 200, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*$")]
    content_type: Option<String>,
    #[serde(default)]
    #[schema(min_length = 1, max_length = 500, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]+$")]
    idempotency_key: Option<String>,
    /// Durations such as `10m`; the second is the longer one.
    #[serde(default)]
    deliver_after: Option<String>,
    #[serde(default)]
    expires_after: Option<String>,
    /// W3C trace context, instead of the headers of these names. What is none is left out.
    #[serde(default)]
    traceparent: Option<String>,
    #[serde(default)]
    tracestate: Option<String>,
}

/// Takes a notification in; answers after the commit.
#[utoipa::path(
    post, path = "/v1/notifications", tag = "notifications",
    request_body = Given,
    responses(
        (status = 201, body = schema::Taken, description = "Stored."),
        (status = 200, body = schema::Taken, description = "The same came before under the same key."),
        (status = 409, body = schema::Problem, content_type = "application/problem+json", description = "The key came before with another notification."),
        (status = "default", body = schema::Problem, content_type = "application/problem+json", description = "What is wrong; nothing is stored.")
    )
)]
pub async fn create(
    State(api): State<Api>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let body = read(body, api.max_body).await?;
    api.admission.check()?;
    let (mut draft, schedule) = draft(parse(&body)?)?;
    trace::onto(&mut draft, &headers);
    let idempotency_key = draft.idempotency_key.clone();
    let notification = draft.accept(NotificationId((api.new_id)()), (api.now)())?;
    let destinations = api.registry.load().route(&notification);
    let item = Enqueue { notification, idempotency_key, schedule, destinations };
    let answers = intake::store(&api, vec![item]).await?;
    match answers.into_iter().next() {
        Some(Enqueued::Stored { id, deliveries }) => {
            Ok((StatusCode::CREATED, Json(json!({"id": id, "deliveries": deliveries}))))
        }
        Some(Enqueued::Existing { id, deliveries }) => {
            Ok((StatusCode::OK, Json(json!({"id": id, "deliveries": deliveries}))))
        }
        Some(Enqueued::Conflict { id }) => Err(Problem::new(
            StatusCode::CONFLICT,
            format!("idempotency_key: was used before, for another notification ({id})"),
        )),
        None => Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the queue gave no answer")),
    }
}

/// One notification with its content, deliveries and attempts.
#[utoipa::path(
    get, path = "/v1/notifications/{id}", tag = "notifications",
    params(("id" = String, Path, description = "Its UUID.")),
    responses(
        (status = 200, body = schema::WholeNotification),
        (status = "default", body = schema::Problem, content_type = "application/problem+json", description = "What is wrong.")
    )
)]
pub async fn show(State(api): State<Api>, Named(id): Named) -> Result<Json<view::Whole>, Problem> {
    let id: NotificationId =
        id.parse().map_err(|_any| Problem::field("id", "is not the UUID of a notification"))?;
    let Some(record) = api.queue.notification(id).await? else {
        return Err(Problem::not_found(format!("there is no notification {id}")));
    };
    let page = Page { after: None, limit: MAX_PAGE };
    let filter = DeliveryFilter {
        state: None,
        destination: None,
        notification: Some(id),
        id: None,
        above: None,
        page,
    };
    let mut all = Vec::new();
    for delivery in api.queue.deliveries(&filter).await? {
        all.push(deliveries::with_attempts(&api, &delivery).await?);
    }
    let mut fields = view::notification(&record);
    fields.insert("deliveries".to_owned(), all.into());
    let content = (!record.pruned).then(|| view::content(&record.notification));
    Ok(Json(view::Whole { fields, content }))
}

fn given<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(value).map(Some)
}

/// What is read and dropped of a body that is too large, so that its sender is still there for the answer.
const DRAIN: usize = 16 << 20;

/// The whole body, unless it is larger than `limit` bytes.
pub(super) async fn read(mut body: Body, limit: usize) -> Result<Bytes, Problem> {
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        let broken = |_any| {
            Problem::new(
                StatusCode::BAD_REQUEST,
                "the body ended before its length, or came too slowly",
            )
        };
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        if whole.len() + data.len() > limit {
            drain(body).await;
            let detail = format!("the body is larger than {limit} bytes (max_body)");
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.into())
}

async fn drain(mut body: Body) {
    let mut dropped = 0;
    while dropped <= DRAIN
        && let Some(Ok(frame)) = body.frame().await
    {
        dropped += frame.data_ref().map_or(0, Bytes::len);
    }
}

/// Reads the body of `POST /v1/notifications`.
pub(crate) fn read_draft(body: &[u8]) -> Result<(Draft, Schedule), Problem> {
    draft(parse(body)?)
}

/// One notification as its producer words it.
pub(super) fn parse(body: &[u8]) -> Result<Given, Problem> {
    if body.trim_ascii_start().first().is_some_and(|first| *first != b'{') {
        let detail = "it must be an object, such as {\"type\": \"alert.firing\"}";
        return Err(refused("a notification", detail));
    }
    parse_json(body, "a notification")
}

fn refused(what: &str, detail: &str) -> Problem {
    let detail = format!("the body is not {what} in JSON: {detail}");
    Problem::new(StatusCode::BAD_REQUEST, detail)
}

/// JSON whose errors name the field.
pub(super) fn parse_json<T: serde::de::DeserializeOwned>(
    body: &[u8],
    what: &str,
) -> Result<T, Problem> {
    // Keeping track of fields takes as long as reading: only what is refused is read once more, for its place.
    if let Ok(parsed) = serde_json::from_slice(body) {
        return Ok(parsed);
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let parsed = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let message = suggest::reword(&error.inner().to_string());
        match path.as_str() {
            "." | "?" => refused(what, &message),
            field => Problem::field(field, &message),
        }
    })?;
    json.end().map_err(|error| refused(what, &error.to_string()))?;
    Ok(parsed)
}

/// What is to be stored, and when it is to be sent.
pub(super) fn draft(body: Given) -> Result<(Draft, Schedule), Problem> {
    let schedule = Schedule::parse(body.deliver_after.as_deref(), body.expires_after.as_deref())?;
    let (content, content_type) = match (body.content, body.content_text, body.content_base64) {
        (None, None, None) => (Bytes::new(), "application/json"),
        (Some(json), None, None) => (Bytes::from(json.get().to_owned()), "application/json"),
        (None, Some(text), None) => (Bytes::from(text), "text/plain; charset=utf-8"),
        (None, None, Some(text)) => {
            let bytes = STANDARD.decode(text).map_err(|error| {
                Problem::field("content_base64", &format!("is not base64: {error}"))
            })?;
            (Bytes::from(bytes), "application/octet-stream")
        }
        (Some(_), _, _) | (None, Some(_), Some(_)) => {
            return Err(Problem::field(
                "content",
                "only one of content, content_text and content_base64 can be given",
            ));
        }
    };
    let draft = Draft {
        kind: body.kind.unwrap_or_default(),
        source: body.source.unwrap_or_default(),
        subject: body.subject,
        labels: body.labels,
        content_type: body.content_type.unwrap_or_else(|| content_type.to_owned()),
        content,
        idempotency_key: body.idempotency_key,
        trace: body
            .traceparent
            .and_then(|parent| TraceContext::parse(&parent, body.tracestate.as_deref())),
    };
    Ok((draft, schedule))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::to_bytes;
    use axum::response::IntoResponse;

    async fn refused(body: &str) -> String {
        let problem = match parse(body.as_bytes()).and_then(draft) {
            Err(problem) => problem,
            Ok((draft, _)) => draft
                .accept(NotificationId(uuid::Uuid::nil()), jiff::Timestamp::UNIX_EPOCH)
                .map(|_| ())
                .unwrap_err()
                .into(),
        };
        let response = problem.into_response();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        let body = to_bytes(response.into_body(), 10_000).await.unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[test]
    fn json_content_is_kept_byte_for_byte() {
        let (draft, _) =
            draft(parse(br#"{"type":"x","content":{"b": 1.50,  "a":[1]}}"#).unwrap()).unwrap();
        assert_eq!(draft.content, r#"{"b": 1.50,  "a":[1]}"#);
        assert_eq!(draft.content_type, "application/json");
    }

    #[test]
    fn a_schedule_is_given_as_durations() {
        let body = br#"{"type":"x","deliver_after":"10m","expires_after":"1h"}"#;
        let (_, schedule) = draft(parse(body).unwrap()).unwrap();
        assert_eq!(schedule, Schedule::parse(Some("10m"), Some("1h")).unwrap());
    }

    #[tokio::test]
    async fn bad_bodies_name_the_field() {
        for (body, expected) in [
            ("hello", "it must be an object"),
            (r#"["demo"]"#, "it must be an object"),
            (r#"{"type":"x"} {}"#, "trailing characters"),
            ("", "EOF while parsing"),
            (r#"{"type":5}"#, r#""field":"type""#),
            (r#"{"type":"x","content":null,"content_text":"y"}"#, "only one of content"),
            (r#"{"typ":"x"}"#, r#"unknown key \"typ\"; did you mean \"type\"?"#),
            (r#"{}"#, r#""field":"type""#),
            (r#"{"type":"x","content":1,"content_text":"y"}"#, "only one of content, content_text"),
            (r#"{"type":"x","content_base64":"?"}"#, "is not base64"),
            (r#"{"type":"x","deliver_after":"soon"}"#, r#""field":"deliver_after""#),
            (r#"{"type":"x","deliver_after":600}"#, r#""field":"deliver_after""#),
            (
                r#"{"type":"x","deliver_after":"1h","expires_after":"10m"}"#,
                "must be longer than deliver_after",
            ),
            (
                r#"{"type":"x","labels":{"a":"\u0007"}}"#,
                "labels.a: must not contain the control character",
            ),
            (r#"{"type":"x","labels":{"a":1}}"#, r#""field":"labels.a""#),
        ] {
            let error = refused(body).await;
            assert!(error.contains(expected), "{body}: {error}");
        }
    }
}
