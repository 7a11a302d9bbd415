//! Machine code for a component: one at a time, on a thread of its own, and never while deliveries wait for it.

use bytes::Bytes;
use tokio::sync::{Mutex, oneshot};
use wasmtime::Engine;

use crate::component;
use crate::load::LoadProblem;

/// The compiler of a sandbox.
#[derive(Default)]
pub(crate) struct Compiler {
    /// Compiling takes all cores and much memory for seconds: one file at a time.
    turn: Mutex<()>,
}

impl Compiler {
    /// Checks a file and compiles it.
    pub(crate) async fn compile(
        &self,
        engine: &Engine,
        file: Bytes,
    ) -> Result<Vec<u8>, LoadProblem> {
        let _turn = self.turn.lock().await;
        let engine = engine.clone();
        let (answer, compiled) = oneshot::channel();
        let thread = std::thread::Builder::new().name("compile".to_owned()).spawn(move || {
            // Nobody may be waiting any more, which is fine.
            let _gone = answer.send(compile(&engine, &file));
        });
        thread.map_err(|error| LoadProblem::Host { detail: error.to_string() })?;
        match compiled.await {
            Ok(compiled) => compiled,
            Err(_panicked) => {
                Err(LoadProblem::Compile { detail: "the compiler panicked".to_owned() })
            }
        }
    }
}

fn compile(engine: &Engine, file: &[u8]) -> Result<Vec<u8>, LoadProblem> {
    let component = component::read(file)?;
    engine
        .precompile_component(&component)
        .map_err(|error| LoadProblem::Compile { detail: format!("{error:#}") })
}
