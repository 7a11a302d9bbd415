//! Copies of the last good modules, so that a broken file plus a restart loses nothing.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::loading::sha256;

/// A directory of modules named by their SHA-256.
#[derive(Clone, Debug)]
pub struct KeptModules(PathBuf);

impl KeptModules {
    pub fn open(directory: &Path) -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        // Modules may be somebody's own code; nobody else needs them.
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        Ok(Self(directory.to_owned()))
    }

    /// Keeps a module, whole or not at all.
    pub fn keep(&self, hash: &str, module: &[u8]) -> io::Result<()> {
        let path = self.path(hash);
        if path.exists() {
            return Ok(());
        }
        let beside = self.0.join(format!(".{hash}.part"));
        let mut file = std::fs::File::create(&beside)?;
        file.write_all(module)?;
        file.sync_all()?;
        std::fs::rename(&beside, &path)
    }

    /// A module by its hash. What is damaged, or was never that module, is none.
    pub fn get(&self, hash: &str) -> io::Result<Bytes> {
        let module = std::fs::read(self.path(hash))?;
        if sha256(&module) != hash {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is another module"));
        }
        Ok(module.into())
    }

    /// Drops every module that is not in `used`.
    pub fn retain(&self, used: &[&str]) -> io::Result<()> {
        for item in std::fs::read_dir(&self.0)? {
            let path = item?.path();
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            if path.extension().is_some_and(|e| e == "wasm") && !used.contains(&stem.as_str()) {
                std::fs::remove_file(&path)?;
            }
        }
        Ok(())
    }

    fn path(&self, hash: &str) -> PathBuf {
        self.0.join(format!("{hash}.wasm"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_is_kept_and_the_rest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let kept = KeptModules::open(&dir.path().join("modules")).unwrap();
        let [one, two] = [b"one", b"two"].map(|module| sha256(module));
        kept.keep(&one, b"one").unwrap();
        kept.keep(&two, b"two").unwrap();
        kept.retain(&[&two]).unwrap();
        assert!(kept.get(&one).is_err());
        assert_eq!(kept.get(&two).unwrap(), "two");
    }

    #[test]
    fn what_is_not_the_module_of_its_name_is_not_given() {
        let dir = tempfile::tempdir().unwrap();
        let kept = KeptModules::open(dir.path()).unwrap();
        let hash = sha256(b"one");
        kept.keep(&hash, b"another").unwrap();
        assert!(kept.get(&hash).is_err());
    }
}
