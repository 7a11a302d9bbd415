//! The contract of `wit/`, as wasmtime's types. WASI is linked by name beside it.

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "postrider:notifier/notifier",
    imports: {
        "postrider:notifier/http": async,
        "postrider:notifier/state": async,
    },
    exports: { default: async },
    // What a guest is handed stays where it is until it is copied into the guest's memory.
    ownership: Borrowing { duplicate_if_necessary: true },
});
