//! What a delivery costs in each language when the module does nothing, by `plugin bench`, beside the goals.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::language::Language;
use super::project::Project;
use super::{Bench, quietly};
use crate::workspace::{run_command, say};

/// Of an instance that is used again, in µs of processor time, for every language.
const REUSED: f64 = 40.0;
/// Loading a module that was compiled before, in ms.
const CACHED: f64 = 10.0;

/// The source of a notifier that does nothing.
pub(super) fn source(root: &Path, language: &Language) -> PathBuf {
    let file = Path::new(language.source).file_name().unwrap_or_default();
    root.join("tests/handlers/noop").join(file)
}

pub(super) fn run(bench: &Bench<'_>, languages: &[&'static Language]) -> Result<()> {
    let mut cargo = bench.workspace.cargo("build");
    // With the package of the other benches, so that all share what was built.
    cargo.args(["--release", "--locked", "-p", "postrider", "-p", "postrider-tests"]);
    run_command(&mut cargo).context("the daemon could not be built")?;
    let postrider = bench.workspace.target_dir.join("release/postrider");
    let projects = bench.fresh("idle")?;
    say("a send that does nothing, 1 KiB of content; goals in parentheses")?;
    say("language    fresh, cpu µs       reused, cpu µs   cached load, ms   hash of 1 MiB, µs")?;
    for language in languages {
        let project = Project::new(bench, &postrider, &projects, "idle", language)?;
        project.replace_source(&source(&bench.workspace.root, language))?;
        project.build()?;
        let mut command = bench.postrider(&postrider);
        command.args(["plugin", "bench", "--json"]).arg(project.module());
        let found = quietly(&mut command)?;
        let found: Value = serde_json::from_slice(&found).context("plugin bench")?;
        say(&row(language, &found)?)?;
    }
    Ok(())
}

fn row(language: &Language, found: &Value) -> Result<String> {
    let number = |pointer: &str| {
        let number = found.pointer(pointer).and_then(Value::as_f64);
        number.with_context(|| format!("plugin bench says no {pointer}"))
    };
    let (fresh, reused) = (number("/fresh/cpu_us")?, number("/reused/cpu_us")?);
    let (cached, yardstick) = (number("/cached_load_ms")?, number("/sha256_mib_us")?);
    Ok(format!(
        "{:<10} {:>14} {:>20} {:>17} {yardstick:>19.0}",
        language.title,
        beside(fresh, language.fresh),
        beside(reused, REUSED),
        beside(cached, CACHED)
    ))
}

/// A figure and its goal, marked where it is missed.
fn beside(found: f64, goal: f64) -> String {
    let mark = if found <= goal { "" } else { " !" };
    format!("{found:.1} ({goal}){mark}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::examples::language::LANGUAGES;
    use serde_json::json;

    #[test]
    fn a_goal_that_is_missed_is_marked() {
        let found = json!({
            "fresh": {"cpu_us": 14.96}, "reused": {"cpu_us": 40.5}, "cached_load_ms": 0.5, "sha256_mib_us": 541.2,
        });
        let row = row(&LANGUAGES[0], &found).unwrap();
        let words: Vec<_> = row.split_whitespace().collect();
        assert_eq!(words, ["Rust", "15.0", "(15)", "40.5", "(40)", "!", "0.5", "(10)", "541"]);
    }

    #[test]
    fn a_figure_that_is_missing_is_named() {
        let error = row(&LANGUAGES[0], &json!({})).unwrap_err().to_string();
        assert_eq!(error, "plugin bench says no /fresh/cpu_us");
    }
}
