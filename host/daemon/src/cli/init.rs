//! `postrider init`: settings to begin with.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use super::show;

/// Every setting with its default and its reason, each behind a `#`.
const TEMPLATE: &str = include_str!("../../../../examples/postrider.toml");

/// The database's URL may hold a password.
const MODE: u32 = 0o640;

#[derive(Args)]
pub(super) struct Given {
    /// The file to write; `-` prints it, and makes nothing.
    #[arg(long, value_name = "FILE", default_value = "postrider.toml")]
    path: PathBuf,
    /// Writes this as `data_dir` [default: data].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Writes this as `plugins_dir` [default: `plugins` in the data directory].
    #[arg(long, value_name = "DIR")]
    plugins_dir: Option<PathBuf>,
}

/// Makes the plugins directory, then the file.
pub(super) fn run(given: &Given) -> Result<()> {
    let text = settings(given.data_dir.as_deref(), given.plugins_dir.as_deref())?;
    if given.path == Path::new("-") {
        return show::print(&text);
    }
    let path = given.path.display();
    let taken = || {
        format!(
            "{path} is there already and stays as it is; choose another --path, or move it away"
        )
    };
    if given.path.symlink_metadata().is_ok() {
        bail!(taken());
    }
    let data_dir = given.data_dir.clone().unwrap_or_else(|| "data".into());
    let plugins = given.plugins_dir.clone().unwrap_or_else(|| data_dir.join("plugins"));
    std::fs::create_dir_all(&plugins)
        .with_context(|| format!("cannot create the directory {}", plugins.display()))?;
    match OpenOptions::new().write(true).create_new(true).mode(MODE).open(&given.path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => bail!(taken()),
        opened => opened.and_then(|mut file| file.write_all(text.as_bytes())),
    }
    .with_context(|| format!("cannot write {path}"))?;
    show::print(&format!(
        "wrote {path}; modules and destination files go into {}\nstart with: postrider serve --config {path}\n",
        plugins.display()
    ))
}

/// The file's text, with the directories that were given in force.
fn settings(data_dir: Option<&Path>, plugins_dir: Option<&Path>) -> Result<String> {
    let mut text = TEMPLATE.to_owned();
    for (key, directory) in [("data_dir", data_dir), ("plugins_dir", plugins_dir)] {
        let Some(directory) = directory else { continue };
        let directory = directory.to_str().with_context(|| {
            format!("{} cannot be written into the settings; it is not UTF-8", directory.display())
        })?;
        let begin = format!("#{key} = ");
        let with = |line: &str| match line.starts_with(&begin) {
            true => format!("{key} = {}\n", toml::Value::from(directory)),
            false => format!("{line}\n"),
        };
        text = text.lines().map(with).collect();
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Flags, KEYS};

    /// The keys that stand behind a `#`, and the text without these marks. Prose has a space after its `#`.
    fn uncommented(text: &str) -> (Vec<String>, String) {
        let mut keys = Vec::new();
        let mut table = String::new();
        let setting = |line: &str| line.starts_with('#') && !line.starts_with("# ") && line != "#";
        let mut take = |line: &str| {
            let line = if setting(line) { &line[1..] } else { line };
            if let Some(name) = line.strip_prefix('[') {
                table = format!("{}_", name.trim_end_matches(']'));
            } else if let Some((key, _)) = line.split_once(" = ").filter(|_| !line.starts_with('#'))
            {
                keys.push(format!("{table}{key}"));
            }
            format!("{line}\n")
        };
        let text = text.lines().map(&mut take).collect();
        (keys, text)
    }

    fn load(text: &str) -> Config {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("postrider.toml");
        std::fs::write(&path, text).unwrap();
        Config::load(&Flags { config: Some(path), ..Flags::default() }, &[]).unwrap()
    }

    #[test]
    fn the_file_has_every_setting_and_each_stands_for_its_default() {
        let text = settings(None, None).unwrap();
        let default = Config::load(&Flags::default(), &[]).unwrap();
        assert_eq!(load(&text), default, "as it is written");
        let (keys, text) = uncommented(&text);
        assert_eq!(keys, KEYS);
        assert_eq!(load(&text), default, "with every mark taken away");
    }

    #[test]
    fn what_is_marked_live_is_what_a_reload_takes() {
        let prose = TEMPLATE.split("\n\n").filter(|part| part.contains("Live."));
        let marked = prose.flat_map(|part| uncommented(part).0);
        // The table's sentence is for its three, which the test of the reload has.
        let marked: Vec<_> = marked.filter(|key| !key.starts_with("retention_")).collect();
        let old = Config::load(&Flags::default(), &[]).unwrap();
        let variables = [
            ("HOSTS", "x.example"),
            ("LOG_LEVEL", "warn"),
            ("MAX_QUEUE", "1"),
            ("MIN_FREE_DISK", "1"),
            ("GRACE", "1s"),
            ("LEASE", "4s"),
            ("MAX_BODY", "1KiB"),
            ("ORPHAN_AFTER", "1s"),
            ("LOG_FORMAT", "json"),
            ("LISTEN", "127.0.0.1:1"),
        ];
        let variables = variables.map(|(name, value)| (format!("POSTRIDER_{name}"), value.into()));
        let new = Config::load(&Flags::default(), &variables).unwrap();
        assert_eq!(old.differing(&old.with_live(&new)), marked);
    }

    #[test]
    fn directories_are_written_whatever_is_in_their_names() {
        let text = settings(Some(Path::new("/a \"b\"")), Some(Path::new("/p"))).unwrap();
        let config = load(&text);
        assert_eq!(config.data_dir, Path::new("/a \"b\""));
        assert_eq!(config.plugins_dir, Path::new("/p"));
    }

    #[test]
    fn what_is_there_stays() {
        let dir = tempfile::tempdir().unwrap();
        let given = Given {
            path: dir.path().join("postrider.toml"),
            data_dir: Some(dir.path().join("data")),
            plugins_dir: None,
        };
        std::fs::write(&given.path, "mine").unwrap();
        let error = run(&given).unwrap_err().to_string();
        assert!(error.contains("is there already and stays as it is"), "{error}");
        assert_eq!(std::fs::read_to_string(&given.path).unwrap(), "mine");
        assert!(!dir.path().join("data").exists());
    }
}
