//! Who calls, what they may, and what they changed.
//!
//! - [`token`]: how a token is made, written and checked. Pure.
//! - [`scope`]: what a token allows, and what each path asks for. Pure.
//! - [`caller`]: who sent a request.
//! - [`doorman`]: lets a request through, or not.
//! - `strangers`: how often the store is asked about tokens that it does not know.
//! - [`session`]: a web page's cookie.
//! - [`audit`]: every change, with who made it.
//! - [`routes`]: tokens and the audit in the API; the page that takes a token.

pub mod audit;
pub mod caller;
pub mod doorman;
pub mod routes;
pub mod scope;
pub mod session;
mod strangers;
pub mod token;
