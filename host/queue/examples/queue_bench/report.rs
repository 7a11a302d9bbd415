//! The table for people, a line as soon as it is measured, and the JSON file for programs.

use std::io::{self, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

/// What a figure should be.
#[derive(Clone, Copy)]
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

/// One measured number.
pub(crate) struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    goal: Option<Goal>,
    /// What it is held against, and what else a reader must know.
    beside: Vec<String>,
}

/// What was measured so far.
pub(crate) struct Report {
    quick: bool,
    scenario: &'static str,
    figures: Vec<Value>,
    /// Bare rates that later figures are held against, by name.
    yardsticks: Vec<(&'static str, f64)>,
    met: usize,
    missed: usize,
}

impl Figure {
    /// A rate in things a second.
    pub(crate) fn rate(name: impl Into<String>, value: f64) -> Self {
        Self::new(name, value, "/s")
    }

    pub(crate) fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { name: name.into(), value, unit, goal: None, beside: Vec::new() }
    }

    pub(crate) fn goal(mut self, goal: Goal) -> Self {
        self.goal = Some(goal);
        self
    }

    pub(crate) fn beside(mut self, text: impl Into<String>) -> Self {
        self.beside.push(text.into());
        self
    }
}

impl Goal {
    fn met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(goal) => value >= goal,
            Self::AtMost(goal) => value <= goal,
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtLeast(goal) => format!(">= {}", number(goal)),
            Self::AtMost(goal) => format!("<= {}", number(goal)),
        }
    }
}

impl Report {
    pub(crate) fn new(quick: bool) -> Result<Self> {
        let report = Self {
            quick,
            scenario: "yardstick",
            figures: Vec::new(),
            yardsticks: Vec::new(),
            met: 0,
            missed: 0,
        };
        report.line(["scenario", "figure", "measured", "goal", "", "beside"])?;
        Ok(report)
    }

    pub(crate) fn begin(&mut self, scenario: &'static str) {
        self.scenario = scenario;
    }

    pub(crate) fn add(&mut self, figure: Figure) -> Result<()> {
        let met = figure.goal.map(|goal| goal.met(figure.value));
        match met {
            Some(true) => self.met += 1,
            Some(false) => self.missed += 1,
            None => {}
        }
        let goal = figure.goal.map(Goal::text).unwrap_or_default();
        let verdict = met.map_or("", |met| if met { "met" } else { "MISSED" });
        let beside = figure.beside.join("; ");
        let measured = format!("{} {}", number(figure.value), figure.unit);
        self.line([self.scenario, &figure.name, &measured, &goal, verdict, &beside])?;
        self.figures.push(json!({
            "scenario": self.scenario,
            "figure": figure.name,
            "value": figure.value,
            "unit": figure.unit,
            "goal": figure.goal.map(Goal::text),
            "met": met,
            "beside": figure.beside,
        }));
        Ok(())
    }

    /// Adds a bare rate that later figures are held against.
    pub(crate) fn add_yardstick(&mut self, name: &'static str, rate: f64) -> Result<()> {
        self.yardsticks.push((name, rate));
        self.add(Figure::rate(name, rate))
    }

    /// `rate` in words, as a multiple of a yardstick; empty where that could not be measured.
    pub(crate) fn of(&self, yardstick: &str, rate: f64) -> String {
        let found = self.yardsticks.iter().find(|(name, _)| *name == yardstick);
        found.map_or_else(String::new, |(name, bare)| format!("{:.2}x {name}", rate / bare))
    }

    /// Says why a figure is missing.
    pub(crate) fn skipped(&mut self, name: &str, why: &str) -> Result<()> {
        self.line([self.scenario, name, "-", "", "", why])?;
        self.figures.push(json!({ "scenario": self.scenario, "figure": name, "skipped": why }));
        Ok(())
    }

    pub(crate) fn finish(self, file: Option<&Path>) -> Result<()> {
        let quick = if self.quick { ", quick: small tables and short rounds" } else { "" };
        self.write(&format!("goals met {}, missed {}{quick}", self.met, self.missed))?;
        let Some(file) = file else { return Ok(()) };
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let all = json!({ "quick": self.quick, "cores": cores, "figures": self.figures });
        std::fs::write(file, format!("{all:#}\n"))
            .with_context(|| format!("{} cannot be written", file.display()))
    }

    fn line(&self, cells: [&str; 6]) -> Result<()> {
        let [scenario, figure, measured, goal, verdict, beside] = cells;
        let line =
            format!("{scenario:<18} {figure:<44} {measured:>14} {goal:>10} {verdict:<6} {beside}");
        self.write(line.trim_end())
    }

    fn write(&self, line: &str) -> Result<()> {
        writeln!(io::stdout(), "{line}").context("the standard output is closed")
    }
}

/// As many digits as a reader takes in.
fn number(value: f64) -> String {
    if value.abs() >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}
