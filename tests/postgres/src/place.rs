//! The directory of a cluster, and what lies in it.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::binaries::Binaries;
use crate::settings::Settings;
use crate::tools::{Tools, run};

/// The superuser of every cluster.
pub(crate) const ROLE: &str = "postrider";
/// `initdb` takes a second; this leaves room for a machine with much else to do.
const INITDB: Duration = Duration::from_secs(120);
/// A socket's path has at most 107 bytes. The names below this one need some 40.
const LONGEST_BASE: usize = 60;
/// How much of the log an error quotes.
const QUOTED_LINES: usize = 20;

pub(crate) struct Place {
    directory: TempDir,
    pub(crate) tools: Tools,
}

impl Place {
    /// Makes an empty directory that belongs to whoever will run the server.
    pub(crate) fn new(binaries: Binaries) -> Result<Self> {
        let mut base = std::env::temp_dir();
        if base.as_os_str().as_bytes().len() > LONGEST_BASE {
            base = "/tmp".into();
        }
        let directory = tempfile::Builder::new()
            .prefix("postrider-pg-")
            .tempdir_in(&base)
            .with_context(|| format!("no directory can be made in {}", base.display()))?;
        let tools = Tools::new(binaries, directory.path())?;
        Ok(Self { directory, tools })
    }

    /// Makes the files of a cluster.
    pub(crate) fn fill(&self, settings: &Settings) -> Result<()> {
        let mut initdb = self.tools.command("initdb");
        initdb.arg("-D").arg(self.data());
        initdb.args(["--no-sync", "--no-instructions", "-A", "trust", "-U", ROLE]);
        initdb.args(["-E", "UTF8", "--locale=C"]);
        run(initdb, INITDB).with_context(|| {
            format!(
                "no cluster can be made in {}; is there room, and may the server's user enter \
                 the directories above it? TMPDIR chooses another place",
                self.path().display()
            )
        })?;
        let configuration = self.data().join("postgresql.conf");
        OpenOptions::new()
            .append(true)
            .open(&configuration)
            .and_then(|mut file| file.write_all(settings.file(self.path()).as_bytes()))
            .with_context(|| format!("{} cannot be written", configuration.display()))
    }

    /// The directory, which also holds the socket.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    /// The log, open for the server to write to.
    pub(crate) fn open_log(&self) -> Result<File> {
        let log = self.log_path();
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("{} cannot be written", log.display()))
    }

    /// All that the server logged.
    pub(crate) fn log(&self) -> String {
        let log = std::fs::read(self.log_path()).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// The end of the log, for errors.
    pub(crate) fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().rev().take(QUOTED_LINES).collect();
        let tail = lines.into_iter().rev().fold(String::new(), |tail, line| tail + "\n  " + line);
        format!("{} ends with:{tail}", self.log_path().display())
    }

    fn log_path(&self) -> PathBuf {
        self.path().join("log")
    }
}
