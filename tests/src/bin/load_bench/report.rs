//! The table for people, a line as soon as it is measured, and the file for programs.

use std::io::{self, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::figure::Figure;

/// What was measured so far.
pub(crate) struct Report {
    quick: bool,
    scenario: String,
    figures: Vec<Value>,
    met: usize,
    missed: usize,
    /// Scenarios that did not come to their end.
    failed: usize,
}

impl Report {
    pub(crate) fn new(quick: bool) -> Result<Self> {
        let report = Self {
            quick,
            scenario: String::new(),
            figures: Vec::new(),
            met: 0,
            missed: 0,
            failed: 0,
        };
        report.line(&format!("cores; load over 1, 5 and 15 minutes: {}; {}", cores(), load()))?;
        report.row(["scenario", "figure", "measured", "goal", "", "beside"])?;
        Ok(report)
    }

    pub(crate) fn figures(&self) -> &[Value] {
        &self.figures
    }

    pub(crate) fn begin(&mut self, scenario: &str) {
        scenario.clone_into(&mut self.scenario);
    }

    pub(crate) fn add(&mut self, figure: Figure) -> Result<()> {
        let figure_json = figure.json(&self.scenario);
        let same = |other: &Value| {
            other.get("figure") == figure_json.get("figure")
                && other.get("scenario") == figure_json.get("scenario")
        };
        ensure!(!self.figures.iter().any(same), "two figures of one name: {figure_json}");
        match figure.met() {
            Some(true) => self.met += 1,
            Some(false) => self.missed += 1,
            None => {}
        }
        let cells = figure.cells();
        let [name, measured, goal, verdict, beside] = cells.each_ref().map(String::as_str);
        self.row([&self.scenario, name, measured, goal, verdict, beside])?;
        self.figures.push(figure_json);
        Ok(())
    }

    /// Says why a scenario is missing.
    pub(crate) fn skipped(&mut self, why: &str) -> Result<()> {
        self.row([&self.scenario, "left out", "-", "", "", why])?;
        self.figures.push(json!({ "scenario": self.scenario, "skipped": why }));
        Ok(())
    }

    /// Says why a scenario did not come to its end.
    pub(crate) fn failed(&mut self, error: &anyhow::Error) -> Result<()> {
        self.failed += 1;
        self.skipped(&format!("FAILED: {error:#}"))
    }

    /// Whether all came to their end.
    pub(crate) fn is_whole(&self) -> bool {
        self.failed == 0
    }

    /// Says what was missed, and writes the file.
    pub(crate) fn finish(&self, file: Option<&Path>) -> Result<()> {
        let quick = if self.quick { ", quick: short rounds" } else { "" };
        self.line(&format!(
            "goals met {}, missed {}{quick}; load {}",
            self.met,
            self.missed,
            load()
        ))?;
        let Some(file) = file else { return Ok(()) };
        let all = json!({ "quick": self.quick, "cores": cores(), "load": load(), "figures": self.figures });
        std::fs::write(file, format!("{all:#}\n"))
            .with_context(|| format!("{} cannot be written", file.display()))
    }

    pub(crate) fn line(&self, line: &str) -> Result<()> {
        writeln!(io::stdout(), "{line}").context("the standard output is closed")
    }

    fn row(&self, cells: [&str; 6]) -> Result<()> {
        let [scenario, figure, measured, goal, verdict, beside] = cells;
        let line =
            format!("{scenario:<26} {figure:<46} {measured:>14} {goal:>9} {verdict:<6} {beside}");
        self.line(line.trim_end())
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(0, usize::from)
}

fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').take(3).collect::<Vec<_>>().join(" ")
}
