//! What must pass through: empty, big and odd contents, odd labels, parts.

use anyhow::Result;
use postrider_core::Draft;
use serde_json::Value;

use super::super::script::Seen;
use super::trial::{Came, Trial, judge};
use super::{Check, Verdict};

/// Of a module that takes little at once so many parts will do.
const BIG_PARTS: usize = 20;
/// A content as large as any that a destination's requests carry by default, with room for what is put around it.
const BIG: usize = 1 << 20;
/// Not to be taken, yet understood.
const ANSWERED: [&str; 4] = ["delivered", "rejected", "retry", "gone"];

/// Values that break what is pasted together instead of encoded.
const ODD: [&str; 9] = [
    "\"quoted\" and \\back\\slashed\\",
    "'); DROP TABLE alerts; --",
    "<script>alert(1)</script> & more",
    "{{secret:token}} ${HOME} $(id) %s %n %0d%0a",
    "Grüße, 你好, 🚨👩‍👩‍👧, \u{202e}tfel ot thgir",
    "line\u{2028}and\u{2029}paragraph, zero\u{200b}width, \u{feff}mark",
    "",
    "   ",
    "\u{10ffff}",
];

pub(super) async fn all(trial: &Trial<'_>) -> Result<Vec<Check>> {
    let own = &trial.stage.draft;
    let mut checks = Vec::new();

    let rule = "a notification without content, subject and labels is delivered";
    let bare = Draft { kind: own.kind.clone(), ..Draft::default() };
    let came = trial.taken(bare).await?;
    let wrong = judge("empty", &came, |came| came.not("delivered"));
    checks.push(Check::of("empty", rule, Verdict::of(wrong.into_iter().collect())));

    let rule = "odd characters in labels, source and subject arrive; a JSON body stays JSON";
    checks.push(Check::of("odd-labels", rule, Verdict::of(odd_labels(trial).await?)));

    let rule = "content that is no text, or not what its type says, does no harm";
    let mut wrong = Vec::new();
    let bytes: Vec<u8> = (0..=255).cycle().take(3_000).collect();
    for (kind, content) in [
        ("application/octet-stream", bytes.clone()),
        ("text/plain; charset=utf-8", bytes),
        ("application/json", b"{\"half\": ".to_vec()),
        ("application/json", b"null".to_vec()),
        ("application/json", b"[[[[[[1e999]]]]]]".to_vec()),
        ("nonsense", b"x".to_vec()),
    ] {
        let draft = Draft { content_type: kind.into(), content: content.into(), ..own.clone() };
        let came = trial.taken(draft).await?;
        wrong.extend(judge(kind, &came, |came| came.none_of(&ANSWERED)));
    }
    checks.push(Check::of("odd-content", rule, Verdict::of(wrong)));

    let rule = "a mebibyte of content is delivered or refused, never a fault";
    let mut wrong = Vec::new();
    let most =
        trial.stage.plugin.description().max_content.and_then(|most| usize::try_from(most).ok());
    let big = most.map_or(BIG, |most| most.saturating_mul(BIG_PARTS).min(BIG));
    for (what, kind, content) in [
        ("JSON", "application/json", format!("\"{}\"", "x".repeat(big))),
        ("lines", "text/plain", "disk is full\n".repeat(big / 13)),
    ] {
        let draft = Draft { content_type: kind.into(), content: content.into(), ..own.clone() };
        let came = trial.taken(draft).await?;
        wrong.extend(judge(what, &came, |came| came.none_of(&ANSWERED)));
    }
    checks.push(Check::of("big-content", rule, Verdict::of(wrong)));

    let rule = "each part of a split notification goes out under its own id, <id>.<k>";
    checks.push(Check::of("parts", rule, parts(trial).await?));
    Ok(checks)
}

async fn odd_labels(trial: &Trial<'_>) -> Result<Vec<String>> {
    let own = &trial.stage.draft;
    let mut wrong = Vec::new();
    for odd in ODD {
        let mut draft = own.clone();
        draft.source = odd.to_owned();
        draft.subject = Some(odd.to_owned());
        let names = own.labels.keys().cloned().chain(["odd näme \"'<&{}".to_owned()]);
        draft.labels = names.map(|name| (name, odd.to_owned())).collect();
        let came = trial.taken(draft).await?;
        wrong.extend(judge(&format!("{odd:?}"), &came, |came| {
            came.not("delivered").or_else(|| broken_json(came))
        }));
    }
    Ok(wrong)
}

/// A body that says that it is JSON and is not.
fn broken_json(came: &Came) -> Option<String> {
    let is_broken = |seen: &&Seen| {
        let says = seen.header("content-type").is_some_and(|kind| kind.contains("json"));
        says && !seen.body.is_empty() && serde_json::from_slice::<Value>(&seen.body).is_err()
    };
    came.seen.iter().find(is_broken).map(|seen| format!("its body is no JSON: {}", seen.text()))
}

async fn parts(trial: &Trial<'_>) -> Result<Verdict> {
    let Some(most) = trial.stage.plugin.description().max_content else {
        let why = "it states no max-content, so the host never splits";
        return Ok(Verdict::Skip(why.to_owned()));
    };
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    // Three parts, in which every line fits.
    let line = format!("{}\n", "x".repeat(most.saturating_sub(1).clamp(1, 99)));
    let content = line.repeat((most.saturating_mul(5) / 2).min(BIG) / line.len());
    let draft = Draft {
        content_type: "text/plain".to_owned(),
        content: content.into(),
        ..trial.stage.draft.clone()
    };
    let came = trial.taken(draft).await?;
    let id = trial.stage.notification()?.id.to_string();
    let wrong = judge("parts", &came, |came| {
        came.not("delivered").or_else(|| {
            let first = format!("{id}.0");
            let carries = |id: &str| came.seen.iter().any(|seen| seen.holds(id));
            let last = came.seen.len().saturating_sub(1);
            let is_kept = carries(&first) && carries(&format!("{id}.{last}"));
            (!is_kept && !came.seen.is_empty())
                .then(|| format!("its requests do not carry the ids {first} to {id}.{last}"))
        })
    });
    Ok(Verdict::of(wrong.into_iter().collect()))
}
