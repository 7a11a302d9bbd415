//! The `[config]` table, checked.

use crate::Webhook;
use crate::body::{Body, Template};
use crate::signature::Signing;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Headers that this module sets; the host's own are refused by the host.
const RESERVED: [&str; 3] = ["webhook-id", "webhook-timestamp", "webhook-signature"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    url: String,
    #[serde(default)]
    method: Method,
    #[serde(default)]
    body: BodyKind,
    template: Option<String>,
    content_type: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    sign: Option<bool>,
}

#[derive(Deserialize, Default, Clone, Copy)]
#[serde(rename_all = "UPPERCASE")]
enum Method {
    #[default]
    Post,
    Put,
    Patch,
}

#[derive(Deserialize, Default, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum BodyKind {
    #[default]
    Content,
    Envelope,
    Template,
}

impl Config {
    pub(crate) fn into_webhook(self) -> Result<Webhook, String> {
        check_url(&self.url)?;
        self.headers.iter().try_for_each(|(name, value)| check_header(name, value))?;
        Ok(Webhook {
            method: self.method.name(),
            signing: Signing::from(self.sign),
            body: body(self.body, self.template, self.content_type)?,
            headers: self.headers.into_iter().collect(),
            url: self.url,
        })
    }
}

impl Method {
    fn name(self) -> &'static str {
        match self {
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
        }
    }
}

fn body(
    kind: BodyKind,
    template: Option<String>,
    content_type: Option<String>,
) -> Result<Body, String> {
    match (kind, template, content_type) {
        (BodyKind::Template, Some(template), content_type) => {
            let content_type = content_type.unwrap_or_else(|| "application/json".to_owned());
            check_value("content_type", &content_type)?;
            Ok(Body::Template(Template::new(template, content_type)?))
        }
        (BodyKind::Template, None, _) => {
            Err("config.template: missing; body = \"template\" needs it".to_owned())
        }
        (_, Some(_), _) => Err("config.template: used only with body = \"template\"".to_owned()),
        (_, _, Some(_)) => {
            Err("config.content_type: used only with body = \"template\"".to_owned())
        }
        (BodyKind::Content, None, None) => Ok(Body::Content),
        (BodyKind::Envelope, None, None) => Ok(Body::Envelope),
    }
}

/// Refuses what cannot be right. A URL may be or contain a token in place of a secret, so it need not parse.
fn check_url(url: &str) -> Result<(), String> {
    if url.trim().is_empty() {
        return Err("config.url: empty; expected an http or https URL".to_owned());
    }
    match url.split_once("://") {
        Some((scheme, _)) if !["http", "https"].contains(&scheme.to_ascii_lowercase().as_str()) => {
            Err(format!("config.url: scheme {scheme:?}; expected http or https"))
        }
        _ => Ok(()),
    }
}

fn check_header(name: &str, value: &str) -> Result<(), String> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || !name.bytes().all(token) {
        return Err(format!("config.headers: {name:?} is not a header name"));
    }
    if RESERVED.iter().any(|reserved| name.eq_ignore_ascii_case(reserved)) {
        return Err(format!("config.headers.{name}: set by the webhook module itself"));
    }
    check_value(&format!("headers.{name}"), value)
}

fn check_value(key: &str, value: &str) -> Result<(), String> {
    if value.contains(|c: char| c.is_control() && c != '\t') {
        return Err(format!("config.{key}: contains a control character"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn configure(config: Value) -> Result<Webhook, String> {
        serde_json::from_value::<Config>(config).map_err(|e| e.to_string())?.into_webhook()
    }

    fn error(config: Value) -> String {
        configure(config).err().expect("refused")
    }

    #[test]
    fn a_url_is_enough() {
        let webhook = configure(json!({ "url": "https://a.example/hook" })).expect("accepted");
        assert_eq!(webhook.method, "POST");
        assert!(matches!(webhook.body, Body::Content));
        assert_eq!(webhook.signing, Signing::IfSecret);
    }

    #[test]
    fn a_token_passes_for_a_url() {
        for url in ["7f3a9c", "HTTP://a.example", "https://a.example/\u{1}token\u{1}"] {
            assert!(configure(json!({ "url": url })).is_ok(), "{url}");
        }
    }

    #[test]
    fn an_impossible_url_is_refused() {
        assert!(error(json!({ "url": " " })).starts_with("config.url: empty"));
        assert_eq!(
            error(json!({ "url": "ftp://a.example" })),
            "config.url: scheme \"ftp\"; expected http or https"
        );
    }

    #[test]
    fn template_keys_go_with_the_template_body() {
        let with = |key: &str, value: &str| error(json!({ "url": "u", key: value }));
        assert!(with("template", "{{ id }}").starts_with("config.template: used only"));
        assert!(with("content_type", "text/plain").starts_with("config.content_type: used only"));
        assert!(with("body", "template").starts_with("config.template: missing"));
    }

    #[test]
    fn a_template_error_names_its_line() {
        let template = "{\n  \"text\": {{ content | tojson }},\n  {% if %}\n}";
        let error = error(json!({ "url": "u", "body": "template", "template": template }));
        assert!(error.starts_with("config.template: line 3: "), "{error}");
    }

    #[test]
    fn headers_are_checked() {
        let with =
            |name: &str, value: &str| error(json!({ "url": "u", "headers": { name: value } }));
        assert_eq!(with("x team", "a"), "config.headers: \"x team\" is not a header name");
        assert!(with("Webhook-Id", "a").starts_with("config.headers.Webhook-Id: set by"));
        assert!(with("x-team", "a\r\nb: c").starts_with("config.headers.x-team: contains"));
    }

    #[test]
    fn the_schema_knows_the_keys() {
        let schema: Value = serde_json::from_str(include_str!("config-schema.json")).expect("JSON");
        let known = error(json!({ "url": "u", "colour": "red" }));
        let keys = schema["properties"].as_object().expect("properties");
        assert_eq!(keys.len(), known.matches('`').count() / 2 - 1);
        assert!(keys.keys().all(|key| known.contains(&format!("`{key}`"))), "{known}");
    }
}
