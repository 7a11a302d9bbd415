//! The command line.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use crate::scenario::Scenario;

/// What to measure, and how long.
pub(crate) struct Arguments {
    pub(crate) quick: bool,
    pub(crate) json: Option<PathBuf>,
    pub(crate) scenarios: Vec<Scenario>,
}

impl Arguments {
    pub(crate) fn parse(words: impl Iterator<Item = String>) -> Result<Self> {
        let mut arguments = Self { quick: false, json: None, scenarios: Vec::new() };
        let mut words = words;
        while let Some(word) = words.next() {
            match &*word {
                "--quick" => arguments.quick = true,
                "--json" => {
                    let file = words.next().context("--json wants the file to write")?;
                    arguments.json = Some(file.into());
                }
                flag if flag.starts_with("--") => {
                    bail!("unknown flag {flag}; there are --quick and --json FILE");
                }
                part => arguments.scenarios.extend(named(part)?),
            }
        }
        if arguments.scenarios.is_empty() {
            arguments.scenarios = Scenario::ALL.into();
        }
        Ok(arguments)
    }
}

/// The scenarios with this part in their name.
fn named(part: &str) -> Result<Vec<Scenario>> {
    let found: Vec<Scenario> =
        Scenario::ALL.into_iter().filter(|scenario| scenario.name().contains(part)).collect();
    if found.is_empty() {
        let all = Scenario::ALL.map(Scenario::name).join(", ");
        bail!("no scenario is named \"{part}\"; there are {all}");
    }
    Ok(found)
}
