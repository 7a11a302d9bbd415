//! `postrider plugin test`: one notification shown in full, or a suite of cases.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use postrider_core::{Outcome, Scope};
use postrider_sandbox::Sent;
use serde_json::{Value, json};

use super::case::{self, Case};
use super::expect::Came;
use super::project::Project;
use super::script::{Answer, Scripted, Seen};
use super::stage::{Given, Stage, accept, mib, ms};

/// How much of a body is shown, in bytes.
const MAX_BODY: usize = 2_000;

#[derive(Args)]
pub(crate) struct Arguments {
    /// The `.wasm` file, or the directory of its project.
    file: PathBuf,
    /// Cases to run: files, or directories with files that end in `.case.toml`.
    cases: Vec<PathBuf>,
    #[command(flatten)]
    given: Given,
    /// What the receiver answers: a status with headers such as `429 retry-after=30`, `close`, `refuse`, `hang`, or a
    /// TOML file of `[[answer]]` tables. Given again, it answers the next request; the last goes on [default: 200].
    #[arg(long = "answer", value_name = "SCRIPT")]
    answers: Vec<String>,
    /// Answers in JSON.
    #[arg(long)]
    json: bool,
}

/// Exits with 1 where `configure` refuses, the module comes to no answer, or a case fails.
pub(super) async fn run(arguments: &Arguments) -> Result<ExitCode> {
    let mut answers = Vec::new();
    for given in &arguments.answers {
        answers.extend(Answer::read(given)?);
    }
    let cases = case::read_all(&arguments.cases)?;
    let stage = Stage::open(&Project::of(&arguments.file)?, &arguments.given).await?;
    if cases.is_empty() {
        return one(&stage, answers, arguments.json).await;
    }
    suite(&stage, &cases, &answers, arguments.json).await
}

async fn one(stage: &Stage, answers: Vec<Answer>, as_json: bool) -> Result<ExitCode> {
    let receiver = Scripted::new(answers, &stage.secrets);
    let sent = match stage.bind(receiver.clone()).await {
        Ok(notifier) => Ok(notifier.send(&stage.notification()?, 1, 0).await),
        Err(error) => Err(error.to_string()),
    };
    let (seen, log) = (receiver.seen(), stage.words.take());
    let mut out = std::io::stdout().lock();
    match as_json {
        true => writeln!(out, "{:#}", value(&sent, &seen, &log))?,
        false => write!(out, "{}", text(stage, &sent, &seen, &log))?,
    }
    let answered = sent.is_ok_and(|sent| !matches!(sent.outcome, Outcome::Fault { .. }));
    Ok(if answered { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn value(sent: &Result<Sent, String>, seen: &[Seen], log: &[String]) -> Value {
    let requests: Vec<Value> = seen.iter().map(Seen::json).collect();
    match sent {
        Err(problem) => json!({"configure": {"refused": problem}, "log": log}),
        Ok(sent) => {
            let (after, scope) = wait(&sent.outcome);
            json!({
                "configure": "accepted", "requests": requests, "outcome": sent.outcome.label(),
                "reason": sent.outcome.reason(), "after_ms": after.map(|a| a.as_millis()), "scope": scope,
                "parts": sent.parts, "log": log, "elapsed_us": sent.usage.elapsed.as_micros(),
                "memory": sent.usage.memory, "log_lines_dropped": sent.usage.lines_dropped,
            })
        }
    }
}

fn wait(outcome: &Outcome) -> (Option<std::time::Duration>, Option<&'static str>) {
    match outcome {
        Outcome::Retry { after, scope: Scope::Delivery, .. } => (*after, Some("delivery")),
        Outcome::Retry { after, scope: Scope::Destination, .. } => (*after, Some("destination")),
        _ => (None, None),
    }
}

fn text(stage: &Stage, sent: &Result<Sent, String>, seen: &[Seen], log: &[String]) -> String {
    let d = stage.plugin.description();
    let mut text = format!("{} {}\n", d.name, d.version);
    let sent = match sent {
        Ok(sent) => sent,
        Err(problem) => {
            text += &format!("configure refused: {problem}\n");
            log.iter().for_each(|line| text += &format!("log       {line}\n"));
            return text;
        }
    };
    text += "configure accepted\n";
    for seen in seen {
        text += &format!("request   {} {}\n", seen.method, seen.url);
        for (name, value) in &seen.headers {
            text += &format!("          {name}: {value}\n");
        }
        if !seen.body.is_empty() {
            text += &format!("\n{}\n\n", indented(&seen.text()));
        }
        text += &format!("answer    {}\n", seen.answer);
    }
    log.iter().for_each(|line| text += &format!("log       {line}\n"));
    let (after, scope) = wait(&sent.outcome);
    text += &format!("outcome   {}", sent.outcome.label());
    let reason = sent.outcome.reason();
    if !reason.is_empty() {
        text += &format!(": {reason}");
    }
    if let Some(after) = after {
        text += &format!(", no sooner than in {after:?}");
    }
    if scope == Some("destination") {
        text += ", holds the whole destination";
    }
    if sent.parts > 1 {
        text += &format!("\nparts     {} of {}", sent.parts_done, sent.parts);
    }
    text += &format!("\ntime      {}, memory {}\n", ms(sent.usage.elapsed), mib(sent.usage.memory));
    if sent.usage.lines_dropped > 0 {
        text += &format!(
            "          {} log lines did not fit into limits.log\n",
            sent.usage.lines_dropped
        );
    }
    text
}

fn indented(body: &str) -> String {
    let cut = body.char_indices().nth(MAX_BODY).map_or(body.len(), |(at, _)| at);
    let shown = body.get(..cut).unwrap_or(body);
    let mut text = String::new();
    for line in shown.lines() {
        text += &format!("          {line}\n");
    }
    if cut < body.len() {
        text += &format!("          … {} bytes in all", body.len());
    }
    text.trim_end().to_owned()
}

async fn suite(
    stage: &Stage,
    cases: &[Case],
    answers: &[Answer],
    as_json: bool,
) -> Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    let (mut failed, mut all) = (0, Vec::new());
    for case in cases {
        let differences = try_case(stage, case, answers).await?;
        failed += usize::from(!differences.is_empty());
        if as_json {
            all.push(json!({
                "case": case.name, "passed": differences.is_empty(), "differences": differences,
            }));
            continue;
        }
        let word = if differences.is_empty() { "pass" } else { "FAIL" };
        writeln!(out, "{word}  {}", case.name)?;
        for difference in differences {
            writeln!(out, "      {}", difference.replace('\n', "\n      "))?;
        }
    }
    match as_json {
        true => writeln!(out, "{:#}", json!({"cases": all, "failed": failed}))?,
        false => writeln!(out, "{} cases, {failed} failed", cases.len())?,
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn try_case(stage: &Stage, case: &Case, answers: &[Answer]) -> Result<Vec<String>> {
    let mut secrets = stage.secrets.clone();
    secrets.extend(case.secrets.clone());
    let destination = case.destination(&stage.destination)?;
    let answers = if case.answers.is_empty() { answers } else { &case.answers };
    let receiver = Scripted::new(answers.to_vec(), &secrets);
    let notification = accept(case.draft.clone().unwrap_or_else(|| stage.draft.clone()))?;
    let sent = match stage.bind_to(&destination, &secrets, receiver.clone()).await {
        Ok(notifier) => Ok(notifier.send(&notification, case.attempt, 0).await),
        Err(error) => Err(error.to_string()),
    };
    let (seen, log) = (receiver.seen(), stage.words.take());
    Ok(case.expect.differences(&Came { sent: &sent, seen: &seen, log: &log }))
}
