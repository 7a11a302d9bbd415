//! What a plugin's file is, read without compiling it; and core modules, as C and Go toolchains write them, made
//! components of our own world.

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wasmparser::{Encoding, Parser, Payload};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::load::LoadProblem;

/// Largest file that is loaded.
#[expect(clippy::cast_possible_truncation, reason = "it is far below 4 GiB")]
pub(crate) const MAX_FILE: usize = postrider_core::limits::MAX_FILE as usize;
/// What a notifier exports, in any 1.x.
pub(crate) const HANDLER: &str = "postrider:notifier/handler";
/// The version of the contract that this host serves.
pub const CONTRACT: &str = "1.0.0";
/// What a notifier may import, with any version that the named one serves.
pub(crate) const IMPORTS: [&str; 8] = [
    "postrider:notifier@1.0.0",
    "wasi:cli@0.2",
    "wasi:clocks@0.2",
    "wasi:filesystem@0.2",
    "wasi:http@0.2",
    "wasi:io@0.2",
    "wasi:random@0.2",
    "wasi:sockets@0.2",
];

/// Our contract and what it builds on, each before what uses it.
const WIT: [(&str, &str); 8] = [
    ("io.wit", include_str!("../../../wit/deps/io.wit")),
    ("clocks.wit", include_str!("../../../wit/deps/clocks.wit")),
    ("random.wit", include_str!("../../../wit/deps/random.wit")),
    ("filesystem.wit", include_str!("../../../wit/deps/filesystem.wit")),
    ("sockets.wit", include_str!("../../../wit/deps/sockets.wit")),
    ("cli.wit", include_str!("../../../wit/deps/cli.wit")),
    ("http.wit", include_str!("../../../wit/deps/http.wit")),
    ("notifier.wit", include_str!("../../../wit/notifier.wit")),
];

/// A component's or core module's outer face.
#[derive(Debug, Default, PartialEq, Eq)]
struct Face {
    is_component: bool,
    /// Of a core module: the names of the modules that it imports from.
    imports: Vec<String>,
    exports: Vec<String>,
    /// Whether a core module carries the world that it was built for.
    has_world: bool,
}

/// The file as a component of our world, checked by its names; an error says what it is instead.
pub(crate) fn read(bytes: &[u8]) -> Result<Vec<u8>, LoadProblem> {
    check_magic(bytes)?;
    let face = face(bytes)?;
    if face.is_component {
        check_names(&face)?;
        return Ok(bytes.to_vec());
    }
    if !face.exports.iter().any(|export| export.contains('#') || export.contains('|')) {
        return Err(LoadProblem::CoreModuleWithoutExports);
    }
    let component = adapt(bytes, face.has_world)
        .map_err(|error| LoadProblem::Adapt { detail: format!("{error:#}") })?;
    check_names(&self::face(&component)?)?;
    Ok(component)
}

/// What a file is by its names, read without compiling it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// A component; else a core module, which the host makes one of.
    pub is_component: bool,
    /// The version of the contract whose handler it exports; none where it exports none.
    pub contract: Option<String>,
    /// What it imports: interfaces; of a core module the modules.
    pub imports: Vec<String>,
}

/// Reads what a file is. An error where it is no WebAssembly; whether this host can use it, [`Sandbox::load`] says.
///
/// [`Sandbox::load`]: crate::Sandbox::load
pub fn inspect(bytes: &[u8]) -> Result<Inspection, LoadProblem> {
    check_magic(bytes)?;
    let Face { is_component, imports, exports, .. } = face(bytes)?;
    let contract = exports.iter().find_map(|export| {
        let (_, rest) = export.split_once(HANDLER)?;
        let version = rest.strip_prefix('@').unwrap_or("none");
        Some(version.split(['#', '|']).next().unwrap_or(version).to_owned())
    });
    Ok(Inspection { is_component, contract, imports })
}

fn check_magic(bytes: &[u8]) -> Result<(), LoadProblem> {
    const MAGIC: &[u8] = b"\0asm";
    if bytes.is_empty() {
        return Err(LoadProblem::Empty);
    }
    if bytes.len() > MAX_FILE {
        return Err(LoadProblem::TooLarge { size: bytes.len() });
    }
    let head = bytes.get(..MAGIC.len().min(bytes.len())).unwrap_or(bytes);
    if !MAGIC.starts_with(head) {
        let printable =
            bytes.iter().take(64).all(|b| b.is_ascii_graphic() || b.is_ascii_whitespace());
        return Err(LoadProblem::NotWasm { text: printable });
    }
    if bytes.len() < 8 {
        return Err(LoadProblem::Invalid {
            detail: format!("it ends after {} bytes", bytes.len()),
        });
    }
    Ok(())
}

/// Reads names only; what is inside of functions is the compiler's business.
fn face(bytes: &[u8]) -> Result<Face, LoadProblem> {
    let mut face = Face::default();
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(bytes) {
        see(&payload.map_err(invalid)?, &mut face, &mut depth)?;
    }
    Ok(face)
}

