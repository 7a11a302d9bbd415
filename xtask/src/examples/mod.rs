//! `cargo xtask examples`: the notifier of `examples/handlers` in each language, as a newcomer meets it: `plugin new`,
//! `build`, `check`, `test`, `conform`, and a delivery by the real daemon.
//!
//! - `language`: the six languages.
//! - `toolchains`: their tools, installed into the user's cache.
//! - `project`: one project, from `plugin new` to its module.
//! - `costs`: what a delivery that does nothing costs in each.

mod costs;
mod language;
mod project;
mod toolchains;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Args;

use crate::test::{build_daemon, run_ignored};
use crate::workspace::{Workspace, line, say, variable};
use language::{LANGUAGES, Language};
use project::Project;
use toolchains::Toolchains;

/// Where the end-to-end test finds the folder with the projects and their modules.
pub(crate) const EXAMPLES_VARIABLE: &str = "POSTRIDER_TEST_EXAMPLES";
/// That folder, below the target directory.
pub(crate) const FOLDER: &str = "examples";
/// The end-to-end test, which is ignored in all other runs.
const DELIVERY_TEST: &str = "every_example_delivers_through_the_daemon";
/// What every one of the examples must do, as cases of `plugin test`.
const CASES: &str = "tests/handlers/cases";
/// A notifier whose `send` is async, which the engine of this language does not wait for, and the case that says so.
const PROMISE: (&str, &str) = ("js", "tests/handlers/promise");
/// Languages at once: some of the compilers use one core only.
const LANES: usize = 2;

/// What `cargo xtask examples` may be told.
#[derive(Args)]
pub(crate) struct Options {
    /// Measures what a delivery that does nothing costs in each language, with a release build
    #[arg(long)]
    bench: bool,
    /// Languages, as `plugin new --lang` takes them; by default all
    languages: Vec<String>,
}

/// Builds and tries every language whose tools can be had. In CI (`CI=true`) that must be all.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let wanted = wanted(&options.languages)?;
    let toolchains = Toolchains::of(workspace);
    let (there, left_out) = have_tools(&toolchains, wanted)?;
    if there.is_empty() {
        bail!("there are tools for none of the languages");
    }
    let bench = Bench { workspace, toolchains, folder: workspace.target_dir.join(FOLDER) };
    match options.bench {
        true => costs::run(&bench, &there)?,
        false => bench.try_all(&there)?,
    }
    if left_out.is_empty() {
        return Ok(());
    }
    let left_out = left_out.join(", ");
    if variable("CI").is_some_and(|ci| ci == "true") {
        bail!("left out: {left_out}; in CI every language is tried");
    }
    say(&format!("left out: {left_out}"))
}

/// Where the projects are made, and with what.
struct Bench<'a> {
    workspace: &'a Workspace,
    toolchains: Toolchains<'a>,
    /// Below the target directory.
    folder: PathBuf,
}

impl Bench<'_> {
    fn try_all(&self, languages: &[&'static Language]) -> Result<()> {
        build_daemon(self.workspace)?;
        let postrider = self.workspace.target_dir.join("debug/postrider");
        let projects = self.fresh("projects")?;
        side_by_side(languages, |language| self.try_one(&postrider, &projects, language))?;
        say("a delivery by the daemon through each of them")?;
        run_ignored(self.workspace, DELIVERY_TEST, (EXAMPLES_VARIABLE, &self.folder))
    }

    fn try_one(&self, postrider: &Path, projects: &Path, language: &Language) -> Result<String> {
        let project = Project::new(self, postrider, projects, "chat", language)?;
        let built = project.build()?;
        let module = project.module();
        let plugin = |command: &str, more: &[&OsStr]| {
            quietly(self.postrider(postrider).args(["plugin", command]).arg(&module).args(more))
        };
        plugin("check", &[])?;
        plugin("test", &[])?;
        plugin("test", &[self.workspace.root.join(CASES).as_os_str()])?;
        plugin("conform", &[])?;
        if language.name == PROMISE.0 {
            self.refuse_promise(postrider, language)?;
        }
        Ok(format!("{built}; check, test, its cases and conform passed"))
    }

    /// A promise is no answer: it must be told, and not taken for a receipt.
    fn refuse_promise(&self, postrider: &Path, language: &Language) -> Result<()> {
        // Not where the daemon of the end-to-end test looks.
        let project = Project::new(self, postrider, &self.fresh("promises")?, "promise", language)?;
        let sources = self.workspace.root.join(PROMISE.1);
        project.replace_source(&sources.join(language.source))?;
        project.build()?;
        let mut test = self.postrider(postrider);
        quietly(test.args(["plugin", "test"]).arg(project.module()).arg(&sources)).map(drop)
    }

    /// A command of postrider's, without the caller's settings and with a cache that the next run finds again.
    fn postrider(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"POSTRIDER_") {
                command.env_remove(name);
            }
        }
        command.env("XDG_CACHE_HOME", self.folder.join("cache"));
        command
    }

    /// An empty directory.
    fn fresh(&self, name: &str) -> Result<PathBuf> {
        let directory = self.folder.join(name);
        if directory.exists() {
            fs::remove_dir_all(&directory)
                .with_context(|| format!("cannot remove {}", directory.display()))?;
        }
        fs::create_dir_all(&directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
        Ok(directory)
    }
}

