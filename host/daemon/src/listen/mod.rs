//! Where callers come in: addresses, sockets, encryption, and what is known of a caller before it speaks.
//!
//! - [`address`]: what the setting `listen` says. Pure.
//! - [`bound`]: sockets, ours or those that a service manager opened.
//! - [`peer`]: who is at the other end.
//! - [`tls`]: certificates, read again when they change.
//! - [`serve`]: connections, bounded in number and in time.

pub mod address;
pub mod bound;
pub mod peer;
pub mod serve;
pub mod tls;