fn see(payload: &Payload<'_>, face: &mut Face, depth: &mut usize) -> Result<(), LoadProblem> {
    if let Payload::Version { encoding, .. } = payload {
        *depth += 1;
        if *depth == 1 {
            face.is_component = *encoding == Encoding::Component;
        }
    }
    if let Payload::End(_) = payload {
        *depth = depth.saturating_sub(1);
    }
    if *depth != 1 {
        return Ok(());
    }
    if let Payload::ComponentImportSection(section) = payload {
        for import in section.clone() {
            face.imports.push(import.map_err(invalid)?.name.full_name().into_owned());
        }
    }
    if let Payload::ComponentExportSection(section) = payload {
        for export in section.clone() {
            face.exports.push(export.map_err(invalid)?.name.full_name().into_owned());
        }
    }
    if let Payload::ImportSection(section) = payload {
        for import in section.clone().into_imports() {
            let module = import.map_err(invalid)?.module;
            if !face.imports.iter().any(|known| known == module) {
                face.imports.push(module.to_owned());
            }
        }
    }
    if let Payload::ExportSection(section) = payload {
        for export in section.clone() {
            face.exports.push(export.map_err(invalid)?.name.to_owned());
        }
    }
    if let Payload::CustomSection(section) = payload {
        face.has_world |= section.name().starts_with("component-type");
    }
    Ok(())
}

fn invalid(error: wasmparser::BinaryReaderError) -> LoadProblem {
    LoadProblem::Invalid { detail: error.to_string() }
}

fn check_names(face: &Face) -> Result<(), LoadProblem> {
    let handler = face.exports.iter().find_map(|export| {
        let rest = export.strip_prefix(HANDLER)?;
        rest.is_empty().then_some("none").or_else(|| rest.strip_prefix('@'))
    });
    match handler {
        None => return Err(LoadProblem::WrongWorld { exports: face.exports.clone() }),
        Some(version) if major(version) != major(CONTRACT) => {
            return Err(LoadProblem::WrongVersion { wanted: version.to_owned() });
        }
        Some(_) => {}
    }
    match face.imports.iter().find(|import| !is_known(import)) {
        Some(unknown) => Err(LoadProblem::UnknownImport { name: unknown.clone() }),
        None => Ok(()),
    }
}

fn major(version: &str) -> Option<&str> {
    version.split('.').next()
}

/// Whether the host has an interface of this package in a version that serves it: the same 1.x, the same 0.2.x.
fn is_known(import: &str) -> bool {
    let Some((name, version)) = import.split_once('@') else { return false };
    let package = name.split('/').next().unwrap_or(name);
    let serves = |known: &str| match known.split_once('@') {
        Some((p, "0.2")) => p == package && version.starts_with("0.2."),
        Some((p, v)) => p == package && major(v) == major(version),
        None => false,
    };
    IMPORTS.iter().any(|known| serves(known))
}

/// A core module as a component. One that does not carry its world gets ours.
fn adapt(core: &[u8], has_world: bool) -> anyhow::Result<Vec<u8>> {
    let mut module = core.to_vec();
    if !has_world {
        let mut resolve = Resolve::default();
        let mut package = None;
        for (name, text) in WIT {
            package = Some(resolve.push_str(name, text)?);
        }
        let world = resolve.select_world(package.as_slice(), Some("notifier"))?;
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false)?;
    }
    ComponentEncoder::default()
        .validate(true)
        .module(&module)?
        .adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER)?
        .encode()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_contract_reads() {
        let mut resolve = Resolve::default();
        let packages: Vec<_> =
            WIT.iter().map(|(name, text)| resolve.push_str(name, text).unwrap()).collect();
        assert!(resolve.select_world(&packages[7..], Some("notifier")).is_ok());
    }

    #[test]
    fn known_imports_are_known_in_their_compatible_versions() {
        for import in [
            "wasi:cli/environment@0.2.6",
            "wasi:http/types@0.2.12",
            "postrider:notifier/http@1.3.0",
        ] {
            assert!(is_known(import), "{import}");
        }
        for import in [
            "wasi:cli/environment@0.3.0",
            "wasi:nn/tensor@0.2.0",
            "postrider:notifier/http@2.0.0",
            "x",
        ] {
            assert!(!is_known(import), "{import}");
        }
    }

    #[test]
    fn a_core_module_says_what_it_imports_and_which_contract_it_knows() {
        let core = [
            b"\0asm\x01\0\0\0".as_slice(),
            // A type `func()`, an import of it from `wasi_snapshot_preview1`, and an export of the import.
            &[1, 4, 1, 0x60, 0, 0],
            &[2, 28, 1, 22],
            b"wasi_snapshot_preview1\x01f\0\0",
            &[7, 39, 1, 35],
            b"postrider:notifier/handler@1.2.0#go\0\0",
        ]
        .concat();
        let found = inspect(&core).unwrap();
        assert!(!found.is_component);
        assert_eq!(found.contract.as_deref(), Some("1.2.0"));
        assert_eq!(found.imports, ["wasi_snapshot_preview1"]);
    }

    #[test]
    fn a_core_module_without_exports_is_told_apart() {
        assert_eq!(read(b"\0asm\x01\0\0\0").unwrap_err(), LoadProblem::CoreModuleWithoutExports);
    }

    #[test]
    fn no_bytes_make_the_reader_panic() {
        proptest::proptest!(|(tail in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200), core in proptest::prelude::any::<bool>())| {
            let head: &[u8] = if core { b"\0asm\x01\0\0\0" } else { b"\0asm\x0d\0\x01\0" };
            let _either = read(&[head, &tail].concat());
        });
    }
}
