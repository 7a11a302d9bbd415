//! The sandbox of postrider: it runs notifier modules, and is the only place that knows wasmtime.
//!
//! Loading: bytes become a [`Plugin`].
//! - [`load`]: from a file's bytes to a type-checked plugin, with errors an operator can act on.
//! - `component`: what a file is, what it imports and exports, and core modules made components.
//! - `compile`, `compile_child`: machine code, made by a child process with limits.
//! - `cache`: machine code, made once for each file and kept beside the database; `afterwards`: what is checked again
//!   beside the work.
//! - `engine`: wasmtime's settings, the pool of instances, the ticker.
//!
//! Running: a plugin and a destination become a [`Notifier`], whose `send` is one attempt.
//! - [`plugin`], [`notifier`]: the two handles that the daemon holds.
//! - `binding`: what a destination grants; `context`: what one instance has of it.
//! - `shelf`: instances that wait to be used again, where a destination wants that.
//! - `call`: one instance, from `configure` to its end; `fault`: what an abrupt end means.
//! - `workers`: the threads that guests run on; `starting`: how attempts begin there; `crowd`: how many at once.
//! - `slow_lane`, `turns`: where and when those go on that compute for long.
//! - `limiter`, `log`, `stdio`: memory, log text and standard streams, bounded.
//! - `bindings`, `imports`, `convert`: the contract of `wit/`, its functions, its values.
//!
//! The network: both of a guest's ways out end in the same door.
//! - `outgoing`: the door: budget, deadline, placeholders.
//! - `wasi_http`: the way in for `wasi:http/outgoing-handler`.
//! - `guard`, `address`: which origins and addresses may be reached.
//! - `client`, `dialer`, `link`: keep-alive HTTP/1.1 over checked addresses.
//! - `tls`, `proxy`: a destination's own certificates, and its way out.
//! - [`offline`]: a receiver in the network's place.
//! - `measuring`: the door without a guest, for the bench.
//! - `secrets`, `placeholders`, `redact`, `signing`: values that no guest and no log sees.

mod address;
mod afterwards;
mod binding;
mod bindings;
mod cache;
mod call;
mod client;
mod compile;
mod compile_child;
mod component;
mod context;
mod convert;
mod crowd;
mod dialer;
mod engine;
mod fault;
mod guard;
#[cfg(test)]
mod guard_table;
mod imports;
mod limiter;
mod link;
pub mod load;
mod log;
#[doc(hidden)]
pub mod measuring;
#[cfg(test)]
mod mutations;
pub mod notifier;
pub mod offline;
mod outgoing;
mod placeholders;
pub mod plugin;
mod proxy;
mod redact;
mod refusal;
pub mod sandbox;
mod secrets;
mod shelf;
mod signing;
mod slow_lane;
mod starting;
pub mod state;
mod stdio;
mod text;
mod tls;
mod turns;
mod wasi_http;
mod workers;

pub use compile::CompilerConfig;
pub use compile_child::compile_child;
pub use component::{CONTRACT, Inspection, inspect};
pub use load::{LoadError, LoadProblem, is_newer};
pub use notifier::{BindError, Notifier, Sent, Usage};
pub use plugin::{Description, Plugin};
pub use sandbox::{Sandbox, SandboxConfig, SandboxError, wasmtime_version};
pub use secrets::Secrets;
pub use state::{StateEntry, StateError, StateStore};
pub use workers::Task;
