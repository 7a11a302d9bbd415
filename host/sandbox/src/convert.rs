//! Between the domain's values and the contract's. What a guest hands back is cleaned here, once.

use std::time::Duration;

use bytes::Bytes;
use postrider_core::{Notification, Outcome, Receipt, Scope};

use crate::bindings::exports::postrider::notifier::handler as guest;
use crate::plugin::Description;
use crate::redact::Redactor;
use crate::text::{MAX_REASON, one_line};

/// Longest wait that a guest's `after-ms` can mean; the policy's own cap is shorter.
const MAX_AFTER: Duration = Duration::from_secs(365 * 86_400);
/// Longest name, version, origin or secret's name in a description, in characters.
const MAX_WORD: usize = 200;
/// Largest JSON Schema in a description, in bytes.
const MAX_SCHEMA: usize = 256 << 10;
/// Most origins or secrets in a description.
const MAX_LIST: usize = 100;

/// One part of a notification, ready for `send`.
pub(crate) struct Piece<'a> {
    pub(crate) notification: &'a Notification,
    pub(crate) content: &'a Bytes,
    pub(crate) attempt: u32,
    /// Position and number of parts; none where it was not split.
    pub(crate) part: Option<(u32, u32)>,
}

/// A piece that goes to another thread.
pub(crate) struct OwnedPiece {
    notification: Notification,
    content: Bytes,
    attempt: u32,
    part: Option<(u32, u32)>,
}

impl Piece<'_> {
    pub(crate) fn to_owned(&self) -> OwnedPiece {
        OwnedPiece {
            notification: self.notification.clone(),
            content: self.content.clone(),
            attempt: self.attempt,
            part: self.part,
        }
    }
}

impl OwnedPiece {
    pub(crate) fn piece(&self) -> Piece<'_> {
        let Self { notification, content, attempt, part } = self;
        Piece { notification, content, attempt: *attempt, part: *part }
    }
}

/// The contract's words for a piece: what it has no text of yet, and the lists of what it has.
pub(crate) struct Words<'a> {
    piece: &'a Piece<'a>,
    id: String,
    time: String,
    labels: Vec<(&'a str, &'a str)>,
    attributes: Vec<(&'a str, &'a str)>,
}

impl<'a> Words<'a> {
    pub(crate) fn of(piece: &'a Piece<'a>) -> Self {
        let n = piece.notification;
        Self {
            piece,
            id: match piece.part {
                Some((index, _)) => format!("{}.{index}", n.id),
                None => n.id.to_string(),
            },
            time: n.time.to_string(),
            labels: n.labels.iter().map(|(name, value)| (&**name, &**value)).collect(),
            attributes: attributes(n),
        }
    }

    pub(crate) fn to_guest(&self) -> guest::Notification<'_> {
        let Piece { notification: n, content, attempt, part } = *self.piece;
        guest::Notification {
            id: &self.id,
            kind: &n.kind,
            source: &n.source,
            subject: n.subject.as_deref(),
            time: &self.time,
            labels: &self.labels,
            content_type: &n.content_type,
            content,
            part: part.map(|(index, count)| guest::Part { index, count }),
            attempt,
            attributes: &self.attributes,
        }
    }
}

/// What the contract has no field for.
fn attributes(n: &Notification) -> Vec<(&str, &str)> {
    let Some(trace) = &n.trace else { return Vec::new() };
    let state = trace.state().map(|state| ("tracestate", state));
    [("traceparent", trace.parent())].into_iter().chain(state).collect()
}

