//! Ids, secrets, instances used again.

use anyhow::Result;

use super::super::script::{Answer, Kind};
use super::trial::{Came, Trial, judge};
use super::{Check, Verdict};

/// Deliveries of one instance.
const TIMES: u32 = 5;
/// What stands in a log in place of a secret's value.
const REDACTED: &str = "[secret:";

pub(super) async fn all(trial: &Trial<'_>, sends: bool) -> Result<Vec<Check>> {
    let rule = "the notification's id goes out, the same on every attempt: receivers drop duplicates by it";
    let id = match sends {
        true => Verdict::of(ids(trial).await?),
        false => Verdict::Skip("it sends no requests".to_owned()),
    };
    let quiet = "no secret goes into the log or a reason, also where it may read the value";
    let again = "an instance that is used again delivers like a fresh one";
    Ok(vec![
        Check::of("id", rule, id),
        Check::of("secrets", quiet, secrets(trial).await?),
        Check::of("reuse", again, Verdict::of(reuse(trial).await?)),
    ])
}

async fn ids(trial: &Trial<'_>) -> Result<Vec<String>> {
    let id = trial.stage.notification()?.id.to_string();
    let mut wrong = Vec::new();
    for attempt in [1, 2, 9] {
        let came = trial.again(attempt).await?;
        wrong.extend(judge(&format!("attempt {attempt}"), &came, |came| {
            came.not("delivered").or_else(|| {
                let carries = came.seen.iter().any(|seen| seen.holds(&id));
                (!carries).then(|| {
                    "no request has it; put it into a header such as idempotency-key".to_owned()
                })
            })
        }));
    }
    Ok(wrong)
}

async fn secrets(trial: &Trial<'_>) -> Result<Verdict> {
    let stage = trial.stage;
    if stage.secrets.is_empty() && stage.plugin.description().secrets.is_empty() {
        return Ok(Verdict::Skip("it uses no secrets".to_owned()));
    }
    let mut destination = stage.destination.clone();
    destination.reveal = true;
    let mut wrong = Vec::new();
    for answer in [
        Answer::status(200),
        Answer::status(500),
        Answer::status(400),
        Answer::of(Kind::Refuse),
        Answer::of(Kind::Close),
    ] {
        let what = answer.line();
        let came = trial.send(&destination, vec![answer], stage.draft.clone(), 1).await?;
        wrong.extend(judge(&what, &came, |came| told(trial, came)));
    }
    Ok(Verdict::of(wrong))
}

/// A line that gives a secret away.
fn told(trial: &Trial<'_>, came: &Came) -> Option<String> {
    let reason = came.outcome.reason();
    let values = || trial.stage.secrets.values().filter(|value| value.len() >= 4);
    came.log.iter().chain([&reason]).find_map(|line| {
        let is_told = line.contains(REDACTED) || values().any(|value| line.contains(value));
        is_told.then(|| format!("it says: {line}"))
    })
}

async fn reuse(trial: &Trial<'_>) -> Result<Vec<String>> {
    let stage = trial.stage;
    let mut destination = stage.destination.clone();
    destination.reuse = Some(stage.destination.reuse.unwrap_or_default());
    let fresh = trial.again(1).await?.map_or(0, |came| came.seen.len());
    let all = trial.send_often(&destination, Vec::new(), stage.draft.clone(), 1, TIMES).await?;
    let mut wrong = Vec::new();
    for (place, came) in all.iter().enumerate() {
        let name = format!("delivery {} of its instance", place + 1);
        wrong.extend(judge(&name, came, |came| {
            let (sent, wanted) = (came.seen.len(), fresh * (place + 1));
            came.not("delivered").or_else(|| {
                (sent != wanted).then(|| format!("{sent} requests came so far, not {wanted}"))
            })
        }));
    }
    Ok(wrong)
}
