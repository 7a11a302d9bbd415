//! The examples of notifiers in every language, dropped into a real daemon. `cargo xtask examples` builds them and
//! runs this.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use postrider_tests::daemon::{House, http};
use postrider_tests::receiver::Receiver;
use serde_json::{Value, json};

/// The folder of `cargo xtask examples`, with its projects and what `plugin test` has compiled.
const EXAMPLES: &str = "POSTRIDER_TEST_EXAMPLES";
/// Where the examples post.
const CHAT: &str = "https://chat.example.com";

/// The projects of the folder, by the names of their modules.
fn projects(folder: &Path) -> BTreeMap<String, PathBuf> {
    let found =
        std::fs::read_dir(folder.join("projects")).unwrap().map(|item| item.unwrap().path());
    found.map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), path)).collect()
}

/// The destination that a project comes with, with its origin replaced and its optional token in use.
fn destination(example: &str, name: &str, receiver: &Receiver) -> String {
    let text = example.replace(CHAT, &receiver.origin()).replace("/hooks/ops", &format!("/{name}"));
    let text = text.replace("# token", "token").replace("# [secrets]", "[secrets]");
    let text = text.replace("/run/secrets/", "");
    assert!(text.contains("{{secret:token}}") && !text.contains(CHAT), "{text}");
    // Keys of the destination itself stand before its tables.
    format!("allow_private = true\npolicy.timeout = \"60s\"\n{text}")
}

#[tokio::test]
#[ignore = "needs modules in six languages; `cargo xtask examples` builds them and runs this"]
async fn every_example_delivers_through_the_daemon() {
    let folder = std::env::var_os(EXAMPLES);
    let folder = PathBuf::from(folder.expect("run by `cargo xtask examples`, which builds them"));
    let (receiver, house, projects) = (Receiver::ok().await, House::new(), projects(&folder));
    assert!(!projects.is_empty());
    // Compiling Python and JavaScript once more would take minutes on a busy machine.
    house.take_compiled_from(&folder.join("cache/postrider/modules"));
    for (name, project) in &projects {
        let read = |file: String| std::fs::read_to_string(project.join(file)).unwrap();
        house.put(
            &format!("{name}.wasm"),
            std::fs::read(project.join(format!("{name}.wasm"))).unwrap(),
        );
        let token = format!("secret of {name}");
        std::fs::write(house.path().join(format!("{name}-token")), token).unwrap();
        house.put(
            &format!("{name}.toml"),
            destination(&read(format!("{name}.toml.example")), name, &receiver),
        );
    }
    let daemon = house.start().await;
    let payload = std::fs::read(projects.values().next().unwrap().join("payload.json")).unwrap();
    let post = http().post(format!("{}/v1/notifications", daemon.url())).body(payload);
    let answer: Value = post.send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["deliveries"], projects.len(), "{answer}");
    let id = answer["id"].as_str().unwrap();

    let done = daemon
        .until(&format!("/v1/notifications/{id}"), |n| {
            n["deliveries"].as_array().unwrap().iter().all(|d| d["state"] == "delivered")
        })
        .await;

    for delivery in done["deliveries"].as_array().unwrap() {
        assert_eq!(
            (&delivery["state"], &delivery["attempts"]),
            (&json!("delivered"), &json!(1)),
            "{delivery:#}"
        );
    }
    receiver_has(&receiver, id, projects.keys());
    assert!(daemon.stop().await.success());
}

/// Whether one request came from each, with the message, the id and the token's value.
fn receiver_has<'a>(receiver: &Receiver, id: &str, names: impl Iterator<Item = &'a String>) {
    let mut received = receiver.received();
    received.sort_by(|a, b| a.line.cmp(&b.line));
    let mut came = received.into_iter();
    for name in names {
        let line = format!("POST /{name} HTTP/1.1");
        let request = came.next().filter(|request| request.line == line).expect(&line);
        assert_eq!(request.header("idempotency-key"), Some(id), "{name}");
        assert_eq!(request.header("content-type"), Some("application/json"), "{name}");
        let token = format!("Bearer secret of {name}");
        assert_eq!(request.header("authorization"), Some(token.as_str()), "{name}");
        let message: Value = serde_json::from_slice(&request.body).unwrap();
        let text = "[critical] alert.firing db1: disk 91 % full";
        assert_eq!(message, json!({"text": text, "channel": "#ops"}), "{name}");
    }
    assert_eq!(came.count(), 0, "each sends once");
}
