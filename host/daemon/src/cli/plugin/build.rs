//! `postrider plugin build`: runs a project's toolchain, and leaves `NAME.wasm` in its root.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow, bail};

use super::language::Language;
use super::new::bring;
use super::toolchain;

#[derive(clap::Args)]
pub(crate) struct Build {
    /// The project's directory.
    #[arg(default_value = ".")]
    dir: PathBuf,
}

/// A directory with a notifier's sources.
#[derive(Debug)]
struct Project {
    root: PathBuf,
    name: String,
    language: Language,
}

pub(super) fn run(build: &Build) -> Result<()> {
    let project = Project::at(&build.dir)?;
    let mut out = std::io::stdout().lock();
    for place in bring(&project.root, project.language)? {
        writeln!(out, "brought {}/ into the project", place.display())?;
    }
    let started = Instant::now();
    let module = project.root.join(format!("{}.wasm", project.name));
    let made = project.root.join(format!(".{}.wasm", project.name));
    toolchain::build(project.language, &project.root, &made)?;
    let size = std::fs::metadata(&made)
        .with_context(|| format!("the build made no {}", made.display()))?
        .len();
    std::fs::rename(&made, &module)
        .with_context(|| format!("cannot write {}", module.display()))?;
    let took = started.elapsed().as_secs_f64();
    writeln!(
        out,
        "built {name}.wasm from {language}: {size} bytes in {took:.1} s. Look at it with: postrider plugin check {}",
        module.display(),
        name = project.name,
        language = project.language.title(),
    )?;
    Ok(())
}

impl Project {
    fn at(directory: &Path) -> Result<Self> {
        let root = directory
            .canonicalize()
            .with_context(|| format!("cannot open the directory {}", directory.display()))?;
        let shown = directory.display();
        let marked = |language: &Language| {
            language.marks().iter().find(|mark| root.join(mark).is_file()).copied()
        };
        let found = Language::ALL.into_iter().find_map(|l| marked(&l).map(|mark| (l, mark)));
        let Some((language, mark)) = found else {
            let sources: Vec<&str> = Language::ALL.iter().map(|l| l.source()).collect();
            bail!(
                "{shown} holds no notifier's sources: none of {}; `postrider plugin new` makes a project",
                sources.join(", ")
            );
        };
        if !root.join(language.source()).is_file() {
            bail!(
                "{shown} has {mark}, so it is a project in {}, but {} is missing: that is where the notifier is written",
                language.title(),
                language.source()
            );
        }
        let name = name(&root)?;
        Ok(Self { root, name, language })
    }
}

/// The module's name: that of the destination file, or else of the directory.
fn name(root: &Path) -> Result<String> {
    let mut examples = Vec::new();
    for item in std::fs::read_dir(root)? {
        let file = item?.file_name().to_string_lossy().into_owned();
        examples.extend(file.strip_suffix(".toml.example").map(str::to_owned));
    }
    let directory = || root.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = match examples.as_slice() {
        [name] => name.clone(),
        [] => directory().ok_or_else(|| anyhow!("{} has no name", root.display()))?,
        _ => {
            examples.sort();
            bail!(
                "{} has {} files NAME.toml.example ({}); the module takes its name from one, so keep one",
                root.display(),
                examples.len(),
                examples.join(", ")
            );
        }
    };
    postrider_core::destination::check_name(&name)
        .map_err(|problem| anyhow!("the module would be called {name:?}: {problem}"))?;
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(files: &[&str]) -> (tempfile::TempDir, Result<Project>) {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let project = Project::at(dir.path());
        (dir, project)
    }

    #[test]
    fn each_language_is_told_by_its_source() {
        for language in Language::ALL {
            let (_dir, project) = project(&[language.source(), "room.toml.example"]);
            let project = project.unwrap();
            assert_eq!((project.language, project.name.as_str()), (language, "room"));
        }
    }

    #[test]
    fn a_directory_without_sources_is_refused() {
        let error = project(&["README.md"]).1.unwrap_err().to_string();
        assert!(error.contains("holds no notifier's sources: none of src/lib.rs, "), "{error}");
        let error = project(&["Cargo.toml"]).1.unwrap_err().to_string();
        assert!(error.contains("a project in Rust, but src/lib.rs is missing"), "{error}");
        let error = Project::at(Path::new("/nowhere/at all")).unwrap_err().to_string();
        assert_eq!(error, "cannot open the directory /nowhere/at all");
    }

    #[test]
    fn two_names_are_one_too_many() {
        let (_dir, project) = project(&["notifier.c", "b.toml.example", "a.toml.example"]);
        let error = project.unwrap_err().to_string();
        assert!(error.contains("2 files NAME.toml.example (a, b)"), "{error}");
    }
}
