//! Finding and running the tools of each language. A missing or an old one is told with the line that asks for it and
//! the command that brings it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::Value;

use super::language::Language;

/// What Rust modules are built for.
const RUST_TARGET: &str = "wasm32-wasip2";
/// The oldest Node.js that the tools below were tried on.
const NODE: Version = Version(20, 0);
/// What makes components of JavaScript: a small engine, or one that has `fetch`. A project pins one of them.
const ENGINES: [&str; 2] = ["componentize-qjs", "@bytecodealliance/componentize-js"];

/// Builds the project in `root` into the file `made`.
pub(super) fn build(language: Language, root: &Path, made: &Path) -> Result<()> {
    let tools = Tools { language, root };
    match language {
        Language::Rust => tools.rust(made),
        Language::JavaScript => tools.javascript(made),
        Language::TypeScript => tools.typescript(made),
        Language::Python => tools.python(made),
        Language::C => tools.c(made),
        Language::Go => tools.go(made),
    }
}

/// Major and minor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u32, u32);

/// A version that a project asks for, and where it does.
#[derive(Debug)]
struct Pin {
    version: Version,
    text: String,
    place: String,
}

struct Tools<'a> {
    language: Language,
    root: &'a Path,
}

impl Tools<'_> {
    fn rust(&self, made: &Path) -> Result<()> {
        let mut rustc = self.command("rustc");
        let Ok(said) = rustc.arg("--version").stdin(Stdio::null()).output() else {
            bail!("there is no Rust compiler on the PATH; install one: https://rustup.rs");
        };
        let Some(found) = Version::read(&String::from_utf8_lossy(&said.stdout)) else {
            // Such as rustup's, about a toolchain that is not installed.
            let why = String::from_utf8_lossy(&said.stderr);
            bail!("`rustc --version` says no version but: {}", why.trim());
        };
        if let Ok(pin) = self.pin("Cargo.toml", "rust-version = \"") {
            self.at_least("rustc", found, &pin, "rustup update stable")?;
        }
        let mut rustc = Command::new("rustc");
        rustc.args(["--print", "target-libdir", "--target", RUST_TARGET]).current_dir(self.root);
        if !text_of(&mut rustc).is_some_and(|path| Path::new(path.trim()).is_dir()) {
            bail!("Rust has no target {RUST_TARGET} here; run: rustup target add {RUST_TARGET}");
        }
        let mut cargo = self.command("cargo");
        cargo.args(["build", "--release", "--target", RUST_TARGET]);
        cargo.arg("--message-format=json-render-diagnostics").stdout(Stdio::piped());
        let output = cargo.stderr(Stdio::inherit()).output().context("cannot run cargo")?;
        if !output.status.success() {
            bail!("`cargo build` failed: {}", output.status);
        }
        let manifest = self.root.join("Cargo.toml");
        let built =
            artifact(&String::from_utf8_lossy(&output.stdout), &manifest).ok_or_else(|| {
                anyhow!(
                    "Cargo.toml makes no module: below [lib] it must say crate-type = [\"cdylib\"]"
                )
            })?;
        std::fs::copy(&built, made)
            .with_context(|| format!("cannot copy {} to {}", built.display(), made.display()))?;
        Ok(())
    }

    fn javascript(&self, made: &Path) -> Result<()> {
        self.node()?;
        run(self.command("node").arg("build.mjs").arg(made))
    }

    fn typescript(&self, made: &Path) -> Result<()> {
        self.node()?;
        self.package("typescript")?;
        run(self.command("node").arg("node_modules/typescript/bin/tsc"))?;
        run(self.command("node").arg("build.mjs").arg(made))
    }

    /// Checks Node.js and the packages that `build.mjs` imports.
    fn node(&self) -> Result<()> {
        let Some(found) = version_of(Command::new("node").arg("--version")) else {
            bail!(
                "there is no Node.js on the PATH; install {}.0 or newer: https://nodejs.org",
                NODE.0
            );
        };
        if found < NODE {
            bail!(
                "node {found} is too old: the tools need {NODE} or newer; install it: https://nodejs.org"
            );
        }
        if !self.root.join("build.mjs").is_file() {
            bail!(
                "build.mjs is missing: it makes the module; `postrider plugin new` writes one to copy"
            );
        }
        let pinned = |engine: &&str| self.pin("package.json", &format!("\"{engine}\": \"")).is_ok();
        self.package(ENGINES.into_iter().find(pinned).unwrap_or(ENGINES[0]))?;
        self.package("esbuild")
    }

    /// Checks that a package is installed as `package.json` asks.
    fn package(&self, name: &str) -> Result<()> {
        let pin = self.pin("package.json", &format!("\"{name}\": \""))?;
        let manifest = self.root.join("node_modules").join(name).join("package.json");
        let installed = std::fs::read_to_string(manifest).ok();
        let installed = installed.and_then(|text| serde_json::from_str::<Value>(&text).ok());
        match installed.as_ref().and_then(|json| json.get("version")).and_then(Value::as_str) {
            None => bail!(
                "{name} is not installed; {} asks for {}. Run in {}: npm install",
                pin.place,
                pin.text,
                self.root.display()
            ),
            Some(found) if Version::read(found) != Some(pin.version) => bail!(
                "{name} {found} is installed, but {} asks for {}. Run in {}: npm install",
                pin.place,
                pin.text,
                self.root.display()
            ),
            Some(_) => Ok(()),
        }
    }

    fn python(&self, made: &Path) -> Result<()> {
        let pin = self.pin("requirements.txt", "componentize-py==")?;
        let tool = self.tool("componentize-py");
        let found = version_of(Command::new(&tool).arg("--version"));
        self.same("componentize-py", found, &pin)?;
        run(self
            .command(&tool)
            .args(["-d", "wit", "-w", "notifier", "componentize", "notifier", "-o"])
            .arg(made))
    }

    fn c(&self, made: &Path) -> Result<()> {
        let pin = self.pin("requirements.txt", "ziglang==")?;
        let candidates: [(PathBuf, &[&str]); 4] = [
            (self.root.join(".venv/bin/python"), &["-m", "ziglang"]),
            ("zig".into(), &[]),
            ("python3".into(), &["-m", "ziglang"]),
            ("python".into(), &["-m", "ziglang"]),
        ];
        let found = candidates.iter().find_map(|(program, arguments)| {
            let version = version_of(Command::new(program).args(*arguments).arg("version"))?;
            Some((program, arguments, version))
        });
        self.same("zig", found.map(|(.., version)| version), &pin)?;
        let Some((program, arguments, _)) = found else { bail!("there is no zig") };
        let mut sources = vec![
            PathBuf::from("postrider/notifier.c"),
            PathBuf::from("postrider/notifier_component_type.o"),
        ];
        for item in std::fs::read_dir(self.root)? {
            let path = item?.path();
            if path.extension() == Some(OsStr::new("c")) {
                sources.push(path);
            }
        }
        sources.sort();
        let mut zig = self.command(program);
        zig.args(*arguments).args(["cc", "-target", "wasm32-wasi", "-mexec-model=reactor"]);
        zig.args(["-O2", "-s", "-Wall", "-Wno-unused-function"]);
        // Zig looks at the end of the name, and the file's own begins with a dot only.
        run(zig.arg("-o").arg(made).args(sources))
    }

    fn go(&self, made: &Path) -> Result<()> {
        let pin = self.pin("go.mod", "go ")?;
        let tool = self.tool("go");
        let mut version = Command::new(&tool);
        let found = version_of(version.arg("version").env("GOTOOLCHAIN", "local"));
        match found {
            Some(found) => self.at_least("go", found, &pin, self.setup())?,
            None => self.same("go", None, &pin)?,
        }
        let mut go = self.command(&tool);
        go.args(["build", "-trimpath", "-buildmode=c-shared"]);
        // The runtime package reaches for `runtime.sbrk`, which Go's linker allows only so.
        go.arg("-ldflags=-checklinkname=0 -s -w").arg("-o").arg(made).arg(".");
        run(go.env("GOOS", "wasip1").env("GOARCH", "wasm").env("GOTOOLCHAIN", "local"))
    }

    /// A tool of the project's own virtual environment, or else of the `PATH`.
    fn tool(&self, name: &str) -> PathBuf {
        let own = self.root.join(".venv/bin").join(name);
        if own.is_file() { own } else { name.into() }
    }

    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.root);
        command
    }

    fn setup(&self) -> &'static str {
        self.language.setup().unwrap_or_default()
    }

    /// The version behind `prefix` in a file of the project.
    fn pin(&self, file: &str, prefix: &str) -> Result<Pin> {
        let text = std::fs::read_to_string(self.root.join(file)).with_context(|| {
            format!("cannot read {file}, which says the versions of the tools; `postrider plugin new` writes one to copy")
        })?;
        pin(&text, file, prefix)
    }

    /// Tools whose output changes from one minor version to the next.
    fn same(&self, tool: &str, found: Option<Version>, pin: &Pin) -> Result<()> {
        let asked = format!("{} asks for {}", pin.place, pin.text);
        let remedy = format!("Run in {}: {}", self.root.display(), self.setup());
        match found {
            None => bail!("there is no {tool} in .venv or on the PATH; {asked}. {remedy}"),
            Some(found) if found != pin.version => {
                bail!("{tool} {found} is here, but {asked}. {remedy}")
            }
            Some(_) => Ok(()),
        }
    }

    fn at_least(&self, tool: &str, found: Version, pin: &Pin, remedy: &str) -> Result<()> {
        if found >= pin.version {
            return Ok(());
        }
        let (place, text, root) = (&pin.place, &pin.text, self.root.display());
        bail!(
            "{tool} {found} is too old: {place} asks for {text} or newer. Run in {root}: {remedy}"
        )
    }
}

