//! One project: made by `plugin new`, built by `plugin build`, unless the same sources were built before.

use std::fs;
use std::hash::{DefaultHasher, Hasher as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result};

use super::language::Language;
use super::{Bench, quietly};

/// What decides, beside a project's own files, what `plugin build` makes of it.
const BUILDERS: [&str; 3] = [
    "rust-toolchain.toml",
    "host/daemon/src/cli/plugin/build.rs",
    "host/daemon/src/cli/plugin/toolchain.rs",
];

pub(super) struct Project<'a> {
    bench: &'a Bench<'a>,
    postrider: &'a Path,
    language: &'a Language,
    /// Of the module and of its directory, such as `chat-go`.
    name: String,
    root: PathBuf,
}

impl<'a> Project<'a> {
    /// Makes a project below `parent`.
    pub(super) fn new(
        bench: &'a Bench<'a>,
        postrider: &'a Path,
        parent: &Path,
        kind: &str,
        language: &'a Language,
    ) -> Result<Self> {
        let name = format!("{kind}-{}", language.name);
        let mut new = bench.postrider(postrider);
        new.current_dir(parent).args(["plugin", "new", "--lang", language.name, &name]);
        quietly(&mut new)?;
        let root = parent.join(&name);
        Ok(Self { bench, postrider, language, name, root })
    }

    /// Puts another source in the place of the notifier's own.
    pub(super) fn replace_source(&self, source: &Path) -> Result<()> {
        let place = self.root.join(self.language.source);
        fs::copy(source, &place)
            .with_context(|| format!("cannot copy {} to {}", source.display(), place.display()))?;
        Ok(())
    }

    pub(super) fn module(&self) -> PathBuf {
        self.root.join(format!("{}.wasm", self.name))
    }

    /// Leaves the module in the project, and says how.
    pub(super) fn build(&self) -> Result<String> {
        let kept = self.kept()?;
        let module = self.module();
        if fs::copy(&kept, &module).is_ok() {
            return Ok("its module is that of the last run, from the same sources".to_owned());
        }
        self.bench.toolchains.link(self.language, &self.root)?;
        let started = Instant::now();
        let mut build = self.bench.postrider(self.postrider);
        // One for all runs, so that crates are compiled once.
        build.env("CARGO_TARGET_DIR", self.bench.folder.join("target"));
        quietly(build.args(["plugin", "build"]).arg(&self.root))?;
        let took = started.elapsed().as_secs_f64();
        let size = fs::metadata(&module)
            .with_context(|| format!("the build left no {}", module.display()))?
            .len();
        self.keep(&kept)?;
        Ok(format!("built in {took:.1} s, {size} bytes"))
    }

    /// Where the module of these sources is kept.
    fn kept(&self) -> Result<PathBuf> {
        let mut key = DefaultHasher::new();
        for builder in BUILDERS {
            add(&self.bench.workspace.root.join(builder), builder, &mut key)?;
        }
        add(&self.root, "", &mut key)?;
        let folder = self.bench.folder.join("built");
        Ok(folder.join(format!("{}@{:016x}.wasm", self.name, key.finish())))
    }

    /// Keeps the module in the place of its predecessor.
    fn keep(&self, kept: &Path) -> Result<()> {
        let folder = kept.parent().context("kept modules have a folder")?;
        fs::create_dir_all(folder)?;
        let ours = format!("{}@", self.name);
        for item in fs::read_dir(folder)? {
            let item = item?;
            if item.file_name().to_string_lossy().starts_with(&ours) {
                fs::remove_file(item.path())?;
            }
        }
        let beside = kept.with_added_extension("part");
        fs::copy(self.module(), &beside)
            .and_then(|_| fs::rename(&beside, kept))
            .with_context(|| format!("cannot write {}", kept.display()))
    }
}

/// Adds the names and contents of a file, or of all below a directory.
fn add(path: &Path, name: &str, key: &mut DefaultHasher) -> Result<()> {
    let context = || format!("cannot read {}", path.display());
    key.write(name.as_bytes());
    if !path.is_dir() {
        let content = fs::read(path).with_context(context)?;
        key.write_usize(content.len());
        key.write(&content);
        return Ok(());
    }
    let items = fs::read_dir(path).with_context(context)?;
    let mut items: Vec<_> = items.collect::<Result<_, _>>().with_context(context)?;
    items.sort_by_key(fs::DirEntry::file_name);
    for item in items {
        let name = format!("{name}/{}", item.file_name().to_string_lossy());
        add(&item.path(), &name, key)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_name_or_content_is_another_key() {
        let dir = tempfile::tempdir().unwrap();
        let key = || {
            let mut key = DefaultHasher::new();
            add(dir.path(), "", &mut key).unwrap();
            key.finish()
        };
        fs::create_dir(dir.path().join("src")).unwrap();
        fs::write(dir.path().join("src/a"), "1").unwrap();
        let first = key();
        assert_eq!(key(), first);
        fs::write(dir.path().join("src/a"), "2").unwrap();
        let changed = key();
        fs::rename(dir.path().join("src/a"), dir.path().join("src/b")).unwrap();
        let renamed = key();
        fs::write(dir.path().join("src/c"), "").unwrap();
        let mut all = [first, changed, renamed, key()].to_vec();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 4);
    }
}
