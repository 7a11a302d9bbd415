//! Takes each notification and does nothing: what is left is what an instance costs.

use postrider_sdk::{Description, Failure, Notification, Notifier, Receipt};

struct Noop;

#[derive(serde::Deserialize)]
struct Config {}

impl Notifier for Noop {
    type Config = Config;

    fn describe() -> Description {
        Description::new("noop", "1", "Does nothing.")
    }

    fn configure(_: Config) -> Result<Option<Self>, String> {
        Ok(Some(Self))
    }

    fn send(&self, _: &Notification) -> Result<Receipt, Failure> {
        Ok(Receipt::default())
    }
}

postrider_sdk::export!(Noop);
