//! What a request carries.

use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use postrider_sdk::{Failure, Notification};
use serde::Serialize;
use serde_json::{Value, value::RawValue};
use std::collections::BTreeMap;

/// Instructions that one rendering may take: far above any message, far below the sandbox's deadline.
const FUEL: u64 = 1_000_000;

pub(crate) enum Body {
    /// The content as the producer sent it.
    Content,
    /// A JSON object with all the notification's fields.
    Envelope,
    Template(Template),
}

impl Body {
    /// The media type and the bytes for a notification.
    ///
    /// A template that fails on one notification would fail on it for ever: that is a rejection, so that the
    /// destination's fallback gets the notification at once.
    pub(crate) fn of(&self, notification: &Notification) -> Result<(String, Vec<u8>), Failure> {
        match self {
            Self::Content => Ok((notification.content_type.clone(), notification.content.clone())),
            Self::Envelope => match serde_json::to_vec(&Envelope::from(notification)) {
                Ok(body) => Ok(("application/json".to_owned(), body)),
                Err(error) => Err(Failure::rejected(format!("envelope: {error}"))),
            },
            Self::Template(template) => match template.render(notification) {
                Ok(body) => Ok((template.content_type.clone(), body.into_bytes())),
                Err(error) => Err(Failure::rejected(error)),
            },
        }
    }
}

/// A Jinja template that is known to parse.
pub(crate) struct Template {
    source: String,
    content_type: String,
}

impl Template {
    pub(crate) fn new(source: String, content_type: String) -> Result<Self, String> {
        environment().template_from_str(&source).map_err(|error| describe(&error))?;
        Ok(Self { source, content_type })
    }

    fn render(&self, notification: &Notification) -> Result<String, String> {
        let environment = environment();
        let variables = Serde(Variables::from(notification));
        let rendered = environment
            .template_from_str(&self.source)
            .and_then(|template| template.render(variables));
        rendered.map_err(|error| describe(&error))
    }
}

/// Chainable: a message with a hole in it is better than none, and producers leave labels out.
fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_undefined_behavior(UndefinedBehavior::Chainable);
    environment.set_fuel(Some(FUEL));
    environment
}

fn describe(error: &minijinja::Error) -> String {
    let line = error.line().map(|line| format!("line {line}: ")).unwrap_or_default();
    let detail = error.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
    format!("config.template: {line}{}{detail}", error.kind())
}

/// A notification's fields under the names that producers use.
#[derive(Serialize)]
struct Fields<'a> {
    id: &'a str,
    r#type: &'a str,
    source: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    time: &'a str,
    labels: BTreeMap<&'a str, &'a str>,
    content_type: &'a str,
    attempt: u32,
}

impl<'a> From<&'a Notification> for Fields<'a> {
    fn from(n: &'a Notification) -> Self {
        Self {
            id: &n.id,
            r#type: &n.kind,
            source: &n.source,
            subject: n.subject.as_deref(),
            time: &n.time,
            labels: n.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
            content_type: &n.content_type,
            attempt: n.attempt,
        }
    }
}

#[derive(Serialize)]
struct Envelope<'a> {
    #[serde(flatten)]
    fields: Fields<'a>,
    #[serde(flatten)]
    content: Content<'a>,
}

/// The content under the one key that says what it is. JSON goes in verbatim, so that large numbers survive.
#[derive(Serialize)]
enum Content<'a> {
    #[serde(rename = "content")]
    Json(&'a RawValue),
    #[serde(rename = "content_text")]
    Text(&'a str),
    #[serde(rename = "content_base64")]
    Binary(String),
}

impl<'a> From<&'a Notification> for Envelope<'a> {
    fn from(n: &'a Notification) -> Self {
        let raw = n.is_json().then(|| serde_json::from_slice(&n.content).ok()).flatten();
        let content = match (raw, n.text()) {
            (Some(raw), _) => Content::Json(raw),
            (None, Some(text)) => Content::Text(text),
            (None, None) => Content::Binary(crate::signature::base64(&n.content)),
        };
        Self { fields: Fields::from(n), content }
    }
}

