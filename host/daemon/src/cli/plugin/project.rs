//! What lies beside a module: the destination that it is tried with, and a notification for it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use postrider_core::destination::check_name;

/// Of the destination file that a project comes with.
const EXAMPLE: &str = ".toml.example";
/// The notification that a project comes with, as `POST /v1/notifications` takes it.
const PAYLOAD: &str = "payload.json";

/// A module's file and what its author put beside it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Project {
    /// Of the module and of the destination.
    pub(super) name: String,
    pub(super) module: PathBuf,
    /// `NAME.toml.example`, else `NAME.toml`; none where there is neither.
    pub(super) destination: Option<PathBuf>,
    pub(super) payload: Option<PathBuf>,
}

impl Project {
    /// Of a `.wasm` file, or of the directory of a project.
    pub(super) fn of(given: &Path) -> Result<Self> {
        let module = match given.is_dir() {
            true => module_in(given)?,
            false => given.to_owned(),
        };
        let name = module.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        check_name(&name).map_err(|problem| anyhow!("{}: {problem}", module.display()))?;
        if !module.is_file() {
            let what = if module.exists() { "it is not a regular file" } else { "there is none" };
            bail!("cannot read {}: {what}; give the .wasm file or its project", module.display());
        }
        let directory = module.parent().unwrap_or(Path::new(""));
        let beside = |file: String| Some(directory.join(file)).filter(|path| path.is_file());
        Ok(Self {
            destination: beside(format!("{name}{EXAMPLE}"))
                .or_else(|| beside(format!("{name}.toml"))),
            payload: beside(PAYLOAD.to_owned()),
            name,
            module,
        })
    }

    pub(super) fn bytes(&self) -> Result<Vec<u8>> {
        fs::read(&self.module).with_context(|| format!("cannot read {}", self.module.display()))
    }
}

/// The module of the project in a directory: the one that its destination file is named after, else the only one.
fn module_in(directory: &Path) -> Result<PathBuf> {
    let place = directory.display();
    let mut examples = Vec::new();
    let mut modules = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| format!("cannot read {place}"))? {
        let path = entry.with_context(|| format!("cannot read {place}"))?.path();
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        if let Some(name) = file.strip_suffix(EXAMPLE) {
            examples.push(directory.join(format!("{name}.wasm")));
        } else if file.ends_with(".wasm") {
            modules.push(path);
        }
    }
    match (examples.as_slice(), modules.as_slice()) {
        ([module], _) if module.is_file() => Ok(module.clone()),
        ([module], _) => {
            bail!("there is no {} yet; build it: postrider plugin build {place}", module.display())
        }
        ([], [module]) => Ok(module.clone()),
        ([], []) => bail!(
            "{place} is no project of a module: it has no NAME{EXAMPLE} and no .wasm file; \
             make one: postrider plugin new --lang rust NAME"
        ),
        _ => bail!("{place} has several modules; name one of them"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(directory: &Path) -> String {
        Project::of(directory).unwrap_err().to_string()
    }

    #[test]
    fn a_directory_is_the_module_that_its_destination_is_named_after() {
        let dir = tempfile::tempdir().unwrap();
        let put = |file: &str| {
            let path = dir.path().join(file);
            fs::write(&path, "").unwrap();
            path
        };
        assert!(error(dir.path()).contains("is no project of a module"));
        let example = put("chat.toml.example");
        assert!(error(dir.path()).contains("postrider plugin build"));
        put("other.wasm");
        let module = put("chat.wasm");
        let payload = put("payload.json");
        let found = Project::of(dir.path()).unwrap();
        assert_eq!(found, Project::of(&module).unwrap());
        assert_eq!((found.name.as_str(), found.module), ("chat", module));
        assert_eq!((found.destination, found.payload), (Some(example), Some(payload)));
        put("b.toml.example");
        assert!(error(dir.path()).contains("has several modules"));
    }

    #[test]
    fn what_is_not_there_is_named() {
        assert!(error(Path::new("none.wasm")).starts_with("cannot read none.wasm: there is none"));
        assert!(error(Path::new("/dev/null")).contains("not a regular file"));
    }
}
