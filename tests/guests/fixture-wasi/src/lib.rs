//! A guest for tests on the world `notifier-wasi`: what WASI grants, which is nothing but guarded HTTP.
//!
//! Config: `do` is one of `behaviour`. The receipt's note says how it went, also when it failed, so that a test can
//! read the error.
//!
//! Nothing on native targets, where its exports have no meaning.
#![cfg(target_family = "wasm")]
#![expect(unsafe_code, reason = "the component exports that wit-bindgen generates")]

mod bindings {
    wit_bindgen::generate!({
        path: "../../../wit",
        world: "notifier-wasi",
        generate_all,
    });
}
mod behaviour;
mod post;

use behaviour::Behaviour;
use bindings::exports::postrider::notifier::handler::{
    Description, Failure, Guest, Notification, Receipt,
};
use std::cell::RefCell;
use std::io::Write as _;
use std::net::TcpStream;

thread_local! {
    static CONFIG: RefCell<serde_json::Value> = const { RefCell::new(serde_json::Value::Null) };
}

struct Fixture;

impl Guest for Fixture {
    fn describe() -> Description {
        Description {
            name: "fixture-wasi".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "Tries what WASI offers, for tests.".to_owned(),
            config_schema: None,
            origins: Vec::new(),
            secrets: Vec::new(),
            max_content: None,
            attributes: Vec::new(),
        }
    }

    fn configure(config: String) -> Result<bool, String> {
        let config = serde_json::from_str(&config).map_err(|error| error.to_string())?;
        CONFIG.replace(config);
        Ok(true)
    }

    fn send(notification: Notification) -> Result<Receipt, Failure> {
        let Some(behaviour) = Behaviour::of(&text("do")) else {
            return Err(Failure::Rejected(format!("config.do: {:?} is unknown", text("do"))));
        };
        let note = match behaviour {
            Behaviour::Post => post::post(&text("url"), &notification),
            Behaviour::Socket => socket(&text("address")),
            Behaviour::File => file(&text("path")),
            Behaviour::Env => environment(),
            Behaviour::Handles => post::handles(1_000_000),
            Behaviour::Leak => post::leak(400),
            Behaviour::Header => post::header(512 << 10),
            Behaviour::Stdout => stdout(64 << 20),
        };
        Ok(Receipt { id: None, note: Some(note) })
    }
}

bindings::export!(Fixture with_types_in bindings);

fn text(key: &str) -> String {
    CONFIG.with_borrow(|config| config.get(key)?.as_str().map(str::to_owned)).unwrap_or_default()
}

fn socket(address: &str) -> String {
    match TcpStream::connect(address) {
        Ok(_) => "connected".to_owned(),
        Err(error) => format!("error: {error}"),
    }
}

fn file(path: &str) -> String {
    match std::fs::read(path) {
        Ok(bytes) => format!("read {} bytes", bytes.len()),
        Err(error) => format!("error: {error}"),
    }
}

fn stdout(bytes: usize) -> String {
    let chunk = [b'x'; 64 << 10];
    let mut written = 0;
    while written < bytes {
        if let Err(error) = std::io::stdout().write_all(&chunk) {
            return format!("error: {error}");
        }
        written += chunk.len();
    }
    format!("{written} bytes")
}

fn environment() -> String {
    format!("{} variables, {} arguments", std::env::vars_os().count(), std::env::args_os().count())
}
