//! Embeds what `postrider plugin new` and `plugin build` write: the projects of `examples/handlers`, the contract, the
//! bindings for C and Go, and the Rust SDK with a manifest that needs no workspace.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// Where each part lies in the repository, and what it is called in the binary.
const PARTS: [(&str, &str); 5] = [
    ("examples/handlers", "examples"),
    ("wit", "wit"),
    ("bindings/c", "c"),
    ("bindings/go", "go"),
    ("plugins/sdk/src", "sdk/src"),
];
/// What builds leave behind, and what is brought into a project from here anyway.
const LEFT_OUT: [&str; 7] =
    ["wit", "postrider", "target", "node_modules", ".venv", "__pycache__", "Cargo.lock"];

fn main() -> io::Result<()> {
    let variable = |name: &str| env::var_os(name).map(PathBuf::from).unwrap_or_default();
    let root = variable("CARGO_MANIFEST_DIR").join("../..");
    let out = variable("OUT_DIR");
    let mut list = "&[\n".to_owned();
    for (place, name) in PARTS {
        let directory = root.join(place);
        tell(&directory);
        embed(&directory, name, &mut list)?;
    }
    let sdk = root.join("plugins/sdk");
    entry("sdk/README.md", &sdk.join("README.md"), &mut list);
    let manifest = standalone(&read(&sdk.join("Cargo.toml"))?, &read(&root.join("Cargo.toml"))?)?;
    let place = out.join("sdk-Cargo.toml");
    fs::write(&place, manifest)?;
    entry("sdk/Cargo.toml", &place, &mut list);
    list.push_str("]\n");
    fs::write(out.join("templates.rs"), list)
}

fn embed(directory: &Path, name: &str, list: &mut String) -> io::Result<()> {
    let mut items: Vec<_> = fs::read_dir(directory)?.collect::<io::Result<_>>()?;
    items.sort_by_key(fs::DirEntry::file_name);
    for item in items {
        let (path, file) = (item.path(), item.file_name().to_string_lossy().into_owned());
        let built = name != "examples" && LEFT_OUT.contains(&file.as_str());
        if built && name.starts_with("examples") || file.ends_with(".wasm") {
            continue;
        }
        let name = format!("{name}/{file}");
        if item.file_type()?.is_dir() {
            embed(&path, &name, list)?;
        } else {
            entry(&name, &path, list);
        }
    }
    Ok(())
}

fn entry(name: &str, path: &Path, list: &mut String) {
    let _infallible = writeln!(list, "    ({name:?}, include_bytes!({path:?})),");
}

fn read(path: &Path) -> io::Result<String> {
    tell(path);
    fs::read_to_string(path)
}

fn tell(path: &Path) {
    println!("cargo::rerun-if-changed={}", path.display());
}

/// The SDK's manifest with what it takes from the workspace written out, and without lints.
fn standalone(manifest: &str, workspace: &str) -> io::Result<String> {
    let mut out = String::new();
    let mut section = "";
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        }
        if section == "[lints]" {
            continue;
        }
        match line.strip_suffix(".workspace = true") {
            None => out.push_str(line),
            Some(key) => out.push_str(inherited(workspace, section, key)?),
        }
        out.push('\n');
    }
    Ok(out)
}

/// The workspace's own line for a key.
fn inherited<'a>(workspace: &'a str, section: &str, key: &str) -> io::Result<&'a str> {
    let section = section.replace('[', "[workspace.");
    let (_, lines) = workspace.split_once(&section).unwrap_or_default();
    let mut lines = lines.lines().skip(1).take_while(|line| !line.starts_with('['));
    let prefix = format!("{key} = ");
    lines
        .find(|line| line.starts_with(&prefix))
        .ok_or_else(|| io::Error::other(format!("Cargo.toml: {section} has no {key}")))
}
