use postrider_tests::daemon::House;
use postrider_tests::receiver::Receiver;
use serde_json::{Value, json};

use crate::hooked;

async fn refused_start(house: &House, arguments: &[&str]) -> String {
    let (status, _, error) = house.run(&[&["serve"], arguments].concat()).await;
    assert_eq!(status.code(), Some(1), "{error}");
    assert_eq!(error.trim().lines().count(), 1, "one line: {error}");
    error
}

#[tokio::test]
async fn bad_settings_are_refused_in_one_line() {
    let house = House::new();
    std::fs::write(house.path().join("bad.toml"), "listn = '127.0.0.1:1'").unwrap();
    std::fs::write(house.path().join("file"), "not a database, and longer than its header is")
        .unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().to_string();
    for (arguments, expected) in [
        (
            &["--config", "bad.toml"][..],
            "bad.toml: line 1: unknown key \"listn\"; did you mean \"listen\"?",
        ),
        (&["--config", "none.toml"], "none.toml: cannot be read"),
        (&["--listen", "localhost"], "--listen: \"localhost\" is not an address to listen on"),
        (&["--listen", "0.0.0.0:0"], "can be reached from other machines"),
        (&["--listen", &port], "is another postrider running? choose another --listen"),
        (&["--data-dir", "file/below"], "cannot create the directory file/below"),
        (
            &["--database", "mysql://x", "--listen", "127.0.0.1:0"],
            "--database: \"mysql://x\" is not a database",
        ),
        (
            &["--database", "sqlite:file", "--listen", "127.0.0.1:0"],
            "file is not an SQLite database",
        ),
    ] {
        let error = refused_start(&house, arguments).await;
        assert!(error.contains(expected), "{arguments:?}: {error}");
    }
    let mut command = house.command();
    let output = command.arg("serve").env("POSTRIDER_LISTN", "x").output().await.unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.contains("POSTRIDER_LISTN: is no setting; did you mean POSTRIDER_LISTEN?"),
        "{error}"
    );
}

#[tokio::test]
async fn bad_bodies_are_problems_that_name_the_field_and_lose_nothing() {
    let receiver = Receiver::ok().await;
    let house = hooked(&receiver, "");
    let daemon = house.start().await;
    let labels: serde_json::Map<String, Value> =
        (0..10_000).map(|n| (n.to_string(), json!(""))).collect();
    let deep = "[".repeat(100_000);
    let deep = format!("{{\"type\":\"x\",\"content\":{deep}");
    for (body, status, expected) in [
        ("hello".to_owned(), 400, "not a notification in JSON"),
        (deep, 400, "EOF while parsing a list"),
        (json!({}).to_string(), 400, "type: is required"),
        (
            json!({"type": "x", "content": 1, "content_text": "y"}).to_string(),
            400,
            "only one of content",
        ),
        (
            json!({"type": "x", "labels": {"a": "\u{1b}[2J"}}).to_string(),
            400,
            "control character U+001B",
        ),
        (json!({"type": "x", "labels": labels}).to_string(), 400, "at most 64 are allowed"),
        ("x".repeat(5 << 20), 413, "larger than 4194304 bytes"),
    ] {
        let (got, problem) = daemon.post("/v1/notifications", body).await;
        assert_eq!(got, status);
        assert!(problem["detail"].as_str().unwrap().contains(expected), "{problem}");
    }
    let invalid_utf8 = b"{\"type\":\"\xff\"}".to_vec();
    assert_eq!(daemon.post("/v1/notifications", invalid_utf8).await.0, 400);
    for (path, status) in [
        ("/nothing", 404),
        ("/v1/notifications/1", 400),
        ("/v1/notifications/01a20c69-2920-71e7-b854-f8deb60caabe", 404),
        ("/v1/deliveries/1", 404),
        ("/v1/deliveries?state=ded", 400),
        ("/v1/deliveries?limit=0", 400),
        ("/v1/deliveries?limit=1&limit=2", 400),
        ("/v1/notifications?after=x", 400),
        ("/v1/notifications?limt=1", 400),
        ("/v1/notifications/%ff", 400),
    ] {
        let (got, problem) = daemon.get(path).await;
        assert_eq!(
            (got, problem["status"].as_u64()),
            (status, Some(status.into())),
            "{path}: {problem}"
        );
    }
    daemon.enqueue(&json!({"type": "still.there"})).await;
    receiver.ids(1, postrider_tests::daemon::PATIENCE).await;
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn a_check_says_what_a_module_is_or_why_it_is_none() {
    let house = House::new();
    let webhook = postrider_tests::modules::module("webhook");
    let webhook = webhook.to_str().unwrap();
    let (status, text, _) = house.run(&["plugin", "check", webhook]).await;
    assert!(status.success() && text.contains("plugin = \"webhook\""), "{text}");
    let (status, text, _) = house.run(&["plugin", "check", "--json", webhook]).await;
    let found: Value = serde_json::from_str(&text).unwrap();
    assert!(
        status.success() && found["usable"] == true && found["secrets"] == json!(["signing"]),
        "{text}"
    );
    std::fs::write(house.path().join("x.wasm"), "hello").unwrap();
    let (status, text, _) = house.run(&["plugin", "check", "x.wasm"]).await;
    assert_eq!(status.code(), Some(1), "{text}");
    let (status, _, error) = house.run(&["plugin", "check", "none.wasm"]).await;
    assert!(status.code() == Some(1) && error.contains("cannot read none.wasm"), "{error}");
}
