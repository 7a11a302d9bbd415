//! `postrider plugin conform`: what every good notifier does, tried one after the other.
//!
//! - `trial`: one delivery of a trial, and what came of it.
//! - `answers`: what a receiver's answers must mean.
//! - `contents`: what must pass through.
//! - `manners`: ids, secrets, instances used again.

mod answers;
mod contents;
mod manners;
mod trial;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use serde_json::json;

use super::project::Project;
use super::script::Answer;
use super::stage::{Given, Stage};
use trial::Trial;

#[derive(Args)]
pub(crate) struct Arguments {
    /// The `.wasm` file, or the directory of its project.
    file: PathBuf,
    #[command(flatten)]
    given: Given,
    /// What the receiver answers to a notification that it takes, as for `plugin test` [default: 200].
    #[arg(long = "answer", value_name = "SCRIPT")]
    answers: Vec<String>,
    /// Answers in JSON.
    #[arg(long)]
    json: bool,
}

/// One rule and whether it is kept.
pub(super) struct Check {
    name: &'static str,
    /// What a good notifier does.
    rule: &'static str,
    result: Verdict,
}

enum Verdict {
    Pass,
    /// What it did instead.
    Fail(String),
    /// Why it was not tried.
    Skip(String),
}

impl Check {
    fn of(name: &'static str, rule: &'static str, result: Verdict) -> Self {
        Self { name, rule, result }
    }
}

impl Verdict {
    /// Passes where nothing is wrong.
    fn of(wrong: Vec<String>) -> Self {
        match wrong.is_empty() {
            true => Self::Pass,
            false => Self::Fail(wrong.join("; ")),
        }
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail(_) => "FAIL",
            Self::Skip(_) => "skip",
        }
    }

    fn text(&self) -> &str {
        match self {
            Self::Pass => "",
            Self::Fail(text) | Self::Skip(text) => text,
        }
    }
}

pub(super) async fn run(arguments: &Arguments) -> Result<ExitCode> {
    let mut taken = Vec::new();
    for given in &arguments.answers {
        taken.extend(Answer::read(given)?);
    }
    let stage = Stage::open(&Project::of(&arguments.file)?, &arguments.given).await?;
    let checks = all(&stage, taken).await?;
    let failed = checks.iter().filter(|check| matches!(check.result, Verdict::Fail(_))).count();
    let mut out = std::io::stdout().lock();
    if arguments.json {
        let all: Vec<_> = checks
            .iter()
            .map(|check| {
                let result = check.result.word().to_ascii_lowercase();
                json!({"check": check.name, "rule": check.rule, "result": result, "detail": check.result.text()})
            })
            .collect();
        writeln!(out, "{:#}", json!({"checks": all, "failed": failed}))?;
    } else {
        for check in &checks {
            writeln!(out, "{}  {:<12} {}", check.result.word(), check.name, check.rule)?;
            if !check.result.text().is_empty() {
                writeln!(out, "      {:<12} {}", "", check.result.text())?;
            }
        }
        writeln!(out, "{} checks, {failed} failed", checks.len())?;
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn all(stage: &Stage, taken: Vec<Answer>) -> Result<Vec<Check>> {
    let mut checks = vec![described(stage)];
    let trial = Trial::new(stage, taken);
    let first = trial.taken(stage.draft.clone()).await?;
    let sends = match &first {
        Ok(came) => !came.seen.is_empty(),
        Err(_) => false,
    };
    let rule = "it accepts its destination's config, and delivers when the receiver takes it";
    let delivered = match &first {
        Ok(came) => Verdict::of(came.not("delivered").into_iter().collect()),
        Err(problem) => {
            Verdict::Fail(format!("configure refuses; say with --config what it needs: {problem}"))
        }
    };
    let goes_on = matches!(delivered, Verdict::Pass);
    checks.push(Check::of("delivers", rule, delivered));
    // Everything else would only say the same again.
    if goes_on {
        checks.extend(manners::all(&trial, sends).await?);
        checks.extend(answers::all(&trial, sends).await?);
        checks.extend(contents::all(&trial).await?);
    }
    Ok(checks)
}

fn described(stage: &Stage) -> Check {
    let d = stage.plugin.description();
    let mut wrong = stage.plugin.warnings().to_vec();
    for (what, text) in [("name", &d.name), ("version", &d.version), ("summary", &d.summary)] {
        if text.trim().is_empty() {
            wrong.push(format!("describe gives no {what}"));
        }
    }
    let rule = "it says its name, version and summary, and a config-schema that is JSON";
    Check::of("describes", rule, Verdict::of(wrong))
}
