//! What a case expects, and how what came differs from it.

use std::collections::BTreeMap;

use postrider_core::filter::glob;
use postrider_core::units::Span;
use postrider_core::{Outcome, Scope};
use postrider_sandbox::Sent;
use serde::Deserialize;
use serde_json::Value;

use super::script::Seen;

/// The table `[expect]`. Texts are patterns, in which `*` stands for anything.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expect {
    outcome: Word,
    reason: Option<String>,
    /// How long it asks to wait.
    after: Option<Span>,
    scope: Option<ScopeWord>,
    /// The receipt's id.
    receipt: Option<String>,
    /// How many requests.
    requests: Option<usize>,
    /// The first requests, in their order.
    #[serde(default)]
    request: Vec<ExpectRequest>,
    /// Lines that must be among those logged, such as `info posted*`.
    #[serde(default)]
    log: Vec<String>,
}

/// An outcome under which attempts are recorded.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    Delivered,
    Retry,
    Rejected,
    Gone,
    Trap,
    Timeout,
    Limit,
    Configure,
    Host,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum ScopeWord {
    Delivery,
    Destination,
}

/// The table `[[expect.request]]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectRequest {
    method: Option<String>,
    url: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Option<String>,
    /// Of an object the keys that must be there; everything else whole.
    json: Option<Value>,
}

/// What came of a case.
pub(super) struct Came<'a> {
    /// None where the destination was refused.
    pub(super) sent: &'a Result<Sent, String>,
    pub(super) seen: &'a [Seen],
    pub(super) log: &'a [String],
}

impl Expect {
    /// One line for each difference.
    pub(super) fn differences(&self, came: &Came<'_>) -> Vec<String> {
        let mut all = Differences::default();
        match came.sent {
            Ok(sent) => self.check_outcome(&sent.outcome, &mut all),
            Err(problem) => {
                all.word("outcome", self.outcome.word(), "configure");
                all.text("reason", self.reason.as_deref(), problem);
            }
        }
        if let Some(wanted) = self.requests
            && wanted != came.seen.len()
        {
            all.add("requests", &wanted.to_string(), &came.seen.len().to_string());
        }
        for (place, wanted) in self.request.iter().enumerate() {
            let name = format!("request {}", place + 1);
            match came.seen.get(place) {
                Some(seen) => wanted.check(&name, seen, &mut all),
                None => all.add(&name, "a request", "none"),
            }
        }
        for wanted in &self.log {
            if !came.log.iter().any(|line| glob(wanted, line)) {
                let lines = match came.log {
                    [] => "no line".to_owned(),
                    some => some.join("\n"),
                };
                all.add("log", wanted, &lines);
            }
        }
        all.0
    }

    fn check_outcome(&self, outcome: &Outcome, all: &mut Differences) {
        let reason = outcome.reason();
        if self.outcome.word() != outcome.label() {
            all.add("outcome", self.outcome.word(), &format!("{}: {reason}", outcome.label()));
        }
        all.text("reason", self.reason.as_deref(), &reason);
        let (after, scope, receipt) = match outcome {
            Outcome::Retry { after, scope, .. } => (*after, Some(*scope), None),
            Outcome::Delivered(receipt) => (None, None, receipt.id.as_deref()),
            Outcome::Rejected { .. } | Outcome::Gone { .. } | Outcome::Fault { .. } => {
                (None, None, None)
            }
        };
        if let Some(Span(wanted)) = self.after
            && after != Some(wanted)
        {
            let came = after.map_or("none".to_owned(), |after| format!("{after:?}"));
            all.add("after", &format!("{wanted:?}"), &came);
        }
        if let Some(wanted) = self.scope {
            all.word("scope", wanted.word(), scope.map_or("none", |s| ScopeWord::of(s).word()));
        }
        all.text("receipt", self.receipt.as_deref(), receipt.unwrap_or("none"));
    }
}

impl ExpectRequest {
    fn check(&self, name: &str, seen: &Seen, all: &mut Differences) {
        let key = |part: &str| format!("{name} {part}");
        all.text(&key("method"), self.method.as_deref(), &seen.method);
        all.text(&key("url"), self.url.as_deref(), &seen.url);
        for (header, wanted) in &self.headers {
            let came = seen.header(header).unwrap_or("none");
            all.text(&key(&format!("header {header}")), Some(wanted), came);
        }
        let text = seen.text();
        all.text(&key("body"), self.body.as_deref(), &text);
        if let Some(wanted) = &self.json {
            let fits = serde_json::from_str(&text).is_ok_and(|came: Value| has(&came, wanted));
            if !fits {
                all.add(&key("json"), &wanted.to_string(), &text);
            }
        }
    }
}

