//! The contract of `wit/`, as wasmtime's types. WASI is linked by name beside it.

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "postrider:notifier/notifier",
    imports: {
        "postrider:notifier/http": async,
        "postrider:notifier/state": async,
    },
    exports: { default: async },
});
