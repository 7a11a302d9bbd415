//! One case of a suite: the file `*.case.toml`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use postrider_core::suggest::toml_error;
use postrider_core::{Destination, Draft, secret};
use serde::Deserialize;
use serde_json::Value;

use super::expect::Expect;
use super::script::Answer;
use super::stage::draft;

/// How the names of case files end.
const END: &str = ".case.toml";

/// A case, as its file says.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) name: String,
    /// The notification; none: the project's own.
    pub(super) draft: Option<Draft>,
    pub(super) attempt: u32,
    /// Keys that replace those of the project's `[config]`.
    config: serde_json::Map<String, Value>,
    pub(super) secrets: BTreeMap<String, String>,
    pub(super) answers: Vec<Answer>,
    pub(super) expect: Expect,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseFile {
    notification: Option<Value>,
    attempt: Option<u32>,
    #[serde(default)]
    config: serde_json::Map<String, Value>,
    #[serde(default)]
    secrets: BTreeMap<String, String>,
    #[serde(default)]
    answer: Vec<Answer>,
    expect: Expect,
}

impl Case {
    /// The error names file, line and remedy.
    fn read(path: &Path) -> Result<Self> {
        let place = path.display();
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {place}"))?;
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let name = file.strip_suffix(END).unwrap_or(&file);
        Self::parse(name, &text).map_err(|problem| anyhow!("{place}: {problem:#}"))
    }

    fn parse(name: &str, text: &str) -> Result<Self> {
        let file: CaseFile =
            toml::from_str(text).map_err(|error| anyhow!("{}", toml_error(text, &error)))?;
        let draft = file.notification.map(|given| draft(given.to_string().as_bytes()));
        let draft = draft.transpose().map_err(|error| {
            let line = text.lines().position(|line| line.trim_start().starts_with("[notification"));
            let line = line.map(|at| format!("line {}: ", at + 1)).unwrap_or_default();
            anyhow!("{line}[notification]: {error:#}")
        })?;
        let attempt = file.attempt.unwrap_or(1);
        if attempt == 0 {
            bail!("attempt: the first has the number 1");
        }
        Ok(Self {
            name: name.to_owned(),
            draft,
            attempt,
            config: file.config,
            secrets: file.secrets,
            answers: file.answer,
            expect: file.expect,
        })
    }

    /// The project's destination with what the case says otherwise.
    pub(super) fn destination(&self, own: &Destination) -> Result<Destination> {
        let mut destination = own.clone();
        if let Value::Object(config) = &mut destination.config {
            config.extend(self.config.clone());
        }
        for name in secret::referenced(&destination.config) {
            if !own.secrets.contains_key(&name) && !self.secrets.contains_key(&name) {
                bail!(
                    "case {}: config refers to {{{{secret:{name}}}}}; add {name} = \"…\" under [secrets]",
                    self.name
                );
            }
        }
        Ok(destination)
    }
}

/// Reads the cases of files and directories, sorted by their paths.
pub(super) fn read_all(given: &[PathBuf]) -> Result<Vec<Case>> {
    let mut files = Vec::new();
    for path in given {
        let place = path.display();
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let before = files.len();
        for entry in fs::read_dir(path).with_context(|| format!("cannot read {place}"))? {
            let path = entry.with_context(|| format!("cannot read {place}"))?.path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(END)) {
                files.push(path);
            }
        }
        if files.len() == before {
            bail!("{place} has no file that ends in {END}");
        }
    }
    files.sort();
    files.iter().map(|path| Case::read(path)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        format!("{:#}", Case::parse("x", text).unwrap_err())
    }

    #[test]
    fn a_whole_case_reads() {
        let case = Case::parse(
            "limited",
            r#"
            attempt = 2
            [notification]
            type = "alert.firing"
            content = { n = 1 }
            [config]
            url = "https://{{secret:host}}/"
            [secrets]
            host = "x.test"
            [[answer]]
            status = 429
            headers = { retry-after = "30" }
            delay = "10ms"
            [expect]
            outcome = "retry"
            "#,
        )
        .unwrap();
        assert_eq!(case.draft.as_ref().unwrap().content, r#"{"n":1}"#);
        assert_eq!((case.attempt, case.answers.len()), (2, 1));
        let own = Destination::parse("x", "config = { url = 'a', room = 'b' }").unwrap();
        let config = case.destination(&own).unwrap().config;
        assert_eq!(
            (&config["url"], &config["room"]),
            (&"https://{{secret:host}}/".into(), &"b".into())
        );
    }

    #[test]
    fn the_case_in_the_book_reads() {
        let book = include_str!("../../../../../docs/trying-a-notifier.md");
        let case = book.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
        assert_eq!(Case::parse("book", case).unwrap().answers.len(), 2);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let expect = "[expect]\noutcome = 'retry'\n";
        for (text, problem) in [
            (String::new(), "missing field `expect`"),
            (
                "[expect]\noutcome = 'rety'".to_owned(),
                "line 2: unknown value \"rety\"; did you mean \"retry\"?",
            ),
            (
                format!("{expect}resaon = 'x'"),
                "line 3: unknown key \"resaon\"; did you mean \"reason\"?",
            ),
            (format!("{expect}after = 30"), "line 3: "),
            (format!("\n[notification]\ntyp = 'x'\n{expect}"), "line 2: [notification]: "),
            (format!("attempt = 0\n{expect}"), "attempt: the first has the number 1"),
            (format!("attempt = \n{expect}"), "line 1"),
        ] {
            let said = error(&text);
            assert!(said.contains(problem), "{text}\n{said}");
        }
    }

    #[test]
    fn a_secret_that_nobody_defines_is_named() {
        let case =
            Case::parse("x", "config.url = '{{secret:a}}'\nexpect.outcome = 'retry'").unwrap();
        let own = Destination::parse("x", "").unwrap();
        let error = case.destination(&own).unwrap_err().to_string();
        assert!(error.contains("add a = \"…\" under [secrets]"), "{error}");
    }

    #[test]
    fn a_directory_without_cases_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = read_all(&[dir.path().to_owned()]).unwrap_err().to_string();
        assert!(error.contains("has no file that ends in .case.toml"), "{error}");
        fs::write(dir.path().join("b.case.toml"), "expect.outcome = 'x'").unwrap();
        let error = read_all(&[dir.path().to_owned()]).unwrap_err().to_string();
        assert!(error.contains("b.case.toml: line 1: unknown value \"x\""), "{error}");
    }
}
