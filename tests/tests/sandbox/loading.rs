//! From a file to a plugin, and why a file is none.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use postrider_sandbox::{LoadError, Secrets};
use postrider_tests::core_module::core_module;
use postrider_tests::modules::module;

use crate::given::{entry, note, plugin, sandbox, sandbox_in, send};

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(module(name)).unwrap()
}

async fn refused(bytes: Vec<u8>) -> String {
    let error: LoadError = match sandbox().load("bad", Bytes::from(bytes)).await {
        Ok(_) => panic!("it loads"),
        Err(error) => error,
    };
    error.to_string()
}

/// Replaces a text by one of the same length wherever it stands.
fn patched(name: &str, from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = bytes(name);
    let mut found = 0;
    for at in 0..bytes.len() - from.len() {
        if bytes[at..].starts_with(from.as_bytes()) {
            bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
            found += 1;
        }
    }
    assert!(found > 0);
    bytes
}

#[tokio::test]
async fn a_plugin_says_what_it_is() {
    let fixture = plugin("fixture").await;
    assert_eq!(fixture.name(), "fixture");
    assert_eq!(fixture.description().summary, "Does what its config says, for tests.");
    assert_eq!(fixture.description().origins, ["https://fixture.example"]);
    assert_eq!(fixture.description().secrets, ["token"]);
    assert_eq!(fixture.hash().len(), 64);
    assert_eq!(fixture.size(), bytes("fixture").len());
    assert!(fixture.warnings().is_empty());
    assert_eq!(plugin("parts").await.description().max_content, Some(64));
}

#[tokio::test]
async fn a_description_that_lies_is_bounded_and_said() {
    let liar = plugin("liar").await;
    let said = liar.description();
    assert_eq!(liar.name(), "liar");
    assert_eq!(said.name.chars().count(), 201);
    assert_eq!(said.version, "1.0[2J");
    assert_eq!(
        said.summary,
        "Ready. plugin \"bank\" 9.9 is in force<script>window.owned = 1</script>"
    );
    assert_eq!((&said.config_schema, said.max_content), (&None, None));
    assert_eq!((said.origins.len(), said.secrets.len()), (100, 100));
    let warnings = liar.warnings().join("\n");
    for warning in
        ["config-schema is no JSON", "max-content is 0", "\"https://*\" is not an origin"]
    {
        assert!(warnings.contains(warning), "{warnings}");
    }
}

#[tokio::test]
async fn every_file_that_is_no_plugin_is_told_why() {
    const BUILD: &str = "build it for the world \"notifier\" of postrider:notifier@1.0.0";
    const WHOLE: &str = "copy it beside and rename it, so that it appears whole";
    let fixture = bytes("fixture");
    for (file, wanted) in [
        (vec![], format!("the file is empty; {WHOLE}")),
        (
            b"(module)".to_vec(),
            "the file is a text and no WebAssembly; a plugin is the .wasm file that a compiler writes".into(),
        ),
        (
            vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0],
            "the file is no WebAssembly; a plugin is the .wasm file that a compiler writes".into(),
        ),
        (fixture[..3].to_vec(), format!("the file is invalid or half-written; {WHOLE}: it ends after 3 bytes")),
        (
            b"\0asm\x01\0\0\0".to_vec(),
            format!("it is a core module that exports no postrider:notifier/handler@1.0.0; {BUILD}"),
        ),
        (
            bytes("wrong_world"),
            format!(
                "it exports fixture:greeter/greeting@1.0.0, and a notifier exports postrider:notifier/handler@1.0.0; {BUILD}"
            ),
        ),
        (
            patched("fixture", "postrider:notifier/handler@1.0.0", "postrider:notifier/handler@2.0.0"),
            format!(
                "it is built for postrider:notifier/handler@2.0.0, and this host serves 1.0.0; update postrider, or {BUILD}"
            ),
        ),
        (
            patched("fixture", "postrider:notifier/handler@1.0.0", "postrider:notifier/handler@0.9.0"),
            format!("it is built for postrider:notifier/handler@0.9.0, and this host serves 1.0.0; {BUILD}"),
        ),
        (
            patched("fixture", "wasi:cli/environment@", "wasi:nnx/environment@"),
            "it imports wasi:nnx/environment@0.2.6, which this host does not have; it has postrider:notifier@1.0.0, \
             wasi:cli@0.2, wasi:clocks@0.2, wasi:filesystem@0.2, wasi:http@0.2, wasi:io@0.2, wasi:random@0.2, \
             wasi:sockets@0.2"
                .into(),
        ),
    ] {
        assert_eq!(refused(file).await, format!("plugin \"bad\": {wanted}"));
    }
    let half = refused(fixture[..fixture.len() / 2].to_vec()).await;
    assert!(
        half.starts_with(&format!(
            "plugin \"bad\": the file is invalid or half-written; {WHOLE}: "
        )),
        "{half}"
    );
    let large = refused(vec![0; (64 << 20) + 1]).await;
    assert!(large.contains("has 67108865 bytes, at most 67108864 are loaded"), "{large}");
}

