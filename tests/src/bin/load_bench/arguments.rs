//! The command line.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use crate::catalogue::{Scenario, all};

/// What to measure, and how long.
pub(crate) struct Arguments {
    /// Short rounds of a few scenarios.
    pub(crate) quick: bool,
    pub(crate) json: Option<PathBuf>,
    pub(crate) compare: Option<PathBuf>,
    /// Attempts at once of each destination; none: as the daemon does by itself.
    pub(crate) concurrency: Option<u32>,
    /// Growth up to ten million notifications instead of one.
    pub(crate) huge: bool,
    pub(crate) scenarios: Vec<Scenario>,
}

impl Arguments {
    pub(crate) fn parse(words: Vec<String>) -> Result<Self> {
        let mut arguments = Self {
            quick: false,
            json: None,
            compare: None,
            concurrency: None,
            huge: false,
            scenarios: Vec::new(),
        };
        let (mut words, mut parts) = (words.into_iter(), Vec::new());
        while let Some(word) = words.next() {
            let mut file = || words.next().with_context(|| format!("{word} wants a file"));
            match &*word {
                "--quick" => arguments.quick = true,
                "--huge" => arguments.huge = true,
                "--json" => arguments.json = Some(file()?.into()),
                "--compare" => arguments.compare = Some(file()?.into()),
                "--concurrency" => {
                    let number = words.next().and_then(|number| number.parse().ok());
                    arguments.concurrency = Some(number.context("--concurrency wants a number")?);
                }
                flag if flag.starts_with("--") => bail!(
                    "unknown flag {flag}; there are --quick, --json FILE, --compare FILE, \
                     --concurrency N and --huge"
                ),
                _ => parts.push(word),
            }
        }
        arguments.scenarios = chosen(&parts, arguments.quick)?;
        Ok(arguments)
    }
}

/// The scenarios of these names, or with these parts in their names; without any, all, or all of the quick run.
fn chosen(parts: &[String], quick: bool) -> Result<Vec<Scenario>> {
    if parts.is_empty() {
        return Ok(all().into_iter().filter(|scenario| scenario.quick || !quick).collect());
    }
    let mut chosen = Vec::new();
    for part in parts {
        let whole = all().into_iter().any(|scenario| scenario.name == *part);
        let fits = |scenario: &Scenario| match whole {
            true => scenario.name == *part,
            false => scenario.name.contains(part.as_str()),
        };
        let before = chosen.len();
        chosen.extend(all().into_iter().filter(fits));
        if chosen.len() == before {
            let names: Vec<_> = all().into_iter().map(|scenario| scenario.name).collect();
            bail!("no scenario is named {part:?}; there are {}", names.join(", "));
        }
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(words: &[&str]) -> Vec<String> {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        Arguments::parse(words).unwrap().scenarios.into_iter().map(|s| s.name).collect()
    }

    #[test]
    fn a_whole_name_is_that_scenario_only() {
        assert_eq!(names(&["one-postgres"]), ["one-postgres"]);
    }

    #[test]
    fn a_part_of_a_name_is_all_that_have_it() {
        let found = names(&["drain-ten"]);
        assert!(
            found.len() > 1 && found.iter().all(|name| name.contains("drain-ten")),
            "{found:?}"
        );
    }

    #[test]
    fn a_quick_run_is_a_part_of_all() {
        let (quick, all) = (names(&["--quick"]), names(&[]));
        assert!(!quick.is_empty() && quick.len() < all.len());
        assert!(quick.iter().all(|name| all.contains(name)));
    }

    #[test]
    fn what_is_unknown_is_named() {
        let error = |word: &str| Arguments::parse(vec![word.to_owned()]).err().unwrap().to_string();
        assert!(error("--slow").starts_with("unknown flag --slow; there are --quick"));
        assert!(
            error("mars").starts_with("no scenario is named \"mars\"; there are parts, one-sqlite")
        );
    }
}