fn wanted(names: &[String]) -> Result<Vec<&'static Language>> {
    let known = || LANGUAGES.map(|language| language.name).join(", ");
    if names.is_empty() {
        return Ok(LANGUAGES.iter().collect());
    }
    let find = |name: &String| LANGUAGES.iter().find(|language| language.name == name);
    let find =
        |name| find(name).with_context(|| format!("no language {name:?}; there are {}", known()));
    names.iter().map(find).collect()
}

/// The languages whose tools are there by now, and the titles of the others.
fn have_tools(
    toolchains: &Toolchains<'_>,
    wanted: Vec<&'static Language>,
) -> Result<(Vec<&'static Language>, Vec<&'static str>)> {
    let (mut there, mut left_out) = (Vec::new(), Vec::new());
    for language in wanted {
        match toolchains.bring(language) {
            Ok(()) => there.push(language),
            Err(why) => {
                say(&format!("{} is left out: {why:#}", language.title))?;
                left_out.push(language.title);
            }
        }
    }
    Ok((there, left_out))
}

/// Works on some languages at once, and says what came of each. The first error is the answer.
fn side_by_side(
    languages: &[&'static Language],
    work: impl Fn(&Language) -> Result<String> + Sync,
) -> Result<()> {
    let next = Mutex::new(languages.iter());
    let lane = || -> Result<()> {
        loop {
            let language = next.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(language) = language else { return Ok(()) };
            let said = work(language).with_context(|| language.title);
            // The other lane ends after what it has begun.
            if said.is_err() {
                *next.lock().unwrap_or_else(PoisonError::into_inner) = [].iter();
            }
            say(&format!("{:<10} {}", language.title, said?))?;
        }
    };
    thread::scope(|scope| {
        let lanes: Vec<_> = (0..LANES).map(|_| scope.spawn(lane)).collect();
        let mut ended = lanes.into_iter().map(|lane| lane.join());
        ended.try_for_each(|ended| ended.unwrap_or_else(|_| Err(anyhow!("a lane panicked"))))
    })
}

/// Runs a command and keeps what it says, which is the error where it fails.
fn quietly(command: &mut Command) -> Result<Vec<u8>> {
    let line = line(command);
    let output = command.output().with_context(|| format!("cannot run `{line}`"))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = [output.stdout, output.stderr].concat();
    bail!("`{line}` failed: {}\n{}", output.status, String::from_utf8_lossy(&said).trim_end());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_has_its_folder_and_source() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for language in &LANGUAGES {
            let folder = root.join("examples/handlers").join(language.folder);
            assert!(folder.join(language.source).is_file(), "{}", folder.display());
            let idle = costs::source(&root, language);
            assert!(idle.is_file(), "{}", idle.display());
        }
        assert_eq!(fs::read_dir(root.join("examples/handlers")).unwrap().count(), LANGUAGES.len());
    }

    #[test]
    fn an_unknown_language_is_named_with_those_that_there_are() {
        let error = wanted(&["c".to_owned(), "perl".to_owned()]).err().unwrap().to_string();
        assert_eq!(error, "no language \"perl\"; there are rust, c, go, js, ts, python");
    }

    #[test]
    fn what_a_failed_command_said_is_in_the_error() {
        let mut command = Command::new("/bin/sh");
        let error = quietly(command.args(["-c", "echo why; exit 3"])).unwrap_err().to_string();
        assert_eq!(error, "`sh -c echo why; exit 3` failed: exit status: 3\nwhy");
    }

    #[test]
    fn an_error_ends_the_work_and_is_the_answer() {
        let languages: Vec<_> = LANGUAGES.iter().collect();
        let error = side_by_side(&languages, |language| match language.name {
            "rust" => Err(anyhow!("broken")),
            _ => Ok(String::new()),
        });
        assert_eq!(format!("{:#}", error.unwrap_err()), "Rust: broken");
    }
}
