//! The simple form, for scripts: a text with headers as ntfy takes it, or JSON as the Apprise API takes it.
//!
//! The text is the content, the title the subject, the kind `notify.KIND`, the tags labels: `tag` has them all, joined by
//! commas, and `tag.NAME` is `true` for each, so that `match = { labels = { "tag.ops" = ["true"] } }` finds one of many.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use postrider_core::{Draft, suggest};
use serde::Deserialize;
use serde_json::Value;

use super::super::Api;
use super::super::notifications::read;
use super::super::problem::Problem;
use super::super::schema;
use super::{media_type, one, take};

/// Kinds of a message, as the Apprise API names them.
const KINDS: [&str; 4] = ["info", "success", "warning", "failure"];
/// Formats of a body, with the content type that each is sent by.
const FORMATS: [(&str, &str); 3] = [
    ("text", "text/plain; charset=utf-8"),
    ("markdown", "text/markdown; charset=utf-8"),
    ("html", "text/html; charset=utf-8"),
];

/// A message, however it came.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    body: String,
    #[serde(rename = "type", default)]
    kind: Option<String>,
    #[serde(default)]
    format: Option<String>,
    #[serde(default, alias = "tags")]
    tag: Tags,
    #[serde(default)]
    source: Option<String>,
    #[serde(skip)]
    priority: Option<String>,
    #[serde(skip)]
    key: Option<String>,
}

/// Tags as a list, or as a text with commas or spaces between.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a text or a list of texts")]
enum Tags {
    Text(String),
    List(Vec<String>),
}

impl Default for Tags {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

impl Tags {
    fn names(&self) -> Vec<&str> {
        let between = |c: char| c == ',' || c.is_whitespace();
        let all: Vec<&str> = match self {
            Self::Text(text) => text.split(between).collect(),
            Self::List(list) => list.iter().flat_map(|text| text.split(between)).collect(),
        };
        all.into_iter().filter(|name| !name.is_empty()).collect()
    }
}

/// Takes a line of text in, or the JSON of the Apprise API.
#[utoipa::path(
    post, path = "/v1/notify", tag = "ingest",
    request_body(content((String = "text/plain"), (schema::Message = "application/json")), description = "A line of text, or the JSON of the Apprise API."),
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
    let mut message = match media_type(&headers).as_str() {
        "application/json" => parse(&body)?,
        // curl says that text is a form unless it is told otherwise.
        _text => Message { body: text(&body)?, ..Message::default() },
    };
    message.read(&headers)?;
    one(&take(&api, &headers, vec![message.draft()?], |_| String::new()).await?)
}

fn parse(body: &[u8]) -> Result<Message, Problem> {
    serde_json::from_slice(body).map_err(|error| {
        let message = suggest::reword(&error.to_string());
        let detail = format!("the body is not a message in JSON: {message}");
        Problem::new(StatusCode::BAD_REQUEST, detail)
    })
}

fn text(body: &[u8]) -> Result<String, Problem> {
    let text = std::str::from_utf8(body).map_err(|_any| {
        let detail =
            "the body is not UTF-8 text; send bytes to /v1/notifications as content_base64";
        Problem::new(StatusCode::BAD_REQUEST, detail)
    })?;
    Ok(text.to_owned())
}

impl Message {
    /// Takes over what headers say, with or without `X-` before their names.
    fn read(&mut self, headers: &HeaderMap) -> Result<(), Problem> {
        let header = |name: &str| -> Result<Option<String>, Problem> {
            let plain = headers.get(name);
            let Some(value) = plain.or_else(|| headers.get(format!("x-{name}"))) else {
                return Ok(None);
            };
            match std::str::from_utf8(value.as_bytes()) {
                Ok(text) => Ok(Some(text.to_owned())),
                Err(_) => Err(Problem::field(name, "is not UTF-8 text")),
            }
        };
        for (name, slot) in [
            ("title", &mut self.title),
            ("type", &mut self.kind),
            ("format", &mut self.format),
            ("source", &mut self.source),
            ("priority", &mut self.priority),
            ("idempotency-key", &mut self.key),
        ] {
            *slot = header(name)?.or(slot.take());
        }
        if let Some(tags) = header("tags")? {
            self.tag = Tags::Text(tags);
        }
        Ok(())
    }

