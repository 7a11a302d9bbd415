//! What the tests share.
//!
//! - [`modules`]: guests, built when first asked for.
//! - [`receiver`]: an HTTP receiver that answers, hangs, floods or breaks off.
//! - [`proxy`]: a network between a daemon and its database that fails.
//! - [`dice`]: chance that can be repeated.
//! - [`core_module`]: modules written byte by byte, one of them a compile bomb.
//! - [`browser`]: a real browser without a screen.
//! - [`daemon`]: the real daemon, in a directory of its own.
//! - [`wire`]: an HTTP/1.1 client that costs next to nothing, for benches.

pub mod browser;
pub mod core_module;
pub mod daemon;
pub mod dice;
pub mod modules;
pub mod proxy;
pub mod receiver;
pub mod wire;
