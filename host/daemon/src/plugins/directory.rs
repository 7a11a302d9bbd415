//! What lies in the plugins directory, and whether it holds still.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;

/// Modules and destination files by name.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Listing {
    pub modules: BTreeMap<String, FileAt>,
    pub destinations: BTreeMap<String, FileAt>,
    /// Files whose name cannot be one, and why.
    pub misnamed: Vec<(String, String)>,
}

/// A file and the marks by which a change shows without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileAt {
    pub path: PathBuf,
    pub stamp: Stamp,
}

/// Size, time of change and identity; links are followed, so a swapped link shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    inode: (u64, u64),
}

/// Larger files are not read: no module is that large.
pub const MAX_FILE: u64 = 64 << 20;

/// Why a file's content could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Somebody is writing it; look again.
    #[error("the file is still being written")]
    Moving,
    #[error("the file is {0} bytes large, at most {MAX_FILE} are read")]
    TooLarge(u64),
    #[error("the file is not a regular file")]
    Irregular,
    #[error("the file cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// Lists the directory. Names that begin with a dot are left to those who write beside and rename.
pub fn list(directory: &Path) -> io::Result<Listing> {
    let mut listing = Listing::default();
    for item in std::fs::read_dir(directory)? {
        let path = item?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (stem, into) = match name.rsplit_once('.') {
            Some((stem, "wasm")) => (stem, &mut listing.modules),
            Some((stem, "toml")) => (stem, &mut listing.destinations),
            Some(_) | None => continue,
        };
        if stem.starts_with('.') {
            continue;
        }
        if let Err(problem) = postrider_core::destination::check_name(stem) {
            listing.misnamed.push((name, problem));
            continue;
        }
        // A file that vanished since, or a link to nowhere, is not there.
        let Ok(stamp) = stamp(&path) else { continue };
        into.insert(stem.to_owned(), FileAt { path, stamp });
    }
    Ok(listing)
}

/// Reads a file that holds still: its marks are the same before and after.
pub fn read(file: &FileAt) -> Result<Bytes, ReadError> {
    let before = std::fs::metadata(&file.path)?;
    if !before.is_file() {
        return Err(ReadError::Irregular);
    }
    if before.len() > MAX_FILE {
        return Err(ReadError::TooLarge(before.len()));
    }
    let content = std::fs::read(&file.path)?;
    let after = stamp(&file.path)?;
    if after != file.stamp || after.size != content.len() as u64 {
        return Err(ReadError::Moving);
    }
    Ok(content.into())
}

fn stamp(path: &Path) -> io::Result<Stamp> {
    let meta = std::fs::metadata(path)?;
    Ok(Stamp {
        size: meta.len(),
        modified: (meta.mtime(), meta.mtime_nsec()),
        changed: (meta.ctime(), meta.ctime_nsec()),
        inode: (meta.dev(), meta.ino()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_and_destinations_are_told_apart_and_the_rest_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a.wasm", "a.toml", ".b.wasm", "notes.md", "bad name.toml", ".toml"] {
            std::fs::write(dir.path().join(name), name).unwrap();
        }
        let listing = list(dir.path()).unwrap();
        assert_eq!(listing.modules.keys().collect::<Vec<_>>(), ["a"]);
        assert_eq!(listing.destinations.keys().collect::<Vec<_>>(), ["a"]);
        let misnamed: Vec<&str> = listing.misnamed.iter().map(|(name, _)| name.as_str()).collect();
        assert!(misnamed.contains(&"bad name.toml"));
        assert!(misnamed.contains(&".toml"), "an empty name is said, not skipped: {misnamed:?}");
    }

    #[test]
    fn a_file_that_changed_since_it_was_listed_is_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.wasm");
        std::fs::write(&path, "half").unwrap();
        let listing = list(dir.path()).unwrap();
        std::fs::write(&path, "half and half").unwrap();
        assert!(matches!(read(&listing.modules["a"]), Err(ReadError::Moving)));
        let listing = list(dir.path()).unwrap();
        assert_eq!(read(&listing.modules["a"]).unwrap(), "half and half");
    }

    #[test]
    fn a_directory_named_like_a_module_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("a.wasm")).unwrap();
        let listing = list(dir.path()).unwrap();
        assert!(matches!(read(&listing.modules["a"]), Err(ReadError::Irregular)));
    }
}
