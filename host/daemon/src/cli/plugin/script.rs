//! A receiver that answers as it is told, one answer after the other; the last one goes on.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use async_trait::async_trait;
use axum::http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use bytes::Bytes;
use postrider_core::suggest::toml_error;
use postrider_core::units::Span;
use postrider_sandbox::offline::{NoAnswer, Receiver};
use serde::Deserialize;
use serde_json::{Value, json};

/// What happens to one request.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "AnswerFile")]
pub(super) struct Answer {
    pub(super) kind: Kind,
    delay: Duration,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Status {
        status: StatusCode,
        headers: Vec<(HeaderName, HeaderValue)>,
        body: Bytes,
    },
    /// The connection ends before an answer.
    Close,
    /// There is no connection.
    Refuse,
    /// Nothing comes, ever.
    Hang,
}

/// The table `[[answer]]` of a file.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct AnswerFile {
    status: Option<u16>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Option<String>,
    json: Option<Value>,
    delay: Option<Span>,
    #[serde(default)]
    close: bool,
    #[serde(default)]
    refuse: bool,
    #[serde(default)]
    hang: bool,
}

/// A file of answers alone.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Script {
    answer: Vec<Answer>,
}

impl Answer {
    /// An answer of this status without a body.
    pub(super) fn status(status: u16) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
        Self::of(Kind::Status { status, headers: Vec::new(), body: Bytes::new() })
    }

    pub(super) fn of(kind: Kind) -> Self {
        Self { kind, delay: Duration::ZERO }
    }

    #[must_use]
    pub(super) fn header(mut self, name: &'static str, value: &str) -> Self {
        if let (Kind::Status { headers, .. }, Ok(value)) = (&mut self.kind, value.parse()) {
            headers.push((HeaderName::from_static(name), value));
        }
        self
    }

    #[must_use]
    pub(super) fn body(mut self, bytes: impl Into<Bytes>) -> Self {
        if let Kind::Status { body, .. } = &mut self.kind {
            *body = bytes.into();
        }
        self
    }

    /// Reads what `--answer` says: a file of `[[answer]]`, or words such as `429 retry-after=30`.
    pub(super) fn read(given: &str) -> Result<Vec<Self>> {
        if Path::new(given).extension().is_some_and(|end| end.eq_ignore_ascii_case("toml")) {
            let text = fs::read_to_string(given).with_context(|| format!("cannot read {given}"))?;
            let script: Script =
                toml::from_str(&text).map_err(|e| anyhow!("{given}: {}", toml_error(&text, &e)))?;
            return Ok(script.answer);
        }
        let mut words = given.split_whitespace();
        let mut file = AnswerFile::default();
        match words.next().unwrap_or_default() {
            "close" => file.close = true,
            "refuse" => file.refuse = true,
            "hang" => file.hang = true,
            status => {
                let wrong = || {
                    anyhow!(
                        "--answer \"{given}\": \"{status}\" is no status; say such as 200, \"429 retry-after=30\", \
                         close, refuse, hang, or name a .toml file with [[answer]] tables"
                    )
                };
                file.status = Some(status.parse().map_err(|_any| wrong())?);
            }
        }
        for word in words {
            let pair = word.split_once('=');
            let (name, value) = pair.ok_or_else(|| {
                anyhow!("--answer \"{given}\": \"{word}\" is no header; write name=value, or use a .toml file")
            })?;
            file.headers.insert(name.to_owned(), value.to_owned());
        }
        let answer = Self::try_from(file).map_err(|e| anyhow!("--answer \"{given}\": {e}"))?;
        Ok(vec![answer])
    }

    /// One line for people.
    pub(super) fn line(&self) -> String {
        let what = match &self.kind {
            Kind::Status { status, .. } => status.to_string(),
            Kind::Close => "closed before an answer".to_owned(),
            Kind::Refuse => "no connection".to_owned(),
            Kind::Hang => "no answer, ever".to_owned(),
        };
        match self.delay.is_zero() {
            true => what,
            false => format!("{what}, after {:?}", self.delay),
        }
    }
}

impl TryFrom<AnswerFile> for Answer {
    type Error = String;

