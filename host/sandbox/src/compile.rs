//! Machine code for a component: one at a time, on a thread of its own, and never while deliveries wait for it.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{Mutex, oneshot};
use wasmtime::Engine;

use crate::component;
use crate::load::LoadProblem;

/// The compiler of a sandbox.
#[derive(Default)]
pub(crate) struct Compiler {
    /// Compiling takes all cores and much memory for seconds: one file at a time.
    turn: Arc<Mutex<()>>,
}

impl Compiler {
    /// Checks a file and compiles it.
    pub(crate) async fn compile(
        &self,
        engine: &Engine,
        file: Bytes,
    ) -> Result<Vec<u8>, LoadProblem> {
        let turn = self.turn.clone().lock_owned().await;
        let engine = engine.clone();
        let (answer, compiled) = oneshot::channel();
        let thread = std::thread::Builder::new().name("compile".to_owned()).spawn(move || {
            // Here and not with the caller, who may stop waiting: the compiler goes on all the same.
            let _turn = turn;
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
