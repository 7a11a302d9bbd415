//! Where the server's programs are.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where Debian and Ubuntu put the versions, away from `PATH`.
const DEBIAN: &str = "/usr/lib/postgresql";
/// What a directory must hold. `pg_config` also comes with the client's library alone.
const SERVER: [&str; 2] = ["initdb", "postgres"];

/// The directory of the server's programs.
#[derive(Clone, Debug)]
pub struct Binaries(PathBuf);

impl Binaries {
    /// Looks where `pg_config` says, then along `PATH`, then for the newest of Debian's versions.
    pub fn find() -> Option<Self> {
        let along_path = || {
            let path = std::env::var_os("PATH")?;
            std::env::split_paths(&path).find(|directory| has_server(directory))
        };
        from_pg_config().or_else(along_path).or_else(|| newest(Path::new(DEBIAN))).map(Self)
    }

    /// The path of a program. `psql` may lie elsewhere than the server; it is then left to `PATH`.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        let path = self.0.join(name);
        if path.exists() { path } else { name.into() }
    }
}

fn from_pg_config() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").output().ok()?;
    let directory = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim_end());
    has_server(&directory).then_some(directory)
}

fn newest(versions: &Path) -> Option<PathBuf> {
    let version = |name: &OsStr| -> Option<Vec<u32>> {
        name.to_str()?.split('.').map(|part| part.parse().ok()).collect()
    };
    std::fs::read_dir(versions)
        .ok()?
        .filter_map(|entry| Some((version(&entry.as_ref().ok()?.file_name())?, entry.ok()?.path())))
        .map(|(version, path)| (version, path.join("bin")))
        .filter(|(_, directory)| has_server(directory))
        .max()
        .map(|(_, directory)| directory)
}

fn has_server(directory: &Path) -> bool {
    directory.is_absolute() && SERVER.iter().all(|program| directory.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_with_a_server_is_taken() {
        let versions = tempfile::tempdir().unwrap();
        for version in ["9.6", "15", "16", "not-a-version"] {
            let directory = versions.path().join(version).join("bin");
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(directory.join("initdb"), "").unwrap();
            if version != "16" {
                std::fs::write(directory.join("postgres"), "").unwrap();
            }
        }

        assert_eq!(newest(versions.path()), Some(versions.path().join("15/bin")));
    }
}