    fn draft(self) -> Result<Draft, Problem> {
        let kind = self.kind.as_deref().unwrap_or("info");
        if !KINDS.contains(&kind) {
            return Err(unknown("type", kind, KINDS));
        }
        let format = self.format.as_deref().unwrap_or("text");
        let Some((_, content_type)) = FORMATS.iter().find(|(name, _)| *name == format) else {
            return Err(unknown("format", format, FORMATS.map(|(name, _)| name)));
        };
        let title = self.title.filter(|title| !title.is_empty());
        if self.body.is_empty() && title.is_none() {
            return Err(Problem::field("body", "is required, unless there is a title"));
        }
        let tags = self.tag.names();
        let mut labels: BTreeMap<String, String> =
            tags.iter().map(|name| (format!("tag.{name}"), "true".to_owned())).collect();
        if !tags.is_empty() {
            labels.insert("tag".to_owned(), tags.join(","));
        }
        labels.extend(self.priority.map(|priority| ("priority".to_owned(), priority)));
        Ok(Draft {
            kind: format!("notify.{kind}"),
            source: self.source.unwrap_or_default(),
            subject: title,
            labels,
            content_type: (*content_type).to_owned(),
            content: self.body.into(),
            idempotency_key: self.key,
            trace: None,
        })
    }
}

fn unknown<const N: usize>(field: &str, given: &str, known: [&'static str; N]) -> Problem {
    let given: String = given.chars().flat_map(char::escape_debug).collect();
    let choices = known.join(", ");
    Problem::field(field, &format!("\"{given}\" is not known; use one of {choices}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn of_text(body: &str, pairs: &[(&'static str, &str)]) -> Result<Draft, Problem> {
        let mut message = Message { body: body.to_owned(), ..Message::default() };
        message.read(&headers(pairs))?;
        message.draft()
    }

    #[test]
    fn a_line_of_text_is_enough() {
        let draft = of_text("backup done", &[]).unwrap();
        assert_eq!((draft.kind.as_str(), &draft.content[..]), ("notify.info", &b"backup done"[..]));
        assert_eq!(draft.content_type, "text/plain; charset=utf-8");
        assert_eq!((draft.subject, draft.idempotency_key), (None, None));
    }

    #[test]
    fn headers_say_the_rest() {
        let draft = of_text(
            "no room",
            &[
                ("X-Title", "db1"),
                ("tags", "ops, db"),
                ("Type", "failure"),
                ("Priority", "5"),
                ("Idempotency-Key", "k"),
                ("format", "markdown"),
            ],
        )
        .unwrap();
        assert_eq!(
            (draft.kind.as_str(), draft.subject.as_deref()),
            ("notify.failure", Some("db1"))
        );
        assert_eq!(draft.labels.get("tag").unwrap(), "ops,db");
        assert_eq!(draft.labels.get("tag.db").unwrap(), "true");
        assert_eq!(draft.labels.get("priority").unwrap(), "5");
        assert_eq!(draft.content_type, "text/markdown; charset=utf-8");
        assert_eq!(draft.idempotency_key.as_deref(), Some("k"));
    }

    #[test]
    fn json_of_the_apprise_api_is_taken() {
        let body = br#"{"title":"T","body":"B","type":"warning","format":"html","tag":["a","b"]}"#;
        let draft = parse(body).unwrap().draft().unwrap();
        assert_eq!((draft.kind.as_str(), draft.subject.as_deref()), ("notify.warning", Some("T")));
        assert_eq!((draft.labels.len(), &draft.content[..]), (3, &b"B"[..]));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let said = |problem: Problem| format!("{problem:?}");
        for (result, expected) in [
            (of_text("", &[]), "body: is required"),
            (of_text("x", &[("type", "panic")]), "use one of info, success, warning, failure"),
            (of_text("x", &[("format", "pdf")]), "use one of text, markdown, html"),
            (parse(br#"{"bdy":"x"}"#).and_then(Message::draft), "did you mean"),
            (parse(br#"{"tag":5}"#).and_then(Message::draft), "a text or a list of texts"),
        ] {
            let error = said(result.unwrap_err());
            assert!(error.contains(expected), "{error}");
        }
    }
}
