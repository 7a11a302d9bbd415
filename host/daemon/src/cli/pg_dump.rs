//! `pg_dump`, wherever it is.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use reqwest::Url;
use tokio::process::Command;

const PROGRAM: &str = "pg_dump";
/// Where Debian and Ubuntu put the versions, away from `PATH`.
const DEBIAN: &str = "/usr/lib/postgresql";

/// Dumps the database at `url` into the new file `to`, for its owner only. A dump that fails leaves nothing.
pub(super) async fn run(url: &str, to: &Path) -> Result<()> {
    let program = find().await.context(
        "pg_dump is neither in PATH, nor where pg_config says, nor in /usr/lib/postgresql: install PostgreSQL's \
         client programs, at least of the server's version",
    )?;
    let (url, password) = without_password(url)?;
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to);
    let file = file.with_context(|| format!("cannot write {}; name a new file", to.display()))?;
    let mut command = Command::new(&program);
    command.args(["--format=custom", "--no-password", "--dbname", url.as_str()]);
    // Not as an argument: those everybody on this machine can read.
    command.envs(password.map(|password| ("PGPASSWORD", password)));
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(Stdio::piped());
    // Not `output`, which would take standard output for itself.
    let dumped = match command.kill_on_drop(true).spawn() {
        Ok(dumping) => dumping.wait_with_output().await,
        Err(error) => Err(error),
    };
    let problem = match &dumped {
        Ok(done) if done.status.success() => match file.sync_all() {
            Ok(()) => return Ok(()),
            Err(error) => error.to_string(),
        },
        Ok(done) => String::from_utf8_lossy(&done.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    std::fs::remove_file(to).with_context(|| format!("the rest of {} stays", to.display()))?;
    bail!("{}: {problem}", program.display())
}

/// The URL for an argument, and the password that must not be in it.
fn without_password(url: &str) -> Result<(Url, Option<String>)> {
    // The parser's error repeats nothing of the URL.
    let mut url: Url = url.parse().context("the database's URL is not understood")?;
    let mut password = url.password().map(decoded);
    let kept: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    url.set_query(None);
    for (name, value) in kept {
        match name.as_str() {
            "password" => password = Some(value),
            // sqlx's own.
            "statement-cache-capacity" => {}
            _ => drop(url.query_pairs_mut().append_pair(&name, &value)),
        }
    }
    if url.password().is_some() && url.set_password(None).is_err() {
        bail!("the database's URL has a password but no host");
    }
    Ok((url, password))
}

/// A part of a URL as it was before it was escaped.
fn decoded(part: &str) -> String {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        let escaped = more.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let byte =
            escaped.filter(|_| *first == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { more.get(2..).unwrap_or_default() } else { more };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn find() -> Option<PathBuf> {
    let along_path = std::env::var_os("PATH").and_then(|path| {
        std::env::split_paths(&path).map(|d| d.join(PROGRAM)).find(|program| program.is_file())
    });
    if along_path.is_some() {
        return along_path;
    }
    if let Ok(told) = Command::new("pg_config").arg("--bindir").output().await {
        let program = PathBuf::from(String::from_utf8_lossy(&told.stdout).trim()).join(PROGRAM);
        if program.is_absolute() && program.is_file() {
            return Some(program);
        }
    }
    newest(Path::new(DEBIAN))
}

fn newest(versions: &Path) -> Option<PathBuf> {
    let found = std::fs::read_dir(versions).ok()?.filter_map(|entry| {
        let version = entry.ok()?;
        let number: u32 = version.file_name().to_str()?.split('.').next()?.parse().ok()?;
        let program = version.path().join("bin").join(PROGRAM);
        program.is_file().then_some((number, program))
    });
    found.max().map(|(_, program)| program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_no_argument() {
        for url in [
            "postgres://me:s%40cret@db:5433/x?sslmode=require",
            "postgres://me@db:5433/x?password=s%40cret&sslmode=require",
        ] {
            let (url, password) = without_password(url).unwrap();
            assert_eq!(url.as_str(), "postgres://me@db:5433/x?sslmode=require");
            assert_eq!(password.as_deref(), Some("s@cret"));
        }
    }

    #[test]
    fn the_newest_version_is_taken() {
        let versions = tempfile::tempdir().unwrap();
        for version in ["9.6", "15", "other"] {
            let directory = versions.path().join(version).join("bin");
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(directory.join(PROGRAM), "").unwrap();
        }
        assert_eq!(newest(versions.path()), Some(versions.path().join("15/bin").join(PROGRAM)));
    }
}
