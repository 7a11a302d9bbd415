//! What a host does beside delivering: prunes, tells that it lives, minds its limits.
//!
//! - [`plan`]: when the next chunk of retention is due. Pure.
//! - [`pruner`]: does the chunks.
//! - [`heart`]: tells the other hosts of this one.
//! - [`admission`]: whether anything more is taken in.

pub mod admission;
pub mod heart;
pub mod plan;
pub mod pruner;
