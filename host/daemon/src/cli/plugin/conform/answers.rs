//! What a receiver's answers must mean.

use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use postrider_core::Scope;

use super::super::script::{Answer, Kind};
use super::trial::{Came, Trial, judge};
use super::{Check, Verdict};

/// A wait that a receiver asks for.
const WAIT: Duration = Duration::from_secs(30);
/// How far a wait until a date may be off: of the clock's second, and of the time that the try itself takes.
const OFF: Duration = Duration::from_secs(10);
/// Larger than any answer that a destination takes by default.
const LARGE: usize = 2 << 20;

/// Answers by their statuses, with the outcomes that fit.
struct Statuses {
    name: &'static str,
    rule: &'static str,
    statuses: &'static [u16],
    fit: &'static [&'static str],
}

const STATUSES: [Statuses; 6] = [
    Statuses {
        name: "success",
        rule: "every 2xx is delivered",
        statuses: &[201, 202, 204],
        fit: &["delivered"],
    },
    Statuses {
        name: "outage",
        rule: "a 5xx is retried: the receiver may take it later",
        statuses: &[500, 502, 503, 504],
        fit: &["retry"],
    },
    Statuses {
        name: "later",
        rule: "408 and 429 are retried, also without Retry-After",
        statuses: &[408, 429],
        fit: &["retry"],
    },
    Statuses {
        name: "refused",
        rule: "a 4xx is final: the receiver understood and refused it",
        statuses: &[400, 401, 403, 404, 413, 422],
        fit: &["rejected", "gone"],
    },
    Statuses {
        name: "gone",
        rule: "410 means that the destination itself is dead",
        statuses: &[410],
        fit: &["gone"],
    },
    Statuses {
        name: "redirect",
        rule: "a redirect, which nobody follows, is no delivery",
        statuses: &[301, 302, 307],
        fit: &["rejected", "retry", "gone"],
    },
];

pub(super) async fn all(trial: &Trial<'_>, sends: bool) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    let mut add = |name, rule, result| {
        let skipped = || Verdict::Skip("it sends no requests".to_owned());
        checks.push(Check::of(name, rule, if sends { result } else { skipped() }));
    };
    for group in &STATUSES {
        let mut wrong = Vec::new();
        for status in group.statuses {
            let mut answer = Answer::status(*status);
            if (300..400).contains(status) {
                answer = answer.header("location", "https://elsewhere.example/");
            }
            let came = trial.answered(answer).await?;
            wrong.extend(judge(&status.to_string(), &came, |came| came.none_of(group.fit)));
        }
        add(group.name, group.rule, Verdict::of(wrong));
    }
    let rule = "429 with Retry-After in seconds waits that long, the whole destination";
    add("retry-after", rule, Verdict::of(seconds(trial).await?));
    let rule = "Retry-After as a date is understood or left aside; nonsense does no harm";
    add("odd-waits", rule, Verdict::of(odd_waits(trial).await?));
    let rule = "without a connection, without an answer or cut off, it is retried";
    add("no-answer", rule, Verdict::of(no_answer(trial).await?));
    let rule = "an answer too large to read or full of odd bytes does no harm";
    add("odd-answers", rule, Verdict::of(odd_answers(trial).await?));
    Ok(checks)
}

async fn seconds(trial: &Trial<'_>) -> Result<Vec<String>> {
    let answer = Answer::status(429).header("retry-after", "30");
    let came = trial.answered(answer).await?;
    let wrong = judge("429 with Retry-After: 30", &came, |came| {
        came.not("retry").or_else(|| match came.wait() {
            (Some(WAIT), Some(Scope::Destination)) => None,
            (Some(WAIT), _) => Some("it holds back this delivery only, not the destination".into()),
            (Some(other), _) => Some(format!("it asks to wait {other:?}")),
            (None, _) => Some("it asks for no wait".to_owned()),
        })
    });
    Ok(wrong.into_iter().collect())
}

#[expect(clippy::disallowed_methods, reason = "a date in an answer is by the clock on the wall")]
async fn odd_waits(trial: &Trial<'_>) -> Result<Vec<String>> {
    let date = Timestamp::now() + jiff::SignedDuration::try_from(WAIT).unwrap_or_default();
    let date = date.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let came = trial.answered(Answer::status(429).header("retry-after", &date)).await?;
    let wait = |came: &Came| match came.wait().0 {
        Some(wait) if wait.abs_diff(WAIT) > OFF => Some(format!("it asks to wait {wait:?}")),
        _ => None,
    };
    let mut wrong: Vec<String> =
        judge("a date in 30 s", &came, |came| came.not("retry").or_else(|| wait(came)))
            .into_iter()
            .collect();
    for odd in ["soon", "-1", "", "99999999999999999999999", "1e9", "Mon, 99 Foo 2026"] {
        let came = trial.answered(Answer::status(429).header("retry-after", odd)).await?;
        wrong.extend(judge(&format!("Retry-After: {odd}"), &came, |came| came.not("retry")));
    }
    Ok(wrong)
}

async fn no_answer(trial: &Trial<'_>) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for (what, kind) in [
        ("no connection", Kind::Refuse),
        ("no answer in time", Kind::Hang),
        ("cut off", Kind::Close),
    ] {
        let came = trial.answered(Answer::of(kind)).await?;
        wrong.extend(judge(what, &came, |came| came.not("retry")));
    }
    Ok(wrong)
}

async fn odd_answers(trial: &Trial<'_>) -> Result<Vec<String>> {
    let bytes: Vec<u8> = (0..=255).cycle().take(5_000).collect();
    let mut wrong = Vec::new();
    // Whether one that it cannot read means delivered is up to the module; a refusal it is not.
    for (what, answer, fit) in [
        ("200 with 2 MiB", Answer::status(200).body(vec![b'x'; LARGE]), ["delivered", "retry"]),
        ("500 with every byte", Answer::status(500).body(bytes.clone()), ["retry", "retry"]),
        ("400 with every byte", Answer::status(400).body(bytes), ["rejected", "gone"]),
        ("299", Answer::status(299), ["delivered", "delivered"]),
        ("599", Answer::status(599), ["retry", "retry"]),
    ] {
        let came = trial.answered(answer).await?;
        wrong.extend(judge(what, &came, |came| came.none_of(&fit)));
    }
    Ok(wrong)
}
