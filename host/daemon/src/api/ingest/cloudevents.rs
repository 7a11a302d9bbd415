//! CloudEvents 1.0 over HTTP: structured, binary and batched.
//!
//! `type`, `source` and `subject` are the notification's own; the data is its content, byte for byte where it is JSON;
//! `id`, `time` and `dataschema` become the labels `ce-id`, `ce-time` and `ce-dataschema`, and each extension a label of
//! its name, but `traceparent` and `tracestate` of the distributed tracing extension are the notification's trace. An event is known by `source` and `id` together, so one that comes again is stored once.
//!
//! Rules: CloudEvents 1.0.2, its HTTP protocol binding and its JSON event format.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use postrider_core::notification::MAX_SOURCE;
use postrider_core::{Draft, TraceContext};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::super::Api;
use super::super::notifications::read;
use super::super::problem::Problem;
use super::super::schema;
use super::super::trace::{PARENT, STATE};
use super::{digest, many, media_type, one, take};

const STRUCTURED: &str = "application/cloudevents+json";
const BATCHED: &str = "application/cloudevents-batch+json";
/// Attributes in headers begin with it.
const PREFIX: &str = "ce-";

/// An event in the JSON format.
#[derive(Deserialize)]
struct Event {
    #[serde(default, deserialize_with = "present")]
    data: Option<Box<RawValue>>,
    #[serde(default)]
    data_base64: Option<String>,
    #[serde(flatten)]
    attributes: BTreeMap<String, Value>,
}

/// Takes CloudEvents 1.0 in: structured, binary or batched.
#[utoipa::path(
    post, path = "/v1/cloudevents", tag = "ingest",
    request_body(content((schema::CloudEvent = "application/cloudevents+json"), (Vec<schema::CloudEvent> = "application/cloudevents-batch+json")), description = "CloudEvents 1.0: structured, batched, or binary with ce- headers."),
    responses(
        (status = 201, body = schema::Taken, description = "One that is new."),
        (status = 200, body = serde_json::Value, description = "One that came before, or many: `items`."),
        (status = "default", body = schema::Problem, content_type = "application/problem+json", description = "What is wrong.")
    )
)]
pub async fn create(
    State(api): State<Api>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let body = read(body, api.max_body).await?;
    match media_type(&headers).as_str() {
        STRUCTURED => {
            let draft = event(parse::<Event>(&body)?).map_err(|e| e.at(""))?;
            one(&take(&api, &headers, vec![draft], |_| String::new()).await?)
        }
        BATCHED => {
            let name = |place: usize| format!("[{place}].");
            let events = parse::<Vec<Event>>(&body)?.into_iter().enumerate();
            let drafts: Result<Vec<Draft>, Problem> = events
                .map(|(place, given)| event(given).map_err(|error| error.at(&name(place))))
                .collect();
            Ok(many(&take(&api, &headers, drafts?, name).await?))
        }
        other if headers.contains_key("ce-specversion") => {
            let draft = binary(&headers, other, body).map_err(|e| e.at("ce-"))?;
            one(&take(&api, &headers, vec![draft], |_| String::new()).await?)
        }
        other => Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!(
                "\"{}\" is no CloudEvent: send {STRUCTURED}, {BATCHED}, or the attributes in headers \
                 such as ce-specversion",
                other.escape_debug()
            ),
        )),
    }
}

/// An attribute that is not what it must be.
#[derive(Debug)]
struct Refused {
    attribute: String,
    problem: String,
}

impl Refused {
    fn at(self, place: &str) -> Problem {
        Problem::field(&format!("{place}{}", self.attribute), &self.problem)
    }
}

fn refused(attribute: &str, problem: impl Into<String>) -> Refused {
    let attribute = attribute.chars().flat_map(char::escape_debug).collect();
    Refused { attribute, problem: problem.into() }
}

fn present<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(value).map(Some)
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| {
        let detail = format!("the body is not a CloudEvent in JSON: {error}");
        Problem::new(StatusCode::BAD_REQUEST, detail)
    })
}

