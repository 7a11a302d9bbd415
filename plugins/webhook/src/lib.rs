//! Sends notifications to any HTTP endpoint, signed by the Standard Webhooks scheme.
//!
//! - `config`: the `[config]` table.
//! - `body`: the content, an envelope, or a template's output.
//! - `signature`: the `webhook-…` headers.

mod body;
mod config;
mod signature;

use body::Body;
use config::Config;
use postrider_sdk::{
    Description, Failure, Notification, Notifier, Receipt, Request, now, sign_webhook, verdict,
};
use signature::{SECRET, Signing, Stamp};

struct Webhook {
    method: &'static str,
    url: String,
    headers: Vec<(String, String)>,
    body: Body,
    signing: Signing,
}

impl Notifier for Webhook {
    type Config = Config;

    fn describe() -> Description {
        let summary =
            "Sends notifications to an HTTP endpoint, signed by the Standard Webhooks scheme.";
        Description::new("webhook", env!("CARGO_PKG_VERSION"), summary)
            .config_schema(include_str!("config-schema.json"))
            .secret(SECRET)
    }

    fn configure(config: Config) -> Result<Option<Self>, String> {
        config.into_webhook().map(Some)
    }

    fn send(&self, notification: &Notification) -> Result<Receipt, Failure> {
        let (content_type, body) = self.body.of(notification)?;
        let stamp = Stamp::new(&notification.id, now());
        let signature = self.signing.sign(&stamp.signed(&body), sign_webhook)?;

        let mut request = Request::new(self.method, &self.url)
            .header("webhook-id", stamp.id)
            .header("webhook-timestamp", &stamp.seconds.to_string())
            .body(body);
        if let Some(signature) = signature {
            request = request.header("webhook-signature", &signature);
        }
        if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
            request = request.header("content-type", &content_type);
        }
        request.headers.extend(self.headers.iter().cloned());
        verdict(&request.send()?)
    }
}

postrider_sdk::export!(Webhook);
