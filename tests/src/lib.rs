//! What the tests share.
//!
//! - [`modules`]: guests, built when first asked for.

pub mod modules;
