//! The real daemon with real modules and real receivers.
//!
//! - `way`: one notification, all the way; fallbacks; the commands.
//! - `crash`: kill -9 and restarts.
//! - `hosts`: two daemons on one PostgreSQL.
//! - `outbox`: the examples of producers that insert by SQL.
//! - `reload`: modules and destinations that come, change, break and go.
//! - `shutdown`: signals at every wait.
//! - `refusals`: bad settings, files and bodies, each with its text.

mod crash;
mod hosts;
mod outbox;
mod refusals;
mod reload;
mod shutdown;
mod way;

use postrider_tests::daemon::House;
use postrider_tests::receiver::Receiver;

/// A house whose destination `hook` posts to a receiver.
fn hooked(receiver: &Receiver, more: &str) -> House {
    let house = House::new();
    house.put_module("webhook", "webhook");
    house.put("hook.toml", hook(receiver, more));
    house
}

fn hook(receiver: &Receiver, more: &str) -> String {
    let origin = receiver.origin();
    format!(
        "plugin = \"webhook\"\nallow = [\"{origin}\"]\nallow_private = true\nconfig.url = \"{origin}/hook\"\n{more}\n"
    )
}
