//! The six languages, and what each is called where.

/// A language of `examples/handlers`.
pub(super) struct Language {
    /// As people write it.
    pub(super) title: &'static str,
    /// As `plugin new --lang` takes it.
    pub(super) name: &'static str,
    /// Below `examples/handlers`.
    pub(super) folder: &'static str,
    /// The notifier's own source in a project.
    pub(super) source: &'static str,
    pub(super) tools: Tools,
    /// What a `send` that does nothing may cost with a fresh instance, in µs of processor time.
    pub(super) fresh: f64,
}

/// Where a language's tools come from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tools {
    /// The toolchain of this workspace.
    Rust,
    /// A virtual environment with what `requirements.txt` pins.
    Python,
    /// A folder with what `package.json` pins.
    Npm,
}

pub(super) const LANGUAGES: [Language; 6] = [
    Language {
        title: "Rust",
        name: "rust",
        folder: "rust",
        source: "src/lib.rs",
        tools: Tools::Rust,
        fresh: 15.0,
    },
    Language {
        title: "C",
        name: "c",
        folder: "c",
        source: "notifier.c",
        tools: Tools::Python,
        fresh: 40.0,
    },
    Language {
        title: "Go",
        name: "go",
        folder: "go",
        source: "notifier.go",
        tools: Tools::Python,
        fresh: 400.0,
    },
    Language {
        title: "JavaScript",
        name: "js",
        folder: "javascript",
        source: "notifier.js",
        tools: Tools::Npm,
        fresh: 600.0,
    },
    Language {
        title: "TypeScript",
        name: "ts",
        folder: "typescript",
        source: "notifier.ts",
        tools: Tools::Npm,
        fresh: 600.0,
    },
    Language {
        title: "Python",
        name: "python",
        folder: "python",
        source: "notifier.py",
        tools: Tools::Python,
        fresh: 1_200.0,
    },
];
