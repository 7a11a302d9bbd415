//! What an abrupt end of a call means: the kind of fault and one line for the operator.

use postrider_core::Fault;
use wasmtime::{Error, Store, Trap, WasmBacktrace};
use wasmtime_wasi::{I32Exit, ResourceTableError};

use crate::context::Context;
use crate::convert::clean;

/// An end without an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Abrupt {
    pub(crate) fault: Fault,
    pub(crate) reason: String,
}

/// Where in its life an instance was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Start,
    Describe,
    Configure,
    Send,
}

impl Stage {
    fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Describe => "describe",
            Self::Configure => "configure",
            Self::Send => "send",
        }
    }
}

impl Abrupt {
    /// Reads an error of wasmtime. wasmtime keeps the types of two of its limits to itself, so their texts count.
    pub(crate) fn of(error: &Error, stage: Stage, store: &Store<Context>) -> Self {
        let context = store.data();
        let (fault, what) = read(error, stage, context);
        let mut reason = format!("{}: {what}", stage.name());
        if fault == Fault::Trap
            && let Some(words) = context.log.last_words()
        {
            reason.push_str("; stderr: ");
            reason.push_str(&words);
        }
        Self { fault, reason: clean(&reason, &context.binding.redactor) }
    }

    /// Whether a function that it exports has other types than the contract's, which shows at its first start only.
    pub(crate) fn is_mismatch(&self) -> bool {
        self.fault == Fault::Host && self.reason.contains("type mismatch")
    }

    pub(crate) fn timeout(stage: Stage, timeout: std::time::Duration) -> Self {
        let reason = format!("{}: no end within {timeout:?}", stage.name());
        Self { fault: Fault::Timeout, reason }
    }

    pub(crate) fn host(reason: impl Into<String>) -> Self {
        Self { fault: Fault::Host, reason: reason.into() }
    }
}

fn read(error: &Error, stage: Stage, context: &Context) -> (Fault, String) {
    let chain = format!("{error:#}");
    if let Some(exceeded) = context.limiter.exceeded() {
        return (Fault::Limit, exceeded.to_owned());
    }
    if chain.contains("fuel allocated for hostcalls") {
        return (
            Fault::Limit,
            "it hands over more data at once than its limits allow; for more, set under [limits]: host_call"
                .to_owned(),
        );
    }
    let full = matches!(error.downcast_ref(), Some(ResourceTableError::Full));
    if full || chain.contains("store handle limit exceeded") {
        return (
            Fault::Limit,
            "it keeps too many handles open; for more, set under [limits]: handles, resources"
                .to_owned(),
        );
    }
    if chain.contains("total size of fields exceeds limit") {
        return (
            Fault::Limit,
            "its headers are too large; for more, set under [limits]: headers".to_owned(),
        );
    }
    if chain.contains("resource limit exceeded: instance count") {
        let limit = context.binding.limits.instances;
        return (
            Fault::Limit,
            format!(
                "it has more than {limit} core instances; for more, set under [limits]: instances"
            ),
        );
    }
    if let Some(I32Exit(code)) = error.downcast_ref() {
        return (Fault::Trap, format!("it called exit({code})"));
    }
    if let Some(trap) = error.downcast_ref::<Trap>() {
        return (
            Fault::Trap,
            format!("{}{}", trap.to_string().trim_start_matches("wasm trap: "), top_frame(error)),
        );
    }
    match stage {
        Stage::Start => (Fault::Host, format!("the sandbox could not start it: {chain}")),
        Stage::Describe | Stage::Configure | Stage::Send => (Fault::Trap, chain),
    }
}

/// The innermost function that has a name; else its offset in the file, which a debugger can look up.
fn top_frame(error: &Error) -> String {
    let Some(trace) = error.downcast_ref::<WasmBacktrace>() else { return String::new() };
    let frames = trace.frames();
    if let Some(name) = frames.iter().find_map(wasmtime::FrameInfo::func_name) {
        return format!(" in {name}");
    }
    match frames.first() {
        Some(frame) => match frame.module_offset() {
            Some(offset) => format!(" in function {} at {offset:#x}", frame.func_index()),
            None => format!(" in function {}", frame.func_index()),
        },
        None => String::new(),
    }
}
