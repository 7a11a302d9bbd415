//! A component for tests that is valid and no notifier.
//!
//! Nothing on native targets, where its exports have no meaning.
#![cfg(target_family = "wasm")]
#![expect(unsafe_code, reason = "the component exports that wit-bindgen generates")]

wit_bindgen::generate!({ world: "greeter" });

struct Greeter;

impl exports::fixture::greeter::greeting::Guest for Greeter {
    fn greet(name: String) -> String {
        format!("Hello, {name}")
    }
}

export!(Greeter);
