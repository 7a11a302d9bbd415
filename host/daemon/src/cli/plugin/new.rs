//! `postrider plugin new`: writes a ready project from the templates in this binary.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::language::Language;

/// Longest name of a project, in bytes.
const MAX_NAME: usize = 64;
/// What a project's build needs under these names itself.
const TAKEN: [&str; 7] = ["alloc", "core", "main", "postrider", "postrider-sdk", "serde", "std"];

#[derive(clap::Args)]
pub(crate) struct New {
    /// The language to write it in.
    #[arg(long, value_enum)]
    lang: Language,
    /// Name of the module, and of the directory that is made for it.
    name: String,
}

pub(super) fn run(new: &New) -> Result<()> {
    let directory = write(Path::new(""), new)?;
    let (name, language) = (&new.name, new.lang.title());
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}: a notifier in {language}. Next:\n\n  cd {name}", directory.display())?;
    if let Some(setup) = new.lang.setup() {
        writeln!(out, "  {setup}")?;
    }
    writeln!(out, "  postrider plugin build\n  postrider plugin check {name}.wasm\n")?;
    writeln!(out, "README.md says how to drop it in.")?;
    Ok(())
}

/// Writes the project below `parent`, whole or not at all.
fn write(parent: &Path, new: &New) -> Result<PathBuf> {
    check_name(&new.name)?;
    let directory = parent.join(&new.name);
    if std::fs::symlink_metadata(&directory).is_ok() {
        bail!("{} exists already; choose another name, or remove it", directory.display());
    }
    let beside = parent.join(format!(".{}.new", new.name));
    std::fs::create_dir(&beside).with_context(|| {
        format!(
            "cannot make {}; what an interrupted `plugin new` left is removed by hand",
            beside.display()
        )
    })?;
    let written = fill(&beside, new).and_then(|()| {
        std::fs::rename(&beside, &directory)
            .with_context(|| format!("cannot make {}", directory.display()))
    });
    if written.is_err() {
        // The first error is the one to tell.
        let _left = std::fs::remove_dir_all(&beside).is_err();
    }
    written.map(|()| directory)
}

fn fill(directory: &Path, new: &New) -> Result<()> {
    for (path, content) in new.lang.template(&new.name) {
        put(&directory.join(path), &content)?;
    }
    bring(directory, new.lang).map(drop)
}

/// Writes those directories of a project that postrider brings and that are missing. Answers their names.
pub(super) fn bring(directory: &Path, language: Language) -> Result<Vec<&'static Path>> {
    let mut brought = Vec::new();
    for (place, files) in language.brought() {
        if directory.join(place).exists() {
            continue;
        }
        for (path, content) in files {
            put(&directory.join(place).join(path), content)?;
        }
        brought.push(place);
    }
    Ok(brought)
}

fn put(path: &Path, content: &[u8]) -> Result<()> {
    let write = || -> std::io::Result<()> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, content)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// A name that is a file's, a crate's, a package's and a Go module's at once.
fn check_name(name: &str) -> Result<()> {
    let rule =
        "a name begins with a small letter and goes on with small letters, digits, '-' and '_'";
    let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    if name.is_empty() {
        bail!("the name is empty; {rule}");
    }
    if name.len() > MAX_NAME {
        bail!("the name is {} bytes long; at most {MAX_NAME} are allowed", name.len());
    }
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(fine) {
        bail!("\"{}\" is no name for a module; {rule}", name.escape_debug());
    }
    if TAKEN.contains(&name) {
        bail!("{name:?} is the name of something that the project is built from; choose another");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(name: &str) -> New {
        New { lang: Language::Go, name: name.to_owned() }
    }

    #[test]
    fn a_project_is_written_whole() {
        let parent = tempfile::tempdir().unwrap();
        let directory = write(parent.path(), &new("my-room")).unwrap();
        for file in ["notifier.go", "go.mod", "postrider/http/bindings.go", "wit/deps/io.wit"] {
            assert!(directory.join(file).is_file(), "{file}");
        }
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 1, "nothing else is left");
        assert!(bring(&directory, Language::Go).unwrap().is_empty(), "all of it was there");
    }

    #[test]
    fn what_exists_is_left_alone() {
        let parent = tempfile::tempdir().unwrap();
        std::fs::write(parent.path().join("room"), "mine").unwrap();
        let error = write(parent.path(), &new("room")).unwrap_err().to_string();
        assert!(
            error.ends_with("room exists already; choose another name, or remove it"),
            "{error}"
        );
        assert_eq!(std::fs::read(parent.path().join("room")).unwrap(), b"mine");
    }

    #[test]
    fn a_name_must_fit_files_and_packages() {
        for name in ["a", "my-room", "room_2"] {
            check_name(name).unwrap();
        }
        let long = "a".repeat(65);
        for (name, problem) in [
            ("", "the name is empty"),
            ("../room", "is no name"),
            ("a/b", "is no name"),
            ("Room", "is no name"),
            ("2room", "is no name"),
            ("-room", "is no name"),
            ("räum", "is no name"),
            ("a\nb", "\"a\\nb\" is no name"),
            ("serde", "choose another"),
            (&long, "65 bytes"),
        ] {
            let error = check_name(name).unwrap_err().to_string();
            assert!(error.contains(problem), "{name:?}: {error}");
        }
    }

    #[test]
    fn missing_parts_are_brought_again() {
        let parent = tempfile::tempdir().unwrap();
        let directory = write(parent.path(), &new("room")).unwrap();
        std::fs::remove_dir_all(directory.join("postrider")).unwrap();
        std::fs::write(directory.join("wit/notifier.wit"), "older").unwrap();
        assert_eq!(bring(&directory, Language::Go).unwrap(), [Path::new("postrider")]);
        assert_eq!(std::fs::read(directory.join("wit/notifier.wit")).unwrap(), b"older");
    }
}
