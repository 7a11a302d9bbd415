//! `cargo xtask deb`: a Debian package of the daemon, its units and the modules that come with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::modules::{self, MODULES};
use crate::workspace::{Workspace, run_command, say, succeeds};

/// What the package's metadata in `host/daemon/Cargo.toml` is written for.
const TOOL: &str = "cargo install cargo-deb --version 3.8.0 --locked";
/// Completions as their shells look for them.
const COMPLETIONS: [(&str, &str); 3] =
    [("bash", "postrider.bash"), ("zsh", "_postrider"), ("fish", "postrider.fish")];

/// How the daemon in it is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Profile {
    Release,
    /// Large and slow, and built already by whoever runs the tests: for trying the package itself
    Dev,
}

impl Profile {
    fn directory(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Dev => "debug",
        }
    }
}

/// Builds the modules and, unless it is there already, the daemon; then the package, below `debian` in the target directory.
pub(crate) fn run(workspace: &Workspace, profile: Profile, build: bool) -> Result<()> {
    if !succeeds(workspace.cargo("deb").arg("--version")) {
        bail!("cargo-deb is not installed; install it with `{TOOL}`");
    }
    let built = modules::build(workspace)?;
    let mut cargo = workspace.cargo("build");
    match profile {
        Profile::Release => {
            cargo.args(["--release", "--locked", "-p", "postrider", "--bin", "postrider"])
        }
        // As the tests are built: another selection of packages would build everything again.
        Profile::Dev => cargo.args(["--workspace", "--bins", "--tests", "--examples"]),
    };
    if build {
        run_command(&mut cargo).context("the daemon could not be built")?;
    }
    let output = workspace.target_dir.join(profile.directory());
    stage(&output.join("postrider"), &built, &output.join("deb"))?;
    let mut cargo = workspace.cargo("deb");
    cargo.args(["--package", "postrider", "--no-build", "--locked"]);
    if profile == Profile::Dev {
        cargo.args(["--profile", "dev"]);
    }
    run_command(&mut cargo)
}

/// Puts beside the binary what the package takes from there: modules, and what the daemon itself writes.
fn stage(daemon: &Path, built: &Path, stage: &Path) -> Result<()> {
    if !daemon.is_file() {
        bail!("{} is not there; leave --no-build out", daemon.display());
    }
    fs::create_dir_all(stage).with_context(|| format!("cannot create {}", stage.display()))?;
    for module in MODULES {
        let file = format!("{module}.wasm");
        fs::copy(built.join(&file), stage.join(&file))
            .with_context(|| format!("cannot copy {}", built.join(&file).display()))?;
    }
    let directories =
        ["--data-dir", "/var/lib/postrider", "--plugins-dir", "/etc/postrider/plugins"];
    let init = [&["init", "--path", "-"][..], &directories].concat();
    written(daemon, &init, stage.join("postrider.toml"))?;
    for (shell, file) in COMPLETIONS {
        written(daemon, &["completions", shell], stage.join(file))?;
    }
    say(&format!("put {}", stage.display()))
}

/// What the daemon's command prints, as a file.
fn written(daemon: &Path, arguments: &[&str], path: PathBuf) -> Result<()> {
    let output = Command::new(daemon).args(arguments).output();
    let output = output.with_context(|| format!("cannot run {}", daemon.display()))?;
    if !output.status.success() || output.stdout.is_empty() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`postrider {}` failed: {}", arguments.join(" "), said.trim());
    }
    fs::write(&path, output.stdout).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
    }

    fn read(file: &str) -> String {
        fs::read_to_string(root().join(file)).unwrap()
    }

    /// The first word of each asset of the package.
    fn assets(manifest: &str) -> Vec<String> {
        let manifest: toml::Table = toml::from_str(manifest).unwrap();
        let deb = &manifest["package"]["metadata"]["deb"];
        let assets = deb["assets"].as_array().unwrap();
        assets.iter().map(|asset| asset[0].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn what_the_package_takes_is_in_the_repository_or_staged() {
        let assets = assets(&read("host/daemon/Cargo.toml"));
        let staged = COMPLETIONS.map(|(_, file)| file.to_owned());
        let modules = MODULES.map(|module| format!("{module}.wasm"));
        let known = [&staged[..], &modules, &["postrider.toml".to_owned()]].concat();
        for asset in &assets {
            match asset.strip_prefix("target/release/") {
                Some("postrider") => {}
                Some(file) => {
                    let file = file.strip_prefix("deb/").unwrap();
                    assert!(known.iter().any(|known| known == file), "{asset} is not staged");
                }
                None => {
                    let asset = asset.strip_suffix("*.md").unwrap_or(asset);
                    let path = root().join("host/daemon").join(asset);
                    assert!(path.exists(), "{asset} is not there");
                }
            }
        }
        for file in known {
            let staged = format!("target/release/deb/{file}");
            assert!(assets.contains(&staged), "{staged} is staged for nothing");
        }
    }

    #[test]
    fn what_the_image_copies_is_there() {
        let dockerfile = read("Dockerfile");
        let copies: Vec<&str> =
            dockerfile.lines().filter_map(|line| line.strip_prefix("COPY ")).collect();
        assert_eq!(copies.len(), 3);
        for copy in copies {
            let mut words = copy.split(' ').filter(|word| !word.starts_with("--"));
            let from = words.next().unwrap();
            match copy.contains("--from=build") {
                // What `cargo xtask dist` leaves, as its own test has it.
                true => assert!(["/dist/postrider", "/dist/modules/"].contains(&from), "{copy}"),
                false => assert!(root().join(from).exists(), "{copy}"),
            }
        }
        let toolchain: toml::Table = toml::from_str(&read("rust-toolchain.toml")).unwrap();
        let channel = toolchain["toolchain"]["channel"].as_str().unwrap();
        let image = dockerfile.lines().find_map(|line| line.strip_prefix("FROM rust:")).unwrap();
        assert!(channel.starts_with(image.split('-').next().unwrap()), "{channel}, {image}");
        for line in read("compose.yaml").lines() {
            let Some(mount) = line.trim().strip_prefix("- ./") else { continue };
            assert!(root().join(mount.split(':').next().unwrap()).exists(), "{mount}");
        }
    }

    #[test]
    fn units_and_package_name_the_same_places() {
        let manifest = read("host/daemon/Cargo.toml");
        let service = read("packaging/systemd/postrider.service");
        for place in ["usr/bin/", "etc/postrider/postrider.toml"] {
            assert!(manifest.contains(&format!("\"{place}\"")), "{place}");
            assert!(service.contains(&format!("/{place}")), "{place}");
        }
        assert!(service.contains("StateDirectory=postrider\n"));
        // systemd's and Docker's default of 10 s is less than a stop may take.
        assert!(service.contains("TimeoutStopSec=30s"));
        assert!(read("compose.yaml").contains("stop_grace_period: 30s"));
    }

    #[test]
    fn without_the_daemon_it_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let none = dir.path().join("postrider");
        let error = stage(&none, dir.path(), &dir.path().join("deb")).unwrap_err().to_string();
        assert!(error.ends_with("is not there; leave --no-build out"), "{error}");
    }
}