/// What a template sees.
#[derive(Serialize)]
struct Variables<'a> {
    #[serde(flatten)]
    fields: Fields<'a>,
    content: Value,
}

impl<'a> From<&'a Notification> for Variables<'a> {
    fn from(n: &'a Notification) -> Self {
        let text = || Value::String(String::from_utf8_lossy(&n.content).into_owned());
        Self { fields: Fields::from(n), content: n.json().unwrap_or_else(text) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(content_type: &str, content: &[u8]) -> Notification {
        Notification {
            id: "0197".to_owned(),
            kind: "alert.firing".to_owned(),
            source: "prometheus".to_owned(),
            subject: Some("db1".to_owned()),
            time: "2026-01-02T03:04:05Z".to_owned(),
            labels: vec![("severity".to_owned(), "high".to_owned())],
            content_type: content_type.to_owned(),
            content: content.to_vec(),
            attempt: 2,
            ..Notification::default()
        }
    }

    fn envelope(content_type: &str, content: &[u8]) -> String {
        let (_, body) = Body::Envelope.of(&alert(content_type, content)).expect("a body");
        String::from_utf8(body).expect("UTF-8")
    }

    fn render(template: &str, notification: &Notification) -> Result<String, String> {
        Template::new(template.to_owned(), "text/plain".to_owned())?.render(notification)
    }

    #[test]
    fn content_goes_as_it_came() {
        let (content_type, body) = Body::Content.of(&alert("text/x", b"\xff\0")).expect("a body");
        assert_eq!((content_type.as_str(), body.as_slice()), ("text/x", b"\xff\0".as_slice()));
    }

    #[test]
    fn an_envelope_holds_json_verbatim() {
        assert_eq!(
            envelope("application/json", br#"{"n": 123456789012345678901234567890, "a": 1.10}"#),
            concat!(
                r#"{"id":"0197","type":"alert.firing","source":"prometheus","subject":"db1","#,
                r#""time":"2026-01-02T03:04:05Z","labels":{"severity":"high"},"#,
                r#""content_type":"application/json","attempt":2,"#,
                r#""content":{"n": 123456789012345678901234567890, "a": 1.10}}"#
            )
        );
    }

    #[test]
    fn an_envelope_says_what_is_not_json() {
        assert!(envelope("text/plain", b"7").ends_with(r#""content_text":"7"}"#));
        assert!(envelope("application/json", b"{").ends_with(r#""content_text":"{"}"#));
        assert!(envelope("image/png", b"\xff\xfe").ends_with(r#""content_base64":"//4="}"#));
    }

    #[test]
    fn a_template_sees_the_fields() {
        let json = alert("application/json", br#"{"disk":{"free":"3 <GB>"}}"#);
        let template = "{{ type }} {{ labels.severity }} {{ content.disk.free }} #{{ attempt }}";
        assert_eq!(render(template, &json).as_deref(), Ok("alert.firing high 3 <GB> #2"));
        let text = alert("text/plain", b"say \"hi\"\n");
        assert_eq!(render("{{ content | tojson }}", &text).as_deref(), Ok(r#""say \"hi\"\n""#));
    }

    #[test]
    fn what_is_missing_renders_empty() {
        let text = alert("text/plain", b"");
        assert_eq!(render("[{{ labels.team }}{{ content.a.b }}]", &text).as_deref(), Ok("[]"));
    }

    #[test]
    fn a_template_that_runs_for_ever_is_stopped() {
        let template =
            "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}";
        let error = render(template, &alert("text/plain", b"")).expect_err("stopped");
        assert!(error.contains("fuel"), "{error}");
    }

    #[test]
    fn a_failing_template_rejects_and_names_its_line() {
        let template = Template::new("\n{{ 1 / 0 }}".to_owned(), "text/plain".to_owned());
        let body = Body::Template(template.expect("parses"));
        let Err(Failure::Rejected(reason)) = body.of(&alert("text/plain", b"")) else {
            panic!("rejected");
        };
        assert!(reason.starts_with("config.template: line 2: "), "{reason}");
    }
}