impl Version {
    /// The first version in what a tool says of itself, such as `go version go1.27.3 linux/amd64`.
    fn read(text: &str) -> Option<Self> {
        text.split_whitespace().find_map(|word| {
            let word = word.trim_start_matches(|c: char| !c.is_ascii_digit());
            let mut numbers = word.split(|c: char| !c.is_ascii_digit());
            let mut number = || numbers.next()?.parse().ok();
            Some(Self(number()?, number()?))
        })
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

fn pin(text: &str, file: &str, prefix: &str) -> Result<Pin> {
    let found = text.lines().enumerate().find_map(|(at, line)| {
        let version = line.trim_start().strip_prefix(prefix)?;
        Some((at + 1, version.split('"').next().unwrap_or(version).trim()))
    });
    let Some((line, text)) = found else {
        bail!("{file} has no line `{prefix}…`, which says the version of the tool to build with");
    };
    let version = Version::read(text).ok_or_else(|| {
        anyhow!("{file}, line {line}: {text:?} is no version; expected one such as 1.2.3")
    })?;
    Ok(Pin { version, text: text.to_owned(), place: format!("{file}, line {line},") })
}

/// The module that cargo says it made of the package with this manifest.
fn artifact(messages: &str, manifest: &Path) -> Option<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let ours = messages.filter(|message| {
        message.get("manifest_path").and_then(Value::as_str).map(Path::new) == Some(manifest)
    });
    let mut files = ours.filter_map(|message| {
        let files = message.get("filenames")?.as_array()?.clone();
        files
            .iter()
            .filter_map(Value::as_str)
            .find(|file| file.ends_with(".wasm"))
            .map(PathBuf::from)
    });
    files.next()
}

fn version_of(command: &mut Command) -> Option<Version> {
    Version::read(&text_of(command)?)
}

/// What a command that succeeds says.
fn text_of(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).output().ok().filter(|o| o.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a tool to its end; it has said itself what is wrong.
fn run(command: &mut Command) -> Result<()> {
    let program = Path::new(command.get_program()).to_owned();
    let status = command.stdin(Stdio::null()).status();
    let status = status.with_context(|| format!("cannot run {}", program.display()))?;
    if !status.success() {
        bail!("{} failed: {status}", program.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_tools_say() {
        for (said, version) in [
            ("rustc 1.95.0 (59807616e 2026-04-14)", Some(Version(1, 95))),
            ("go version go1.27.3 linux/amd64", Some(Version(1, 27))),
            ("v20.20.2\n", Some(Version(20, 20))),
            ("0.17.1", Some(Version(0, 17))),
            ("componentize-py 0.25.1", Some(Version(0, 25))),
            ("^5.9", Some(Version(5, 9))),
            ("unknown", None),
            ("", None),
        ] {
            assert_eq!(Version::read(said), version, "{said}");
        }
    }

    #[test]
    fn a_pin_is_named_with_its_line() {
        let found = pin("# tools\nziglang==0.17.1\n", "requirements.txt", "ziglang==").unwrap();
        assert_eq!(found.version, Version(0, 17));
        assert_eq!(
            (found.text.as_str(), found.place.as_str()),
            ("0.17.1", "requirements.txt, line 2,")
        );
        let json = "{\n  \"esbuild\": \"0.28.2\",\n}";
        assert_eq!(pin(json, "package.json", "\"esbuild\": \"").unwrap().text, "0.28.2");
        let error = pin("", "go.mod", "go ").unwrap_err().to_string();
        assert!(error.starts_with("go.mod has no line `go …`"), "{error}");
        let error = pin("go new\n", "go.mod", "go ").unwrap_err().to_string();
        assert_eq!(error, "go.mod, line 1: \"new\" is no version; expected one such as 1.2.3");
    }

    #[test]
    fn a_tool_of_another_version_is_refused_with_the_remedy() {
        let tools = Tools { language: Language::Python, root: Path::new("/room") };
        let asked =
            pin("componentize-py==0.25.1", "requirements.txt", "componentize-py==").unwrap();
        let error = |found| tools.same("componentize-py", found, &asked).unwrap_err().to_string();
        let remedy = "requirements.txt, line 1, asks for 0.25.1. Run in /room: python3 -m venv .venv && \
                      .venv/bin/pip install -r requirements.txt";
        assert_eq!(
            error(Some(Version(0, 24))),
            format!("componentize-py 0.24 is here, but {remedy}")
        );
        assert_eq!(
            error(None),
            format!("there is no componentize-py in .venv or on the PATH; {remedy}")
        );
        tools.same("componentize-py", Some(Version(0, 25)), &asked).unwrap();
        let asked = pin("go 1.27", "go.mod", "go ").unwrap();
        tools.at_least("go", Version(1, 28), &asked, "x").unwrap();
        let error = tools.at_least("go", Version(1, 9), &asked, "x").unwrap_err().to_string();
        assert_eq!(
            error,
            "go 1.9 is too old: go.mod, line 1, asks for 1.27 or newer. Run in /room: x"
        );
    }

    #[test]
    fn a_package_of_npm_must_be_the_one_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let tools = Tools { language: Language::JavaScript, root: dir.path() };
        let asked = "{\n  \"devDependencies\": {\n    \"esbuild\": \"0.28.2\"\n  }\n}";
        std::fs::write(dir.path().join("package.json"), asked).unwrap();
        let error = tools.package("esbuild").unwrap_err().to_string();
        assert!(
            error.starts_with("esbuild is not installed; package.json, line 3, asks for 0.28.2."),
            "{error}"
        );
        let place = dir.path().join("node_modules/esbuild");
        std::fs::create_dir_all(&place).unwrap();
        std::fs::write(place.join("package.json"), r#"{"version": "0.27.0"}"#).unwrap();
        let error = tools.package("esbuild").unwrap_err().to_string();
        assert!(
            error.starts_with("esbuild 0.27.0 is installed, but package.json, line 3,"),
            "{error}"
        );
        assert!(error.ends_with("npm install"), "{error}");
        std::fs::write(place.join("package.json"), r#"{"version": "0.28.2"}"#).unwrap();
        tools.package("esbuild").unwrap();
    }

    #[test]
    fn the_module_is_found_wherever_cargo_puts_it() {
        let line = |manifest: &str, file: &str| {
            serde_json::json!({"reason": "compiler-artifact", "manifest_path": manifest, "filenames": [file]}).to_string()
        };
        let said = [
            line("/room/postrider/sdk/Cargo.toml", "/t/libpostrider_sdk.rlib"),
            line("/room/Cargo.toml", "/elsewhere/room.wasm"),
            "not JSON".to_owned(),
        ];
        let found = artifact(&said.join("\n"), Path::new("/room/Cargo.toml"));
        assert_eq!(found, Some(PathBuf::from("/elsewhere/room.wasm")));
        assert_eq!(artifact(&said[0], Path::new("/room/Cargo.toml")), None);
    }
}
