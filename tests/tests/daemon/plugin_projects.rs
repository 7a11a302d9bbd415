//! What `postrider plugin new|build|check` say of bad input: to an author, at a command line.

use std::os::unix::fs::PermissionsExt as _;

use postrider_tests::daemon::House;
use postrider_tests::modules::module;
use serde_json::Value;

const BUILD: &str = "build it for the world \"notifier\" of postrider:notifier@1.0.0";

/// Runs a command with no programs but those of the house's directory `bin`.
async fn run(house: &House, arguments: &[&str]) -> (i32, String) {
    let mut command = house.command();
    command.env("PATH", house.path().join("bin")).env("XDG_CACHE_HOME", house.path());
    let output = command.arg("plugin").args(arguments).output().await.unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

/// Puts a program into `bin` that answers `words` whatever it is asked.
fn program(house: &House, name: &str, script: &str) {
    let bin = house.path().join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    std::fs::write(bin.join(name), format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(bin.join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test]
async fn what_cannot_be_a_project_is_refused_with_what_can() {
    let house = House::new();
    std::fs::write(house.path().join("taken"), "mine").unwrap();
    for (arguments, code, problem) in [
        (["--lang", "perl", "room"], 2, "[possible values: rust, js, ts, python, c, go]"),
        (
            ["--lang", "c", "../room"],
            1,
            "\"../room\" is no name for a module; a name begins with a small letter",
        ),
        (["--lang", "c", "taken"], 1, "taken exists already; choose another name, or remove it"),
    ] {
        let (came, text) = run(&house, &[["new"].as_slice(), &arguments].concat()).await;
        assert!(came == code && text.contains(problem), "{arguments:?}: {text}");
    }
    std::fs::create_dir(house.path().join("empty")).unwrap();
    let (code, text) = run(&house, &["build", "empty"]).await;
    let wanted = "empty holds no notifier's sources: none of src/lib.rs, notifier.js, notifier.ts, notifier.py, \
                  notifier.c, notifier.go; `postrider plugin new` makes a project";
    assert!(code == 1 && text.contains(wanted), "{text}");
    let (code, _) = run(&house, &["new", "--lang", "go", "room"]).await;
    assert_eq!(code, 0);
    std::fs::remove_file(house.path().join("room/notifier.go")).unwrap();
    let (code, text) = run(&house, &["build", "room"]).await;
    let wanted = "room has go.mod, so it is a project in Go, but notifier.go is missing";
    assert!(code == 1 && text.contains(wanted), "{text}");
}

#[tokio::test]
async fn a_toolchain_that_is_missing_or_of_another_version_is_told_with_the_remedy() {
    let house = House::new();
    let pip = "python3 -m venv .venv && .venv/bin/pip install -r requirements.txt";
    for (language, tool, answer, problem, remedy) in [
        (
            "rust",
            "rustc",
            "echo rustc 1.60.0",
            "rustc 1.60 is too old: Cargo.toml, line 5, asks for 1.95 or newer",
            "rustup update stable",
        ),
        (
            "rust",
            "rustc",
            "echo error: toolchain \\'x\\' is not installed >&2; exit 1",
            "`rustc --version` says no version",
            "'x' is not installed",
        ),
        (
            "js",
            "node",
            "echo v18.4.0",
            "node 18.4 is too old: the tools need 20.0 or newer",
            "https://nodejs.org",
        ),
        (
            "ts",
            "node",
            "echo v22.1.0",
            "componentize-qjs is not installed; package.json, line 8, asks for 0.4.5",
            "npm install",
        ),
        (
            "python",
            "componentize-py",
            "echo componentize-py 0.20.0",
            "componentize-py 0.20 is here, but requirements.txt, line 1, asks for 0.25.1",
            pip,
        ),
        (
            "c",
            "zig",
            "echo 0.13.0",
            "zig 0.13 is here, but requirements.txt, line 1, asks for 0.17.1",
            pip,
        ),
        (
            "go",
            "go",
            "echo go version go1.21.0 linux/amd64",
            "go 1.21 is too old: go.mod, line 3, asks for 1.27 or newer",
            pip,
        ),
    ] {
        let project = format!("room-{language}");
        let arguments = ["new", "--lang", language, &project];
        let (code, text) = run(&house, &arguments).await;
        assert!(code == 0 || text.contains("exists already"), "{text}");
        let installs = language == "ts";
        if !installs {
            let (code, text) = run(&house, &["build", &project]).await;
            assert!(code == 1 && text.contains("there is no "), "{language}: {text}");
        }
        program(&house, tool, answer);
        let (code, text) = run(&house, &["build", &project]).await;
        assert!(code == 1 && text.contains(problem) && text.contains(remedy), "{language}: {text}");
        std::fs::remove_file(house.path().join("bin").join(tool)).unwrap();
        assert!(!house.path().join(format!("{project}/{project}.wasm")).exists());
    }
}

/// A guest whose handler says that it is of another version of the contract.
fn of_contract(version: &str) -> Vec<u8> {
    let mut bytes = std::fs::read(module("fixture")).unwrap();
    let (ours, theirs) =
        (b"postrider:notifier/handler@1.0.0", format!("postrider:notifier/handler@{version}"));
    let places: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(ours)).collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at..at + ours.len()].copy_from_slice(theirs.as_bytes());
    }
    bytes
}

#[tokio::test]
async fn a_module_of_another_contract_is_refused_by_check_and_by_the_daemon() {
    let house = House::new();
    let mut refusals = Vec::new();
    for (name, version, remedy) in [
        ("old", "0.9.0", BUILD.to_owned()),
        ("new", "2.0.0", format!("update postrider, or {BUILD}")),
    ] {
        let file = format!("{name}.wasm");
        std::fs::write(house.path().join(&file), of_contract(version)).unwrap();
        let problem = format!(
            "plugin \"{name}\": it is built for postrider:notifier/handler@{version}, and this host serves 1.0.0; {remedy}"
        );
        assert_eq!(run(&house, &["check", &file]).await, (1, format!("{problem}\n")));
        let (code, text) = run(&house, &["check", &file, "--json"]).await;
        let found: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((code, found["contract"]["wanted"].as_str()), (1, Some(version)), "{found:#}");
        assert_eq!(
            (&found["usable"], &found["problem"]),
            (&false.into(), &problem.as_str().into())
        );
        house.put(&file, of_contract(version));
        refusals.push((name, problem));
    }
    let daemon = house.start().await;
    let is_told = |listed: &Value| {
        let problem = |name: &str| {
            let items = listed["items"].as_array().unwrap();
            items
                .iter()
                .find(|item| item["name"] == name)
                .and_then(|item| item["reason"].as_str().map(str::to_owned))
        };
        refusals.iter().all(|(name, text)| problem(name).is_some_and(|p| text.ends_with(&p)))
    };
    daemon.until("/v1/plugins", is_told).await;
    let (_, text, _) = house.run(&["plugin", "list", "--url", daemon.url()]).await;
    assert!(text.contains("update postrider, or build it for the world"), "{text}");
    daemon.stop().await;
}
