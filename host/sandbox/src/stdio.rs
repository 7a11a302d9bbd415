//! A guest's stdout and stderr: lines of its log. Streams of our own rather than wasmtime's `AsyncWriteStream`,
//! which buffers without a bound on some paths.

use std::sync::Arc;

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::log::{Level, Log};

/// What one write may hold; a writer asks again for more.
const CHUNK: usize = 4 << 10;
/// Longest line that waits for its end; a longer one is cut.
const MAX_PENDING: usize = 8 << 10;

/// Which stream.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Stdout,
    Stderr,
}

/// Where a standard stream's lines go.
pub(crate) struct Stdio {
    pub(crate) log: Arc<Log>,
    pub(crate) kind: Kind,
}

impl IsTerminal for Stdio {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stdio {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        // WASI 0.3 only, which is not linked.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(Lines { log: self.log.clone(), kind: self.kind, pending: Vec::new() })
    }
}

/// Bytes on their way to become lines.
struct Lines {
    log: Arc<Log>,
    kind: Kind,
    pending: Vec<u8>,
}

impl Lines {
    fn end_line(&mut self) {
        let bytes = std::mem::take(&mut self.pending);
        let line = String::from_utf8_lossy(&bytes);
        match self.kind {
            Kind::Stdout => self.log.line(Level::Info, &line),
            Kind::Stderr => self.log.stderr(&line),
        }
    }
}

impl OutputStream for Lines {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = MAX_PENDING.saturating_sub(self.pending.len());
            self.pending.extend_from_slice(piece.get(..room).unwrap_or(piece));
            if piece.ends_with(b"\n") {
                self.end_line();
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(CHUNK)
    }
}

#[async_trait]
impl Pollable for Lines {
    async fn ready(&mut self) {}
}

impl Drop for Lines {
    fn drop(&mut self) {
        if !self.pending.is_empty() {
            self.end_line();
        }
    }
}
