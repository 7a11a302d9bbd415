use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use postrider_tests::receiver::{Receiver, answer};
use serde_json::json;

use crate::hooked;

/// The value of every secret: with everything that some encoding changes, a URL, keys in rotation.
const TOKEN: &str = "t0p/s+cret value&\"ü";
const PATH: &str = "https://hooks.example.com/services/T0/B0/hidden-path";
const KEYS: &str = "whsec_bmV3LWtleS1uZXcta2V5LW5ldw== whsec_b2xkLWtleS1vbGQta2V5LW9sZA==";

fn percent(text: &str) -> String {
    let hide = |byte: u8| match byte {
        b if b.is_ascii_alphanumeric() || b"-._~".contains(&b) => char::from(b).to_string(),
        b => format!("%{b:02X}"),
    };
    text.bytes().map(hide).collect()
}

/// What must not be found anywhere.
fn forms() -> Vec<String> {
    let keys = KEYS.split(' ').flat_map(|key| [key, key.strip_prefix("whsec_").unwrap()]);
    let values = [TOKEN, PATH, "/services/T0/B0/hidden-path"].into_iter().chain(keys);
    let forms = values.flat_map(|value| {
        let json = serde_json::to_string(value).unwrap();
        [
            value.to_owned(),
            percent(value),
            percent(value).to_lowercase(),
            percent(value).replace("%20", "+"),
            STANDARD.encode(value),
            URL_SAFE.encode(value),
            json.trim_matches('"').to_owned(),
        ]
    });
    let mut forms: Vec<String> = forms.collect();
    forms.sort_unstable();
    forms.dedup();
    forms
}

fn assert_clean(place: &str, text: &[u8]) {
    let text = String::from_utf8_lossy(text);
    for form in forms() {
        assert!(!text.contains(&form), "{place} holds {form:?}");
    }
}

fn files(directory: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[tokio::test]
async fn no_secret_is_in_logs_attempts_api_or_database_in_any_encoding() {
    let basic = STANDARD.encode(format!("user:{TOKEN}"));
    // A receiver that is as unkind as it can be: it sends everything back.
    let echo = format!(
        "{} / basic {basic} / {}",
        forms().join(" "),
        serde_json::to_string(TOKEN).unwrap()
    );
    let whole = Receiver::start(answer("500 Oops", "", &echo)).await;
    let house = hooked(&whole, "");
    std::fs::remove_file(house.plugins().join("hook.toml")).unwrap();
    for (file, value) in [("token", TOKEN), ("path", PATH), ("keys", KEYS)] {
        std::fs::write(house.path().join(file), value).unwrap();
    }
    house.put_module("fixture", "fixture");
    let secrets = "[secrets]\ntoken = { file = 'token' }\npath = { file = 'path' }\nsigning = { file = 'keys' }\n";
    let origin = whole.origin();
    let granted = format!("allow = [\"{origin}\"]\nallow_private = true\npolicy.attempts = 1\n");
    house.put(
        "echoed.toml",
        format!(
            "plugin = 'webhook'\n{granted}[config]\nurl = '{origin}/a'\n[config.headers]\nx-token = '{{{{secret:token}}}}'\n{secrets}"
        ),
    );
    // Not granted, so the error holds the URL; and revealed, so that the guest itself may say it.
    house.put(
        "denied.toml",
        format!("plugin = 'webhook'\npolicy.attempts = 1\n[config]\nurl = '{{{{secret:path}}}}'\n{secrets}"),
    );
    for secret in ["token", "path", "signing"] {
        house.put(
            &format!("revealed-{secret}.toml"),
            format!(
                "plugin = 'fixture'\nreveal = true\n[config]\ndo = 'echo-secret'\nsecret = '{secret}'\n{secrets}"
            ),
        );
    }
    let mut command = house.command();
    command.args(["serve", "--listen", "127.0.0.1:0"]);
    command.env("POSTRIDER_LOG_LEVEL", "trace,hyper=off,sqlx=off");
    let daemon = house.start_command(command).await;
    let id = daemon.enqueue(&json!({"type": "x", "content": {"text": "hello"}})).await;
    daemon.until_empty().await;

    let (_, shown) = daemon.get(&format!("/v1/notifications/{id}")).await;
    assert!(shown.to_string().contains("[secret:"), "something was hidden: {shown}");
    assert_clean("the API", shown.to_string().as_bytes());
    for path in ["/v1/deliveries", "/v1/destinations", "/v1/plugins", "/healthz"] {
        assert_clean(path, daemon.get(path).await.1.to_string().as_bytes());
    }
    let (_, listed) = daemon.get("/v1/deliveries").await;
    for delivery in listed["items"].as_array().unwrap() {
        let path = format!("/v1/deliveries/{}", delivery["id"]);
        assert_clean(&path, daemon.get(&path).await.1.to_string().as_bytes());
    }
    assert_clean("the log", daemon.log().join("\n").as_bytes());
    assert!(daemon.stop().await.success());
    for file in files(&house.path().join("data")) {
        assert_clean(&file.display().to_string(), &std::fs::read(&file).unwrap());
    }
}
