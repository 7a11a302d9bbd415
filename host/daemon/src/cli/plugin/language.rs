//! The languages that projects can be made in, and the files that the binary brings for them.

use std::path::Path;

/// A language with a template in `examples/handlers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Language {
    Rust,
    #[value(name = "js", alias = "javascript")]
    JavaScript,
    #[value(name = "ts", alias = "typescript")]
    TypeScript,
    #[value(alias = "py")]
    Python,
    C,
    Go,
}

/// A file in the binary: its path and its content.
type Embedded = (&'static str, &'static [u8]);

/// Every file in the binary, by its path.
static FILES: &[Embedded] = include!(concat!(env!("OUT_DIR"), "/templates.rs"));

/// What the examples are called, and what a new project's name replaces in them.
const EXAMPLE: &str = "chatline";

impl Language {
    pub(super) const ALL: [Self; 6] =
        [Self::Rust, Self::JavaScript, Self::TypeScript, Self::Python, Self::C, Self::Go];

    /// As people write it.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Rust => "Rust",
            Self::JavaScript => "JavaScript",
            Self::TypeScript => "TypeScript",
            Self::Python => "Python",
            Self::C => "C",
            Self::Go => "Go",
        }
    }

    /// The files one of which tells that a project is in this language.
    pub(super) fn marks(self) -> &'static [&'static str] {
        match self {
            Self::Rust => &["Cargo.toml", "src/lib.rs"],
            Self::JavaScript => &["notifier.js"],
            Self::TypeScript => &["notifier.ts", "tsconfig.json"],
            Self::Python => &["notifier.py"],
            Self::C => &["notifier.c"],
            Self::Go => &["go.mod", "notifier.go"],
        }
    }

    /// The source that a project must have.
    pub(super) fn source(self) -> &'static str {
        match self {
            Self::Rust => "src/lib.rs",
            Self::JavaScript => "notifier.js",
            Self::TypeScript => "notifier.ts",
            Self::Python => "notifier.py",
            Self::C => "notifier.c",
            Self::Go => "notifier.go",
        }
    }

    /// The commands that bring the pinned tools into a project; none where the language's own tools are enough.
    pub(super) fn setup(self) -> Option<&'static str> {
        match self {
            Self::Rust => None,
            Self::JavaScript | Self::TypeScript => Some("npm install"),
            Self::Python | Self::C | Self::Go => {
                Some("python3 -m venv .venv && .venv/bin/pip install -r requirements.txt")
            }
        }
    }

    /// The author's own files of a new project: path below its root, and content.
    pub(super) fn template(self, name: &str) -> impl Iterator<Item = (String, Vec<u8>)> {
        let directory = match self {
            Self::Rust => "examples/rust/",
            Self::JavaScript => "examples/javascript/",
            Self::TypeScript => "examples/typescript/",
            Self::Python => "examples/python/",
            Self::C => "examples/c/",
            Self::Go => "examples/go/",
        };
        below(directory).map(move |(path, content)| {
            let content = String::from_utf8_lossy(content).replace(EXAMPLE, name);
            (path.replace(EXAMPLE, name), content.into_bytes())
        })
    }

    /// What postrider brings into a project: directories below its root, each with its files.
    pub(super) fn brought(self) -> Vec<(&'static Path, Vec<Embedded>)> {
        let postrider = match self {
            Self::Rust => Some(("postrider/sdk", "sdk/")),
            Self::C => Some(("postrider", "c/")),
            Self::Go => Some(("postrider", "go/")),
            Self::JavaScript | Self::TypeScript | Self::Python => None,
        };
        let all = std::iter::once(("wit", "wit/")).chain(postrider);
        all.map(|(place, part)| (Path::new(place), below(part).collect())).collect()
    }
}

fn below(directory: &'static str) -> impl Iterator<Item = Embedded> {
    FILES.iter().filter_map(move |(path, content)| Some((path.strip_prefix(directory)?, *content)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use postrider_core::Destination;

    #[test]
    fn every_project_has_its_sources_a_payload_a_destination_and_a_readme() {
        for language in Language::ALL {
            let files: Vec<(String, Vec<u8>)> = language.template("my-room").collect();
            let text = |wanted: &str| {
                let found = files.iter().find(|(path, _)| path == wanted);
                let (_, content) = found.unwrap_or_else(|| panic!("{language:?}: no {wanted}"));
                String::from_utf8(content.clone()).unwrap()
            };
            assert!(!text(language.source()).is_empty());
            assert!(text("README.md").contains("my-room.wasm"), "{language:?}");
            let payload: serde_json::Value = serde_json::from_str(&text("payload.json")).unwrap();
            assert_eq!(payload["type"], "alert.firing");
            let destination = Destination::parse("room", &text("my-room.toml.example")).unwrap();
            assert_eq!(destination.plugin, "my-room");
            for (path, content) in &files {
                let content = String::from_utf8_lossy(content);
                assert!(!content.contains(EXAMPLE), "{language:?}: {path} has the example's name");
            }
        }
    }

    #[test]
    fn every_project_gets_the_contract() {
        for language in Language::ALL {
            let brought = language.brought();
            let (place, files) = &brought[0];
            assert_eq!(*place, Path::new("wit"));
            assert!(files.iter().any(|(path, _)| *path == "notifier.wit"));
            assert!(files.iter().any(|(path, _)| *path == "deps/http.wit"));
        }
    }

    #[test]
    fn the_sdk_that_is_brought_needs_no_workspace() {
        let brought = Language::Rust.brought();
        let (_, files) = &brought[1];
        let (_, manifest) = files.iter().find(|(path, _)| *path == "Cargo.toml").unwrap();
        let manifest = std::str::from_utf8(manifest).unwrap();
        assert!(!manifest.contains("workspace"), "{manifest}");
        let parsed: toml::Table = manifest.parse().unwrap();
        assert_eq!(parsed["package"]["name"].as_str(), Some("postrider-sdk"));
        assert!(parsed["dependencies"]["serde"]["features"].is_array());
    }
}
