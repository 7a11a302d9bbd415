//! Compiling is somebody else's process: whatever a file asks of it, it has limits.

use std::hash::{BuildHasher as _, Hasher as _};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use foldhash::fast::FixedState;
use postrider_sandbox::CompilerConfig;
use postrider_tests::core_module::{compile_bomb, core_module};
use postrider_tests::modules::module;

use crate::given::{compiler, entry, fixture, note, sandbox_with, send};

/// Branches of a bomb that takes seconds and hundreds of megabytes.
const BRANCHES: usize = 12_000;

async fn refused(cache: &Path, limits: CompilerConfig) -> String {
    let bomb = Bytes::from(compile_bomb(BRANCHES));
    match sandbox_with(cache, 4, limits).load("bomb", bomb).await {
        Ok(_) => panic!("it loads"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
pub(crate) async fn a_compile_bomb_is_refused_and_hurts_nobody() {
    let good = fixture("[config]\ndo = \"ok\"").await;
    let said = |limit: &str| {
        format!(
            "plugin \"bomb\": compiling it takes more than {limit}, which no module needs; build it with \
             optimisation (such as -O or --release), split its largest functions, or remove it if you do not know \
             who made it"
        )
    };
    let directory = tempfile::tempdir().unwrap();
    let memory = CompilerConfig { memory: 500 << 20, ..compiler() };
    let cpu = CompilerConfig { cpu: Duration::from_secs(1), ..compiler() };
    let time = CompilerConfig { deadline: Duration::from_millis(500), ..compiler() };
    for (name, limits, limit) in [
        ("memory", memory, "500 MiB of memory"),
        ("cpu", cpu, "1s of processor time"),
        ("time", time, "500ms"),
    ] {
        let cache = directory.path().join(name);
        let refusing = tokio::spawn({
            let cache = cache.clone();
            async move { refused(&cache, limits).await }
        });
        while !refusing.is_finished() {
            assert_eq!(note(&send(&good, "{}").await), "fixture: ok");
        }
        assert_eq!(refusing.await.unwrap(), said(limit));
        // Remembered: a compiler that does not start is not asked again.
        let none = CompilerConfig { program: "/no/such/program".into(), ..compiler() };
        assert_eq!(refused(&cache, none).await, said(limit));
    }
}

#[tokio::test]
async fn one_file_is_compiled_at_a_time_and_a_dropped_load_ends_its_compiler() {
    let directory = tempfile::tempdir().unwrap();
    let sandbox = sandbox_with(directory.path(), 4, compiler());
    let bomb = sandbox.load("bomb", Bytes::from(compile_bomb(BRANCHES * 3)));
    let cut = tokio::time::timeout(Duration::from_millis(300), bomb).await;
    assert!(cut.is_err());
    // Has its turn as soon as the bomb's compiler is ended, not when it would have been done.
    let next = sandbox.load("core", core_module().into());
    assert!(tokio::time::timeout(Duration::from_secs(8), next).await.unwrap().is_ok());
}

/// As it stands in an entry's name.
fn checksum(code: &[u8]) -> String {
    let mut both = FixedState::default().build_hasher();
    let (first, second) = code.split_at(code.len() / 2);
    for half in [first, second] {
        let mut sum = FixedState::default().build_hasher();
        half.chunks(256 << 10).for_each(|piece| sum.write(piece));
        both.write_u64(sum.finish());
    }
    format!("{:x}-{:016x}", code.len(), both.finish())
}

#[tokio::test]
async fn a_cache_entry_of_another_engine_is_compiled_again() {
    let directory = tempfile::tempdir().unwrap();
    let file = Bytes::from(std::fs::read(module("parts")).unwrap());
    let load = async || {
        sandbox_with(directory.path(), 4, compiler()).load("parts", file.clone()).await.unwrap()
    };
    assert!(!load().await.from_cache());
    let entry = entry(directory.path());
    // Whole, ours by its name, and of another version by its head.
    let mut code = std::fs::read(&entry).unwrap();
    let version = postrider_sandbox::wasmtime_version().split('.').next().unwrap();
    // Its length stands before it.
    let head = [&[0, version.len() as u8], version.as_bytes()].concat();
    let at = code.windows(head.len()).position(|window| window == head).unwrap();
    let name = entry.file_stem().unwrap().to_str().unwrap();
    let (key, sum) = name.split_once('-').unwrap();
    assert_eq!(sum, checksum(&code));
    code[at + 2] = b'9';
    let foreign = directory.path().join(format!("{key}-{}.cwasm", checksum(&code)));
    std::fs::rename(&entry, &foreign).unwrap();
    std::fs::remove_file(&foreign).unwrap();
    std::fs::write(&foreign, &code).unwrap();
    let owner_only = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&foreign, owner_only).unwrap();
    assert!(!load().await.from_cache(), "another version");
    assert!(!foreign.exists());
    assert!(load().await.from_cache());
}