pub(crate) fn to_outcome(
    answer: Result<guest::Receipt, guest::Failure>,
    redactor: &Redactor,
    longest: usize,
) -> Outcome {
    // In this order: a text that was cut first could end in half of a secret.
    let clean = |text: String| one_line(&redactor.redact(&text), longest);
    let clean_some = |text: Option<String>| text.map(clean).filter(|text| !text.is_empty());
    match answer {
        Ok(receipt) => Outcome::Delivered(Receipt {
            id: clean_some(receipt.id),
            note: clean_some(receipt.note),
        }),
        Err(guest::Failure::Retry(retry)) => Outcome::Retry {
            reason: clean(retry.reason),
            after: retry.after_ms.map(|ms| Duration::from_millis(ms).min(MAX_AFTER)),
            scope: match retry.scope {
                guest::Scope::Delivery => Scope::Delivery,
                guest::Scope::Destination => Scope::Destination,
            },
        },
        Err(guest::Failure::Rejected(reason)) => Outcome::Rejected { reason: clean(reason) },
        Err(guest::Failure::Gone(reason)) => Outcome::Gone { reason: clean(reason) },
    }
}

/// A guest's text as it may be shown: without secrets, one line, bounded.
pub(crate) fn clean(text: &str, redactor: &Redactor) -> String {
    one_line(&redactor.redact(text), MAX_REASON)
}

/// A description without what is out of bounds, and what was wrong with it.
pub(crate) fn to_description(given: guest::Description) -> (Description, Vec<String>) {
    let mut warnings = Vec::new();
    let mut warn = |text: String| warnings.push(text);
    let words = |list: Vec<String>| {
        list.iter().take(MAX_LIST).map(|word| one_line(word, MAX_WORD)).collect()
    };
    let config_schema = given.config_schema.filter(|schema| {
        let fits = schema.len() <= MAX_SCHEMA;
        let reads = fits && serde_json::from_str::<serde_json::Value>(schema).is_ok();
        if !reads {
            warn(format!(
                "its config-schema is no JSON of at most {MAX_SCHEMA} bytes; it is ignored"
            ));
        }
        reads
    });
    let max_content = given.max_content.filter(|max| {
        if *max == 0 {
            warn("its max-content is 0; it is ignored".to_owned());
        }
        *max > 0
    });
    let description = Description {
        name: one_line(&given.name, MAX_WORD),
        version: one_line(&given.version, MAX_WORD),
        summary: one_line(&given.summary, MAX_REASON),
        config_schema,
        origins: words(given.origins),
        secrets: words(given.secrets),
        max_content,
    };
    for origin in &description.origins {
        if let Err(error) = postrider_core::Grant::parse(origin) {
            warn(format!("it says that it wants {error}"));
        }
    }
    (description, warnings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_sees_the_trace() {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let of = |trace: Option<postrider_core::TraceContext>| {
            let id = postrider_core::NotificationId(uuid::Uuid::nil());
            let draft = postrider_core::Draft { kind: "x".to_owned(), trace, ..Default::default() };
            let notification = draft.accept(id, jiff::Timestamp::UNIX_EPOCH).unwrap();
            let content = &notification.content;
            let piece = Piece { notification: &notification, content, attempt: 1, part: None };
            let words = Words::of(&piece);
            let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            words.to_guest().attributes.iter().map(pair).collect::<Vec<_>>()
        };
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let traced = of(postrider_core::TraceContext::parse(parent, Some("a=1")));
        assert_eq!(traced, [pair("traceparent", parent), pair("tracestate", "a=1")]);
        assert_eq!(of(None), []);
    }

    #[test]
    fn an_endless_wait_and_an_endless_reason_are_bounded() {
        let retry = guest::Retry {
            reason: "x\n".repeat(100_000),
            after_ms: Some(u64::MAX),
            scope: guest::Scope::Destination,
        };
        let outcome = to_outcome(Err(guest::Failure::Retry(retry)), &Redactor::default(), 100);
        let Outcome::Retry { reason, after, scope } = outcome else { panic!("{outcome:?}") };
        assert_eq!(after, Some(MAX_AFTER));
        assert_eq!(scope, Scope::Destination);
        assert_eq!(reason.chars().count(), 101);
    }
}