    fn try_from(file: AnswerFile) -> Result<Self, String> {
        let delay = file.delay.map_or(Duration::ZERO, |span| span.0);
        let ends: Vec<(&str, Kind)> = [
            ("close", file.close, Kind::Close),
            ("refuse", file.refuse, Kind::Refuse),
            ("hang", file.hang, Kind::Hang),
        ]
        .into_iter()
        .filter_map(|(name, is_set, kind)| is_set.then_some((name, kind)))
        .collect();
        let speaks = file.status.is_some() || file.body.is_some() || file.json.is_some();
        match ends.as_slice() {
            [] => {}
            [(_, kind)] if !speaks && file.headers.is_empty() => {
                return Ok(Self { kind: kind.clone(), delay });
            }
            [(name, _), ..] => {
                return Err(format!("an answer with {name} has nothing else but a delay"));
            }
        }
        let number = file.status.unwrap_or(200);
        let status = StatusCode::from_u16(number)
            .ok()
            .filter(|_| (200..600).contains(&number))
            .ok_or_else(|| format!("status {number} is not one of 200 to 599"))?;
        let mut headers = Vec::new();
        for (name, value) in file.headers {
            let header = (HeaderName::try_from(&name).ok(), HeaderValue::try_from(&value).ok());
            let (Some(name), Some(value)) = header else {
                return Err(format!("headers: {name:?} = {value:?} is no header"));
            };
            headers.push((name, value));
        }
        let body = match (file.body, file.json) {
            (Some(_), Some(_)) => return Err("an answer has a body or json, not both".to_owned()),
            (Some(text), None) => text,
            (None, Some(value)) => value.to_string(),
            (None, None) => String::new(),
        };
        Ok(Self { kind: Kind::Status { status, headers, body: body.into() }, delay })
    }
}

/// A request that came, with the values of secrets as `{{secret:name}}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) method: String,
    pub(super) url: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    /// What it was answered.
    pub(super) answer: String,
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Whether `text` stands anywhere in it.
    pub(super) fn holds(&self, text: &str) -> bool {
        self.url.contains(text)
            || self.text().contains(text)
            || self.headers.iter().any(|(_, value)| value.contains(text))
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "method": self.method, "url": self.url, "headers": self.headers, "body": self.text(),
            "answer": self.answer,
        })
    }
}

/// The receiver.
pub(super) struct Scripted {
    answers: Vec<Answer>,
    /// Values and names.
    secrets: Vec<(String, String)>,
    /// Whether requests are kept.
    keeps: bool,
    seen: Mutex<Vec<Seen>>,
}

impl Scripted {
    /// Without answers it says 200 to everything.
    pub(super) fn new(mut answers: Vec<Answer>, secrets: &BTreeMap<String, String>) -> Arc<Self> {
        if answers.is_empty() {
            answers.push(Answer::status(200));
        }
        let secrets = secrets.iter().map(|(name, value)| (value.clone(), name.clone()));
        Arc::new(Self { answers, secrets: secrets.collect(), keeps: true, seen: Mutex::default() })
    }