#[tokio::test]
async fn wrong_types_behind_right_names_are_told_before_a_delivery() {
    // `after-ms` is a field of ours; under another name the types differ.
    let error = refused(patched("fixture", "after-ms", "after-xx")).await;
    assert!(error.contains("and other types; build it for"), "{error}");
}

#[tokio::test]
async fn a_core_module_becomes_a_plugin() {
    let plugin = sandbox().load("core", core_module().into()).await.unwrap();
    let destination = postrider_core::Destination::parse("core", "").unwrap();
    let notifier = plugin.bind(&destination, Secrets::default(), None).await.unwrap();
    assert_eq!(note(&send(&notifier, "{\"a\":1}").await), "");
}

#[tokio::test]
async fn compiled_code_is_kept_and_a_damaged_entry_is_compiled_again() {
    let directory = tempfile::tempdir().unwrap();
    let cache = directory.path().join("cwasm");
    let file = Bytes::from(bytes("parts"));
    let load = async || sandbox_in(&cache, 4).load("parts", file.clone()).await.unwrap();
    assert!(!load().await.from_cache());
    assert!(load().await.from_cache());

    let entry = entry(&cache);
    let mut code = std::fs::read(&entry).unwrap();
    let middle = code.len() / 2;
    code[middle] ^= 1;
    replace(&entry, &code);
    let again = load().await;
    assert!(!again.from_cache());
    assert!(again.compiled().is_some());
    assert!(load().await.from_cache());

    replace(&entry, b"half");
    assert!(!load().await.from_cache());
}

#[tokio::test]
async fn files_that_look_alike_are_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let sandbox = sandbox_in(&directory.path().join("cwasm"), 4);
    // A custom section of 32 KiB; before a file is hashed, the first bytes of each 16 KiB are looked at.
    let padded = |odd: u8| {
        let mut file = bytes("parts");
        file.extend(b"\x00\x84\x80\x02\x03pad");
        file.extend([0; 32 << 10]);
        let last_of_a_piece = (file.len() >> 14 << 14) - 1;
        file[last_of_a_piece] = odd;
        Bytes::from(file)
    };
    let one = sandbox.load("parts", padded(1)).await.unwrap();
    let other = sandbox.load("parts", padded(2)).await.unwrap();
    assert_ne!(one.hash(), other.hash());
    assert!(!other.from_cache());
    let again = sandbox.load("parts", padded(1)).await.unwrap();
    assert_eq!(again.hash(), one.hash());
    assert!(again.from_cache());
}

#[tokio::test]
async fn a_file_taken_for_another_by_its_checksum_is_known_rightly_afterwards() {
    let directory = tempfile::tempdir().unwrap();
    let sandbox = sandbox_in(directory.path(), 4);
    let file = Bytes::from(bytes("parts"));
    let right = sandbox.load("parts", file.clone()).await.unwrap().hash().to_owned();
    let paths = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path());
    let notes = paths.filter(|path| path.extension().is_some_and(|is| is == "known"));
    let [note] = notes.collect::<Vec<_>>().try_into().unwrap();
    let other = sandbox.load("fixture", bytes("fixture").into()).await.unwrap().hash().to_owned();
    std::fs::write(&note, &other).unwrap();

    let wrong = sandbox.load("parts", file.clone()).await.unwrap();
    assert_eq!(wrong.hash(), other, "what runs is named truly");
    let corrected = async {
        while std::fs::read_to_string(&note).unwrap() != right {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), corrected).await.expect("it is corrected");
    assert_eq!(sandbox.load("parts", file).await.unwrap().hash(), right);
}

/// Puts another file in the place of one, which may still be mapped.
fn replace(path: &Path, bytes: &[u8]) {
    let beside = path.with_extension("beside");
    let mode = std::fs::metadata(path).unwrap().permissions();
    std::fs::write(&beside, bytes).unwrap();
    std::fs::set_permissions(&beside, mode).unwrap();
    std::fs::rename(&beside, path).unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn the_cache_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let cache = directory.path().join("cwasm");
    std::fs::create_dir(&cache).unwrap();
    std::fs::set_permissions(&cache, std::fs::Permissions::from_mode(0o777)).unwrap();
    let file = Bytes::from(bytes("parts"));
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    drop(sandbox_in(&cache, 4).load("parts", file.clone()).await.unwrap());
    assert_eq!(mode(&cache), 0o700);
    let entry = entry(&cache);
    assert_eq!(mode(&entry), 0o600);
    // One that others could have written is not run.
    std::fs::set_permissions(&entry, std::fs::Permissions::from_mode(0o666)).unwrap();
    assert!(!sandbox_in(&cache, 4).load("parts", file).await.unwrap().from_cache());
}
