//! Why a file is no plugin of this host, in words that an operator can act on.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::component::{CONTRACT, HANDLER, IMPORTS, MAX_FILE};

/// Why a file does not load: the plugin's name and the problem.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("plugin \"{plugin}\": {problem}")]
pub struct LoadError {
    pub plugin: String,
    pub problem: LoadProblem,
}

/// What is wrong with a file. `detail` is what the tools below say, for the curious.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LoadProblem {
    Empty,
    TooLarge {
        size: usize,
    },
    /// `text`: it looks like a text.
    NotWasm {
        text: bool,
    },
    /// Not to the end, or not a WebAssembly file at all.
    Invalid {
        detail: String,
    },
    CoreModuleWithoutExports,
    /// A core module that cannot become a component of the contract's world.
    Adapt {
        detail: String,
    },
    /// Exports no handler; what it exports instead.
    WrongWorld {
        exports: Vec<String>,
    },
    /// Exports the handler of another major version.
    WrongVersion {
        wanted: String,
    },
    UnknownImport {
        name: String,
    },
    /// The names fit and the types do not.
    Mismatch {
        detail: String,
    },
    Compile {
        detail: String,
    },
    /// Compiling it takes more than this.
    CompileLimit {
        limit: String,
    },
    /// `describe` came to no answer.
    Describe {
        reason: String,
    },
    /// The sandbox itself failed, as when its cache cannot be read.
    Host {
        detail: String,
    },
}

impl fmt::Display for LoadProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let build = format!("build it for the world \"notifier\" of postrider:notifier@{CONTRACT}");
        match self {
            Self::Empty => f.write_str("the file is empty; copy it beside and rename it, so that it appears whole"),
            Self::TooLarge { size } => {
                write!(f, "the file has {size} bytes, at most {MAX_FILE} are loaded; strip debug information from it")
            }
            Self::NotWasm { text: true } => {
                f.write_str("the file is a text and no WebAssembly; a plugin is the .wasm file that a compiler writes")
            }
            Self::NotWasm { text: false } => {
                f.write_str("the file is no WebAssembly; a plugin is the .wasm file that a compiler writes")
            }
            Self::Invalid { detail } => write!(
                f,
                "the file is invalid or half-written; copy it beside and rename it, so that it appears whole: {detail}"
            ),
            Self::CoreModuleWithoutExports => {
                write!(f, "it is a core module that exports no {HANDLER}@{CONTRACT}; {build}")
            }
            Self::Adapt { detail } => {
                write!(f, "it is a core module that does not fit the world \"notifier\"; {build}: {detail}")
            }
            Self::WrongWorld { exports } => {
                let has = match exports.as_slice() {
                    [] => "nothing".to_owned(),
                    some => some.join(", "),
                };
                write!(f, "it exports {has}, and a notifier exports {HANDLER}@{CONTRACT}; {build}")
            }
            Self::WrongVersion { wanted } => {
                let update = if is_newer(wanted) { "update postrider, or " } else { "" };
                write!(
                    f,
                    "it is built for {HANDLER}@{wanted}, and this host serves {CONTRACT}; {update}{build}"
                )
            }
            Self::UnknownImport { name } => {
                write!(f, "it imports {name}, which this host does not have; it has {}", IMPORTS.join(", "))
            }
            Self::Mismatch { detail } => write!(
                f,
                "its imports and exports have the names of postrider:notifier@{CONTRACT} and other types; {build}: {detail}"
            ),
            Self::Compile { detail } => write!(f, "it does not compile: {detail}"),
            Self::CompileLimit { limit } => write!(
                f,
                "compiling it takes more than {limit}, which no module needs; build it with optimisation (such as -O or \
                 --release), split its largest functions, or remove it if you do not know who made it"
            ),
            Self::Describe { reason } => write!(f, "it does not answer what it is: {reason}"),
            Self::Host { detail } => write!(f, "the sandbox could not load it: {detail}"),
        }
    }
}

/// Whether a version of the contract is above this host's.
pub fn is_newer(version: &str) -> bool {
    let parts = |version: &str| -> Vec<u64> {
        version.split('.').filter_map(|part| part.parse().ok()).collect()
    };
    parts(version) > parts(CONTRACT)
}