    /// Says 200 to everything and keeps nothing.
    pub(super) fn forgetful() -> Arc<Self> {
        let answers = vec![Answer::status(200)];
        Arc::new(Self { answers, secrets: Vec::new(), keeps: false, seen: Mutex::default() })
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn next(&self, request: &Request<Bytes>) -> Answer {
        match (self.keeps, self.answers.first()) {
            (false, Some(only)) => only.clone(),
            _ => self.keep(request),
        }
    }

    fn keep(&self, request: &Request<Bytes>) -> Answer {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = self.answers.get(seen.len()).or(self.answers.last());
        let answer = answer.cloned().unwrap_or_else(|| Answer::status(200));
        let headers = request.headers().iter().map(|(name, value)| {
            (name.to_string(), self.hidden(&String::from_utf8_lossy(value.as_bytes())))
        });
        let body = match std::str::from_utf8(request.body()) {
            Ok(text) => self.hidden(text).into_bytes(),
            Err(_) => request.body().to_vec(),
        };
        seen.push(Seen {
            method: request.method().to_string(),
            url: self.hidden(&request.uri().to_string()),
            headers: headers.collect(),
            body,
            answer: answer.line(),
        });
        answer
    }

    fn hidden(&self, text: &str) -> String {
        self.secrets
            .iter()
            .filter(|(value, _)| !value.is_empty())
            .fold(text.to_owned(), |text, (value, name)| {
                text.replace(value.as_str(), &format!("{{{{secret:{name}}}}}"))
            })
    }
}

#[async_trait]
impl Receiver for Scripted {
    async fn answer(
        &self,
        request: Request<Bytes>,
        left: Duration,
    ) -> Result<Response<Bytes>, NoAnswer> {
        let answer = self.next(&request);
        // A wait beyond the deadline ends in one way only; nobody need sit through it.
        if matches!(answer.kind, Kind::Hang) || answer.delay >= left {
            return Err(NoAnswer::Timeout);
        }
        if !answer.delay.is_zero() {
            tokio::time::sleep(answer.delay).await;
        }
        match answer.kind {
            Kind::Status { status, headers, body } => {
                let mut response = Response::new(body);
                *response.status_mut() = status;
                response.headers_mut().extend(headers);
                Ok(response)
            }
            Kind::Close => Err(NoAnswer::Broken("the connection closed before an answer".into())),
            Kind::Refuse => Err(NoAnswer::Connect("connection refused".into())),
            Kind::Hang => Err(NoAnswer::Timeout),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(url: &str) -> Request<Bytes> {
        let mut request = Request::new(Bytes::from_static(b"key s3cret"));
        *request.uri_mut() = url.parse().unwrap();
        request
    }

    #[tokio::test]
    async fn answers_come_in_their_order_and_the_last_goes_on() {
        let answers = ["429 retry-after=30", "close", "refuse", "201"];
        let answers = answers.iter().flat_map(|given| Answer::read(given).unwrap()).collect();
        let secrets = BTreeMap::from([("token".to_owned(), "s3cret".to_owned())]);
        let receiver = Scripted::new(answers, &secrets);
        let mut said = Vec::new();
        for _ in 0..5 {
            let answer = receiver.answer(request("https://x/s3cret"), Duration::MAX).await;
            said.push(match answer {
                Ok(response) => response.status().to_string(),
                Err(NoAnswer::Broken(_)) => "broken".to_owned(),
                Err(other) => format!("{other:?}"),
            });
        }
        assert_eq!(said[0], "429 Too Many Requests");
        assert_eq!(said[1..3], ["broken", "Connect(\"connection refused\")"]);
        assert_eq!(said[3..], ["201 Created", "201 Created"]);
        let seen = receiver.seen();
        assert_eq!((seen.len(), seen[0].url.as_str()), (5, "https://x/{{secret:token}}"));
        assert_eq!(seen[0].text(), "key {{secret:token}}");
    }

    #[tokio::test]
    async fn a_wait_beyond_the_deadline_is_not_sat_through() {
        for given in ["hang", "[[answer]]\ndelay = '1h'"] {
            let answers = match given {
                "hang" => Answer::read(given).unwrap(),
                file => toml::from_str::<Script>(file).unwrap().answer,
            };
            let receiver = Scripted::new(answers, &BTreeMap::new());
            let answer = receiver.answer(request("https://x/"), Duration::from_secs(29)).await;
            assert_eq!(answer.unwrap_err(), NoAnswer::Timeout);
        }
    }

    #[test]
    fn what_is_no_answer_is_named() {
        let error = |given: &str| Answer::read(given).unwrap_err().to_string();
        assert!(error("ok").contains("\"ok\" is no status"));
        assert!(error("429 soon").contains("\"soon\" is no header"));
        assert!(error("99").contains("status 99 is not one of 200 to 599"));
        assert!(error("close a=b").contains("has nothing else"));
        assert!(error("none.toml").contains("cannot read none.toml"));
        let file = |text: &str| {
            let error = toml::from_str::<Script>(text).unwrap_err();
            toml_error(text, &error)
        };
        let near = file("[[answer]]\nstatus = 200\nhaeders = {}");
        assert!(near.starts_with("line 3: unknown key \"haeders\"; did you mean"), "{near}");
        assert!(file("[[answer]]\nstatus = 2").starts_with("line 1: status 2"));
        assert!(file("[[answer]]\nbody = ''\njson = 1").contains("not both"));
    }
}
