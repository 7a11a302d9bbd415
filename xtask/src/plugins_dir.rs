//! What a fresh plugins directory holds: the modules that come with postrider and a destination for each.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::modules::MODULES;
use crate::workspace::say;

/// Destinations to begin with.
const SAMPLES: [(&str, &str); 2] = [
    ("console.toml", include_str!("samples/console.toml")),
    ("webhook.toml", include_str!("samples/webhook.toml")),
];

/// Fills `directory` with the modules that lie in `built`, and with the samples where there is no such file yet.
pub(crate) fn fill(directory: &Path, built: &Path) -> Result<()> {
    fs::create_dir_all(directory)
        .with_context(|| format!("cannot create {}", directory.display()))?;
    for module in MODULES {
        let file = format!("{module}.wasm");
        replace(&built.join(&file), directory, &file)?;
    }
    SAMPLES.iter().try_for_each(|(file, text)| add(directory, file, text))
}

/// Copies a module if it differs from the one there: written beside and renamed, so that a running daemon never sees
/// half of it.
fn replace(from: &Path, directory: &Path, file: &str) -> Result<()> {
    let module = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    let to = directory.join(file);
    if fs::read(&to).is_ok_and(|old| old == module) {
        return Ok(());
    }
    let beside = directory.join(format!(".{file}.part"));
    fs::write(&beside, module)
        .and_then(|()| fs::rename(&beside, &to))
        .with_context(|| format!("cannot write {}", to.display()))?;
    say(&format!("put {}", to.display()))
}

/// Writes a file that is not there; what somebody wrote is never overwritten.
fn add(directory: &Path, file: &str, text: &str) -> Result<()> {
    let path = directory.join(file);
    match File::create_new(&path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(()),
        created => created.and_then(|mut file| file.write_all(text.as_bytes())),
    }
    .with_context(|| format!("cannot write {}", path.display()))?;
    say(&format!("put {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use postrider_core::Destination;
    use tempfile::TempDir;

    fn built(content: &str) -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        for module in MODULES {
            fs::write(dir.path().join(format!("{module}.wasm")), content).unwrap();
        }
        dir
    }

    fn names(directory: &Path) -> Vec<String> {
        let files = fs::read_dir(directory).unwrap();
        let mut names: Vec<_> =
            files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_fresh_directory_gets_modules_and_destinations() {
        let dir = tempfile::tempdir().unwrap();
        let plugins = dir.path().join("data/plugins");
        fill(&plugins, built("wasm").path()).unwrap();
        assert_eq!(
            names(&plugins),
            ["console.toml", "console.wasm", "webhook.toml", "webhook.wasm"]
        );
    }

    #[test]
    fn a_changed_destination_stays_and_a_module_is_renewed() {
        let dir = tempfile::tempdir().unwrap();
        let read = |file| fs::read_to_string(dir.path().join(file)).unwrap();
        fill(dir.path(), built("old").path()).unwrap();
        fs::write(dir.path().join("webhook.toml"), "# mine").unwrap();

        fill(dir.path(), built("new").path()).unwrap();

        assert_eq!(read("webhook.toml"), "# mine");
        assert_eq!(read("webhook.wasm"), "new");
    }

    #[test]
    fn an_equal_module_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let written = || fs::metadata(dir.path().join("console.wasm")).unwrap().modified().unwrap();
        fill(dir.path(), built("same").path()).unwrap();
        let before = written();
        fill(dir.path(), built("same").path()).unwrap();
        assert_eq!(written(), before);
    }

    #[test]
    fn the_samples_are_destinations() {
        for (file, text) in SAMPLES {
            let name = file.strip_suffix(".toml").unwrap();
            Destination::parse(name, text).unwrap();
        }
    }

    /// Lines such as `#[secrets]` are settings; prose has a space after its `#`.
    #[test]
    fn the_samples_are_destinations_with_all_settings_too() {
        for (file, text) in SAMPLES {
            let setting =
                |line: &str| line.starts_with('#') && !line.starts_with("# ") && line != "#";
            let lines: Vec<_> =
                text.lines().map(|line| if setting(line) { &line[1..] } else { line }).collect();
            let name = file.strip_suffix(".toml").unwrap();
            Destination::parse(name, &lines.join("\n")).unwrap();
        }
    }
}
