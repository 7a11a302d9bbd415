//! `cargo xtask dist`: what a release holds.

use std::fs;
use std::io::{Error, ErrorKind};
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::modules::{self, MODULES};
use crate::workspace::{Workspace, run_command, say};

/// Builds for release and fills `dist` below the target directory, replacing what was there.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let built = modules::build(workspace)?;
    let mut cargo = workspace.cargo("build");
    run_command(cargo.args(["--release", "--locked", "-p", "postrider", "--bin", "postrider"]))
        .context("the daemon could not be built")?;

    let dist = workspace.target_dir.join("dist");
    let beside = workspace.target_dir.join("dist.part");
    remove(&beside)?;
    fill(workspace, &built, &beside)?;
    remove(&dist)?;
    fs::rename(&beside, &dist).with_context(|| format!("cannot write {}", dist.display()))?;
    say(&format!("put {}", dist.display()))
}

fn fill(workspace: &Workspace, built: &Path, dist: &Path) -> Result<()> {
    create(&dist.join("modules"))?;
    copy(&workspace.target_dir.join("release/postrider"), &dist.join("postrider"))?;
    for module in MODULES {
        let file = format!("{module}.wasm");
        copy(&built.join(&file), &dist.join("modules").join(&file))?;
    }
    copy_tree(&workspace.root.join("wit"), &dist.join("wit"))
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    create(to)?;
    for item in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let item = item.with_context(|| format!("cannot read {}", from.display()))?;
        let to = to.join(item.file_name());
        if item.path().is_dir() {
            copy_tree(&item.path(), &to)?;
        } else {
            copy(&item.path(), &to)?;
        }
    }
    Ok(())
}

fn create(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to)
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

/// Removes a directory, if it is there.
fn remove(directory: &Path) -> Result<()> {
    let absent = |error: &Error| error.kind() == ErrorKind::NotFound;
    fs::remove_dir_all(directory)
        .or_else(|error| if absent(&error) { Ok(()) } else { Err(error) })
        .with_context(|| format!("cannot remove {}", directory.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_the_daemon_the_modules_and_the_contract() {
        let dir = tempfile::tempdir().unwrap();
        let workspace = Workspace { root: dir.path().join("root"), target_dir: dir.path().into() };
        let write = |file: &str| {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        };
        let files = ["root/wit/a.wit", "root/wit/deps/b.wit", "release/postrider"];
        files.into_iter().for_each(write);
        ["built/console.wasm", "built/webhook.wasm"].into_iter().for_each(write);

        let dist = dir.path().join("dist");
        fill(&workspace, &dir.path().join("built"), &dist).unwrap();

        for file in ["postrider", "modules/console.wasm", "modules/webhook.wasm", "wit/deps/b.wit"]
        {
            assert!(dist.join(file).is_file(), "{file}");
        }
    }

    #[test]
    fn an_old_one_goes_and_none_is_fine() {
        let dir = tempfile::tempdir().unwrap();
        let old = dir.path().join("dist");
        remove(&old).unwrap();
        create(&old.join("wit")).unwrap();
        remove(&old).unwrap();
        assert!(!old.exists());
    }
}
