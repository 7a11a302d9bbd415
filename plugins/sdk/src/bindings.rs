//! What wit-bindgen makes of the contract; the other modules give its types their helpers.
#![doc(hidden)]

wit_bindgen::generate!({
    path: "../../wit",
    world: "notifier",
    additional_derives: [PartialEq, Eq],
    pub_export_macro: true,
    export_macro_name: "export_handler",
});