fn event(event: Event) -> Result<Draft, Refused> {
    let mut attributes = BTreeMap::new();
    for (name, value) in event.attributes {
        let text = match value {
            // "a JSON null is the same as an attribute that is left out"
            Value::Null => continue,
            Value::String(text) => text,
            Value::Bool(_) | Value::Number(_) => value.to_string(),
            Value::Array(_) | Value::Object(_) => {
                return Err(refused(&name, "must be a text, a number, true or false"));
            }
        };
        attributes.insert(name, text);
    }
    let media =
        attributes.remove("datacontenttype").unwrap_or_else(|| "application/json".to_owned());
    let content = match (event.data, event.data_base64) {
        (None, None) => Bytes::new(),
        (Some(data), None) => content(&data, &media),
        (None, Some(text)) => STANDARD
            .decode(text)
            .map_err(|error| refused("data_base64", format!("is not base64: {error}")))?
            .into(),
        (Some(_), Some(_)) => {
            return Err(refused("data_base64", "only one of data and data_base64 can be given"));
        }
    };
    draft(attributes, media, content)
}

/// A text is itself unless it is data in JSON.
fn content(data: &RawValue, media: &str) -> Bytes {
    let bare = media.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    let is_json = bare.ends_with("/json") || bare.ends_with("+json");
    match serde_json::from_str::<String>(data.get()) {
        Ok(text) if !is_json => text.into(),
        Ok(_) | Err(_) => data.get().to_owned().into(),
    }
}

fn binary(headers: &HeaderMap, media: &str, content: Bytes) -> Result<Draft, Refused> {
    let mut attributes = BTreeMap::new();
    for (name, value) in headers {
        let Some(name) = name.as_str().strip_prefix(PREFIX) else { continue };
        let text = std::str::from_utf8(value.as_bytes())
            .map_err(|_any| refused(name, "is not UTF-8 text"))?;
        attributes.insert(
            name.to_owned(),
            unescape(text).ok_or_else(|| {
                refused(name, "has a % that two hexadecimal digits of UTF-8 text do not follow")
            })?,
        );
    }
    draft(attributes, media.to_owned(), content)
}

