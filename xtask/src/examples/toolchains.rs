//! The tools of each language, in a folder of the user's cache that all clones share. What is missing is installed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::language::{Language, Tools};
use super::quietly;
use crate::modules;
use crate::workspace::{Workspace, cache, say, succeeds};

/// A registry may fail for a moment: tries, and the pause between two.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(5);
/// Written into a folder once all is in it.
const WHOLE: &str = ".whole";

/// The folders of the tools.
pub(super) struct Toolchains<'a> {
    workspace: &'a Workspace,
    folder: PathBuf,
}

impl<'a> Toolchains<'a> {
    pub(super) fn of(workspace: &'a Workspace) -> Self {
        let folder = cache().unwrap_or_else(|| workspace.target_dir.clone()).join("toolchains");
        Self { workspace, folder }
    }

    /// Makes sure that a language's tools are there. The error says what keeps it from being built.
    pub(super) fn bring(&self, language: &Language) -> Result<()> {
        match language.tools {
            Tools::Rust => modules::add_target(self.workspace),
            Tools::Python => self.bring_python(language),
            Tools::Npm => self.bring_npm(language),
        }
    }

    /// Puts them where a project looks for them.
    pub(super) fn link(&self, language: &Language, project: &Path) -> Result<()> {
        let (at, place) = match language.tools {
            Tools::Rust => return Ok(()),
            Tools::Python => (self.python(language)?, ".venv"),
            Tools::Npm => (self.npm()?.join("node_modules"), "node_modules"),
        };
        let link = project.join(place);
        std::os::unix::fs::symlink(&at, &link)
            .with_context(|| format!("cannot link {} to {}", link.display(), at.display()))
    }

    fn bring_python(&self, language: &Language) -> Result<()> {
        if !succeeds(Command::new("python3").args(["-c", "import ensurepip, venv"])) {
            bail!(
                "its tools come by pip, and there is no python3 with the modules venv and ensurepip; install Python \
                 3.10 or newer (on Debian and Ubuntu: python3 and python3-venv)"
            );
        }
        let place = self.python(language)?;
        // Its interpreter is the system's, which may have been replaced.
        let runs = || succeeds(Command::new(place.join("bin/python")).arg("--version"));
        install(&place, runs, || {
            quietly(Command::new("python3").args(["-m", "venv"]).arg(&place))?;
            let mut pip = Command::new(place.join("bin/pip"));
            pip.args(["install", "--disable-pip-version-check", "--no-input", "--requirement"]);
            quietly(pip.arg(self.sources(language).join("requirements.txt"))).map(drop)
        })
    }

    fn bring_npm(&self, language: &Language) -> Result<()> {
        for program in ["node", "npm"] {
            if !succeeds(Command::new(program).arg("--version")) {
                bail!(
                    "its tools come by npm, and there is no {program} on the PATH; install Node.js 20 or newer with \
                     npm: https://nodejs.org"
                );
            }
        }
        let place = self.npm()?;
        install(
            &place,
            || true,
            || {
                fs::create_dir_all(&place)?;
                // TypeScript's list has all of JavaScript's; a test of this tool's holds that.
                fs::copy(self.npm_list(), place.join("package.json"))?;
                let mut npm = Command::new("npm");
                npm.args(["install", "--no-audit", "--no-fund"]).current_dir(&place);
                quietly(&mut npm).map(drop)
            },
        )
        .with_context(|| format!("the tools of {}", language.title))
    }

    fn sources(&self, language: &Language) -> PathBuf {
        self.workspace.root.join("examples/handlers").join(language.folder)
    }

    fn npm_list(&self) -> PathBuf {
        self.workspace.root.join("examples/handlers/typescript/package.json")
    }

    /// A virtual environment, named by the pin of its tool, such as `ziglang-0.17.1`.
    fn python(&self, language: &Language) -> Result<PathBuf> {
        let path = self.sources(language).join("requirements.txt");
        let list =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let pins: Vec<&str> = list.split_whitespace().collect();
        Ok(self.folder.join(pins.join("+").replace("==", "-")))
    }

