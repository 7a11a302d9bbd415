//! The sandbox with real guests: what they may, what they may not, and that a bad one harms nobody else.
//!
//! - `given`: sandbox, destinations and notifications.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test may fail loudly"
)]

mod behaviours;
mod compiling;
mod flipping;
mod given;
mod limits;
mod loading;
mod misbehaviour;
mod network;
mod parts;
mod reuse;
mod secrets;
mod state;
mod wires;
