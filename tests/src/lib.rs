//! What the tests share.
//!
//! - [`modules`]: guests, built when first asked for.
//! - [`receiver`]: an HTTP receiver that answers, hangs, floods or breaks off.
//! - [`daemon`]: the real daemon, in a directory of its own.

pub mod daemon;
pub mod modules;
pub mod receiver;