    /// A folder with the packages of `package.json`, named by their pins.
    fn npm(&self) -> Result<PathBuf> {
        let path = self.npm_list();
        let list =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let pins: Vec<String> =
            npm_pins(&list).map(|(name, pin)| format!("{name}-{pin}")).collect();
        if pins.is_empty() {
            bail!("{} pins no package below devDependencies", path.display());
        }
        Ok(self.folder.join(pins.join("+")))
    }
}

/// The packages that a `package.json` pins, by the last part of their names.
pub(super) fn npm_pins(list: &str) -> impl Iterator<Item = (&str, &str)> {
    let pins = list.split_once("\"devDependencies\": {").map_or("", |(_, rest)| rest);
    pins.lines().skip(1).map_while(|line| {
        let mut words = line.split('"');
        let (name, pin) = (words.nth(1)?, words.nth(1)?);
        Some((name.rsplit('/').next().unwrap_or(name), pin))
    })
}

/// Installs into a folder unless it is whole and `runs`. One at a time, also between clones.
fn install(place: &Path, runs: impl Fn() -> bool, into: impl Fn() -> Result<()>) -> Result<()> {
    let (shown, whole) = (place.display(), place.join(WHOLE));
    let parent = place.parent().context("the folder of the tools has no parent")?;
    fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    let lock = File::create(place.with_added_extension("lock"))
        .with_context(|| format!("cannot write beside {shown}"))?;
    lock.lock().with_context(|| format!("cannot lock {shown}"))?;
    if whole.is_file() && runs() {
        return Ok(());
    }
    say(&format!("installing into {shown}"))?;
    let mut left = TRIES;
    loop {
        if place.exists() {
            fs::remove_dir_all(place).with_context(|| format!("cannot remove {shown}"))?;
        }
        left -= 1;
        match into() {
            Ok(()) => {
                return fs::write(&whole, "").with_context(|| format!("cannot write {shown}"));
            }
            Err(error) if left == 0 => {
                return Err(
                    error.context(format!("cannot install into {shown} after {TRIES} tries"))
                );
            }
            Err(error) => say(&format!("trying once more, since {error:#}"))?,
        }
        sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn the_pins_of_a_package_json_are_read() {
        let list = "{\n  \"name\": \"x\",\n  \"devDependencies\": {\n    \"@a/js\": \"0.23.0\",\n    \"esbuild\": \"0.28.2\"\n  }\n}";
        let pins: Vec<_> = npm_pins(list).collect();
        assert_eq!(pins, [("js", "0.23.0"), ("esbuild", "0.28.2")]);
        assert_eq!(npm_pins("{}").count(), 0);
    }

    #[test]
    fn one_folder_serves_javascript_and_typescript() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/handlers");
        let read =
            |language: &str| fs::read_to_string(root.join(language).join("package.json")).unwrap();
        let (js, ts) = (read("javascript"), read("typescript"));
        let all: Vec<_> = npm_pins(&ts).collect();
        assert!(npm_pins(&js).count() >= 2);
        for pin in npm_pins(&js) {
            assert!(all.contains(&pin), "{pin:?} is not what TypeScript's package.json pins");
        }
    }

    #[test]
    fn a_folder_that_is_whole_is_left_alone_and_a_half_one_is_made_again() {
        let parent = tempfile::tempdir().unwrap();
        let place = parent.path().join("tool-1.0");
        let times = Cell::new(0);
        let into = || {
            times.set(times.get() + 1);
            fs::create_dir(&place)?;
            fs::write(place.join("tool"), "")?;
            Ok(())
        };
        install(&place, || true, into).unwrap();
        install(&place, || true, into).unwrap();
        assert_eq!(times.get(), 1);
        install(&place, || false, into).unwrap();
        assert_eq!(times.get(), 2, "one that does not run");
        fs::remove_file(place.join(WHOLE)).unwrap();
        install(&place, || true, into).unwrap();
        assert_eq!(times.get(), 3, "one that was interrupted");
    }
}
