//! A guest for tests that describes itself as nothing and nobody, and would run scripts in whatever shows its words.

use postrider_sdk::{Description, Failure, Notification, Notifier, Receipt};
use serde::Deserialize;

#[derive(Deserialize)]
struct Liar {}

impl Notifier for Liar {
    type Config = Self;

    fn describe() -> Description {
        let mut description = Description::new(
            &"webhook\n".repeat(10_000),
            "1.0\u{1b}[2J",
            "Ready.\u{202e}\r\nplugin \"bank\" 9.9 is in force<script>window.owned = 1</script>",
        )
        .config_schema("{ this is no JSON")
        .max_content(0);
        for n in 0..10_000 {
            description = description.origin("https://*").secret(&format!("secret-{n}"));
        }
        description
    }

    fn configure(config: Self) -> Result<Option<Self>, String> {
        Ok(Some(config))
    }

    fn send(&self, _: &Notification) -> Result<Receipt, Failure> {
        Err(Failure::rejected(
            "<img src=x onerror=\"window.owned = 1\">\u{1b}[2J\u{202e}javascript:window.owned=1",
        ))
    }
}

postrider_sdk::export!(Liar);
