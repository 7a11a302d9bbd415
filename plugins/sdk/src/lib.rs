#![doc = include_str!("../README.md")]
//!
//! # Modules
//! - [`http`]: requests and responses.
//! - [`verdict`](mod@verdict): what an HTTP answer means for a delivery; [`retry_after`] reads its header.
//! - [`outcome`]: receipts and failures.
//! - [`notification`], [`description`]: what comes in, and what a module says of itself.
//! - [`host`], [`log`](mod@log), [`state`]: what the daemon does for a module.

pub mod bindings;
pub mod description;
#[doc(hidden)]
pub mod exporting;
pub mod host;
pub mod http;
pub mod log;
pub mod notification;
pub mod outcome;
pub mod retry_after;
pub mod state;
pub mod text;
pub mod verdict;

pub use description::Description;
pub use host::{SignError, now, secret, setting, sign_ed25519, sign_hmac_sha256, sign_webhook};
pub use http::{HttpError, Request, Response};
pub use notification::{Notification, Part};
pub use outcome::{Failure, Receipt};
pub use serde_json;
pub use verdict::verdict;

/// A notifier: describes itself, takes its configuration, and sends.
///
/// The host makes a fresh instance for each delivery and configures it before it sends, so a notifier remembers
/// nothing between notifications; [`state`] is for what must last.
pub trait Notifier: Sized {
    /// The destination's `[config]` table. Derive `Deserialize` with `deny_unknown_fields`, so that the operator
    /// hears of a misspelt key.
    type Config: serde::de::DeserializeOwned;

    /// Says what the module is and what it will want.
    fn describe() -> Description;

    /// Makes a notifier of its configuration; `None` leaves the destination disabled.
    ///
    /// An error names the key and what is expected. A value may be an opaque token in place of a secret, so a
    /// notifier must not insist that a URL parses.
    fn configure(config: Self::Config) -> Result<Option<Self>, String>;

    /// Sends one notification.
    fn send(&self, notification: &Notification) -> Result<Receipt, Failure>;
}

/// Exports a [`Notifier`] as the module's `handler`.
///
/// On native targets it only checks the type, so that a notifier's own tests run without wasm.
#[macro_export]
macro_rules! export {
    ($notifier:ty) => {
        const _: () = {
            ::std::thread_local! {
                static SLOT: $crate::exporting::Slot<$notifier> =
                    const { $crate::exporting::Slot::new() };
            }

            struct Component;

            impl $crate::exporting::Guest for Component {
                fn describe() -> $crate::Description {
                    <$notifier as $crate::Notifier>::describe()
                }

                fn configure(config: ::std::string::String) -> $crate::exporting::Configured {
                    SLOT.with(|slot| slot.configure(&config))
                }

                fn send(notification: $crate::Notification) -> $crate::exporting::Sent {
                    SLOT.with(|slot| slot.send(&notification))
                }
            }

            #[cfg(target_family = "wasm")]
            $crate::bindings::export_handler! { Component with_types_in $crate::bindings }

            // What wasm exports, so that the compiler sees no dead code.
            #[cfg(not(target_family = "wasm"))]
            #[used]
            static NATIVE: $crate::exporting::Handler =
                $crate::exporting::Handler::of::<Component>();
        };
    };
}
