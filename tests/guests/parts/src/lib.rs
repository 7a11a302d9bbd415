//! A guest for tests that takes at most 64 bytes at once and posts each part.

use postrider_sdk::{Description, Failure, Notification, Notifier, Receipt, Request, verdict};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parts {
    url: String,
}

impl Notifier for Parts {
    type Config = Self;

    fn describe() -> Description {
        Description::new("parts", env!("CARGO_PKG_VERSION"), "Posts small parts, for tests.")
            .max_content(64)
    }

    fn configure(config: Self) -> Result<Option<Self>, String> {
        Ok(Some(config))
    }

    fn send(&self, notification: &Notification) -> Result<Receipt, Failure> {
        let request = Request::post(&self.url)
            .header("content-type", &notification.content_type)
            .header("webhook-id", &notification.id)
            .header("x-part", &part(notification))
            .body(notification.content.clone());
        verdict(&request.send()?)
    }
}

postrider_sdk::export!(Parts);

/// `1/3` for the first of three; a whole notification is `1/1`.
fn part(notification: &Notification) -> String {
    match &notification.part {
        Some(part) => format!("{}/{}", part.index + 1, part.count),
        None => "1/1".to_owned(),
    }
}
