//! Throw-away PostgreSQL clusters for tests.
//!
//! - [`binaries`]: where the server's programs are.
//! - [`settings`]: what a test may choose, and the configuration file that follows from it.
//! - [`cluster`]: a cluster of its own directory and port, which a test starts, stops, pauses and drops.
//! - `client`: addresses, and SQL through `psql`.
//! - [`pgbench`]: what a cluster does bare.
//! - `place`: the directory of a cluster, and what lies in it.
//! - `keeper`: starts, pauses and ends the server, and tells the guardian.
//! - `server`: one run of the server, from its start to its end.
//! - `guardian`: ends the server and removes its directory after a test process that was killed.
//! - `tools`: runs programs as a user the server accepts, each bounded in time.
//! - `processes`: signals, and what `/proc` says.
//!
//! The calls block. A test on an async runtime makes them from a thread that may block.

pub mod binaries;
mod client;
pub mod cluster;
mod guardian;
mod keeper;
pub mod pgbench;
mod place;
mod processes;
mod server;
pub mod settings;
mod tools;

pub use cluster::Cluster;
pub use settings::Settings;