/// Whether `came` has all of `wanted`.
fn has(came: &Value, wanted: &Value) -> bool {
    match (came, wanted) {
        (Value::Object(came), Value::Object(wanted)) => {
            wanted.iter().all(|(key, wanted)| came.get(key).is_some_and(|came| has(came, wanted)))
        }
        (Value::Array(came), Value::Array(wanted)) => {
            came.len() == wanted.len() && came.iter().zip(wanted).all(|(c, w)| has(c, w))
        }
        (Value::Number(came), Value::Number(wanted)) => came.as_f64() == wanted.as_f64(),
        _ => came == wanted,
    }
}

#[derive(Default)]
struct Differences(Vec<String>);

impl Differences {
    fn add(&mut self, what: &str, wanted: &str, came: &str) {
        self.0.push(format!(
            "{what}: expected {wanted}\n{:width$}  came {came}",
            "",
            width = what.len()
        ));
    }

    fn word(&mut self, what: &str, wanted: &str, came: &str) {
        if wanted != came {
            self.add(what, wanted, came);
        }
    }

    fn text(&mut self, what: &str, wanted: Option<&str>, came: &str) {
        if let Some(wanted) = wanted
            && !glob(wanted, came)
        {
            self.add(what, wanted, came);
        }
    }
}

impl Word {
    fn word(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Retry => "retry",
            Self::Rejected => "rejected",
            Self::Gone => "gone",
            Self::Trap => "trap",
            Self::Timeout => "timeout",
            Self::Limit => "limit",
            Self::Configure => "configure",
            Self::Host => "host",
        }
    }
}

impl ScopeWord {
    fn of(scope: Scope) -> Self {
        match scope {
            Scope::Delivery => Self::Delivery,
            Scope::Destination => Self::Destination,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Delivery => "delivery",
            Self::Destination => "destination",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use postrider_sandbox::Usage;

    use super::*;

    fn differences(expect: &str, outcome: Outcome) -> Vec<String> {
        let expect: Expect = toml::from_str(expect).unwrap();
        let sent = Sent { outcome, parts_done: 0, parts: 1, usage: Usage::default() };
        let seen = Seen {
            method: "POST".to_owned(),
            url: "https://x.test/hook".to_owned(),
            headers: vec![("idempotency-key".to_owned(), "7".to_owned())],
            body: br#"{"text":"disk is full","n":1,"list":[{"a":1,"b":2}]}"#.to_vec(),
            answer: "200 OK".to_owned(),
        };
        let log = ["info posted".to_owned()];
        expect.differences(&Came { sent: &Ok(sent), seen: &[seen], log: &log })
    }

    fn limited() -> Outcome {
        let after = Some(Duration::from_secs(30));
        Outcome::Retry { reason: "429 Too Many".into(), after, scope: Scope::Destination }
    }

    #[test]
    fn what_is_as_expected_differs_in_nothing() {
        let expect = r#"
            outcome = "retry"
            reason = "429*"
            after = "30s"
            scope = "destination"
            requests = 1
            log = ["info post*"]
            [[request]]
            method = "POST"
            url = "https://x.test/*"
            headers = { Idempotency-Key = "7" }
            body = "*disk*"
            json = { text = "disk is full", n = 1.0, list = [{ a = 1 }] }
        "#;
        assert_eq!(differences(expect, limited()), Vec::<String>::new());
    }

    #[test]
    fn each_difference_is_a_line_of_its_own() {
        let expect = r#"
            outcome = "delivered"
            reason = "503*"
            after = "31s"
            scope = "delivery"
            receipt = "m1"
            requests = 2
            log = ["warn*"]
            [[request]]
            method = "PUT"
            url = "https://y.test/*"
            headers = { x-team = "ops" }
            body = "disk"
            json = { text = "x" }
            [[request]]
        "#;
        let found = differences(expect, limited());
        let starts = [
            "outcome: expected delivered\n         came retry: 429 Too Many",
            "reason:",
            "after: expected 31s",
            "scope:",
            "receipt:",
            "requests: expected 2",
            "request 1 method:",
            "request 1 url:",
            "request 1 header x-team:",
            "request 1 body:",
            "request 1 json:",
            "request 2:",
            "log: expected warn*",
        ];
        assert_eq!(found.len(), starts.len(), "{found:#?}");
        for (found, start) in found.iter().zip(starts) {
            assert!(found.starts_with(start), "{found}");
        }
    }

    #[test]
    fn an_expectation_without_an_outcome_is_none() {
        let error = toml::from_str::<Expect>("reason = 'x'").unwrap_err();
        assert!(error.message().contains("outcome"), "{error}");
    }
}