/// HTTP binding 3.1.3.2: a value is percent-encoded where it is not printable ASCII, and may be quoted.
fn unescape(text: &str) -> Option<String> {
    let quoted = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let text = quoted.map_or_else(|| text.to_owned(), |inner| inner.replace("\\\"", "\""));
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or("").as_bytes().to_vec();
    for part in parts {
        let (hex, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(hex, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

fn draft(
    mut attributes: BTreeMap<String, String>,
    media: String,
    content: Bytes,
) -> Result<Draft, Refused> {
    let mut required = |name: &str| {
        attributes
            .remove(name)
            .filter(|text| !text.is_empty())
            .ok_or_else(|| refused(name, "is required by CloudEvents 1.0"))
    };
    let version = required("specversion")?;
    if version != "1.0" {
        return Err(refused("specversion", "is not a version that is known here; send 1.0"));
    }
    let (id, source, kind) = (required("id")?, required("source")?, required("type")?);
    let idempotency_key = Some(key(&source, &id));
    let subject = attributes.remove("subject");
    let trace = attributes
        .get(PARENT)
        .and_then(|parent| TraceContext::parse(parent, attributes.get(STATE).map(String::as_str)));
    if trace.is_some() {
        attributes.retain(|name, _| name != PARENT && name != STATE);
    }
    let mut labels = BTreeMap::from([("ce-id".to_owned(), id)]);
    for (name, text) in attributes {
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
            return Err(refused(&name, "is no name of an attribute: only a to z and digits are"));
        }
        let name = match name.as_str() {
            "time" | "dataschema" => format!("{PREFIX}{name}"),
            _extension => name,
        };
        labels.insert(name, text);
    }
    let content_type = media;
    Ok(Draft { kind, source, subject, labels, content_type, content, idempotency_key, trace })
}

/// One key for each pair: the source's length keeps apart what could be read in two ways.
fn key(source: &str, id: &str) -> String {
    let plain = format!("ce:{}:{source}:{id}", source.len());
    if plain.len() <= MAX_SOURCE {
        return plain;
    }
    format!("ce:{}", digest(&plain))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn structured(json: &str) -> Result<Draft, String> {
        event(serde_json::from_str(json).unwrap())
            .map_err(|error| format!("{}: {}", error.attribute, error.problem))
    }

    fn with_data(data: &str) -> Draft {
        let head = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","#;
        structured(&format!("{head}{data}}}")).unwrap()
    }

    #[test]
    fn attributes_become_fields_and_labels() {
        let draft = structured(
            r#"{"specversion":"1.0","id":"17","source":"/shop","type":"order.paid","subject":"17",
                "time":"2026-11-24T10:00:00Z","urgent":true,"shard":3,"nothing":null}"#,
        )
        .unwrap();
        assert_eq!((draft.kind.as_str(), draft.source.as_str()), ("order.paid", "/shop"));
        assert_eq!(draft.subject.as_deref(), Some("17"));
        let labels: Vec<(&str, &str)> =
            draft.labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let expected = [
            ("ce-id", "17"),
            ("ce-time", "2026-11-24T10:00:00Z"),
            ("shard", "3"),
            ("urgent", "true"),
        ];
        assert_eq!(labels, expected);
        assert_eq!(draft.idempotency_key.as_deref(), Some("ce:5:/shop:17"));
    }

    #[test]
    fn the_tracing_extension_is_the_trace() {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let head = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","tracestate":"a=1","#;
        let draft = structured(&format!(r#"{head}"traceparent":"{parent}"}}"#)).unwrap();
        let trace = draft.trace.unwrap();
        assert_eq!((trace.parent(), trace.state()), (parent, Some("a=1")));
        assert_eq!(draft.labels.len(), 1, "{:?}", draft.labels);
        // Another extension of that name is a label like any.
        let draft = structured(&format!(r#"{head}"traceparent":"mine"}}"#)).unwrap();
        assert_eq!((draft.trace, draft.labels["traceparent"].as_str()), (None, "mine"));
    }

    #[test]
    fn data_is_kept_as_it_is_worded() {
        let json = with_data(r#""data": {"b": 1.50}"#);
        assert_eq!(
            (json.content_type.as_str(), &json.content[..]),
            ("application/json", &br#"{"b": 1.50}"#[..])
        );
        assert_eq!(with_data(r#""data": "text""#).content, r#""text""#);
        let text = with_data(r#""datacontenttype": "text/plain", "data": "a\nb""#);
        assert_eq!((text.content_type.as_str(), &text.content[..]), ("text/plain", &b"a\nb"[..]));
        assert_eq!(with_data(r#""data_base64": "AAE=""#).content, [0u8, 1][..]);
        assert_eq!(with_data(r#""datacontenttype": "a/x+json", "data": "t""#).content, r#""t""#);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (json, expected) in [
            (r#"{"id":"1","source":"/s","type":"t"}"#, "specversion: is required"),
            (
                r#"{"specversion":"0.3","id":"1","source":"/s","type":"t"}"#,
                "specversion: is not a version",
            ),
            (r#"{"specversion":"1.0","id":"","source":"/s","type":"t"}"#, "id: is required"),
            (
                r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","Bad":1}"#,
                "Bad: is no name",
            ),
            (
                r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","a":[]}"#,
                "a: must be a text",
            ),
            (
                r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","data_base64":"?"}"#,
                "is not base64",
            ),
            (
                r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","data":1,"data_base64":""}"#,
                "only one of",
            ),
        ] {
            let error = structured(json).unwrap_err();
            assert!(error.contains(expected), "{json}: {error}");
        }
    }

    #[test]
    fn headers_are_unescaped() {
        assert_eq!(unescape("Euro%20%E2%82%AC").as_deref(), Some("Euro €"));
        assert_eq!(unescape(r#""a \"b\"""#).as_deref(), Some("a \"b\""));
        for bad in ["%", "%4", "%zz", "%ff", "%€"] {
            assert_eq!(unescape(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn two_events_have_two_keys(a in ("[a:/1]{0,4}", "[a:/1]{0,4}"), b in ("[a:/1]{0,4}", "[a:/1]{0,4}")) {
            prop_assert_eq!(key(&a.0, &a.1) == key(&b.0, &b.1), a == b);
        }

        #[test]
        fn any_key_fits(source in ".{0,600}", id in ".{0,600}") {
            prop_assert!(key(&source, &id).len() <= MAX_SOURCE);
        }
    }
}
