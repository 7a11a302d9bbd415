//! A guest's log lines, from its `log` calls and its standard streams: bounded, redacted, one line each.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::binding::Binding;
use crate::text::one_line;

/// Longest log line, in characters.
const MAX_LINE: usize = 4_000;
/// What a line costs beside its bytes: its time, level and destination are written too.
const LINE_COST: u64 = 32;

/// Lines of stderr that go into the reason of a trap.
const LAST_WORDS: usize = 3;

/// Severity of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// The log of one instance. Its budget is the destination's `limits.log`.
pub(crate) struct Log {
    binding: Arc<Binding>,
    book: Mutex<Book>,
}

struct Book {
    left: u64,
    dropped: u64,
    /// The last lines on stderr, where panics say what happened.
    last_words: VecDeque<String>,
}

impl Log {
    pub(crate) fn new(binding: Arc<Binding>) -> Self {
        let left = binding.limits.log;
        Self { binding, book: Mutex::new(Book { left, dropped: 0, last_words: VecDeque::new() }) }
    }

    /// A fresh budget.
    pub(crate) fn renew(&self) {
        let left = self.binding.limits.log;
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        *book = Book { left, dropped: 0, last_words: VecDeque::new() };
    }

    /// Writes a line, or drops it when the budget is used up.
    pub(crate) fn line(&self, level: Level, text: &str) {
        if self.is_full() {
            return;
        }
        let line = one_line(&self.binding.redactor.redact(text), MAX_LINE);
        if line.is_empty() {
            return;
        }
        let destination = self.binding.destination.as_str();
        {
            let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
            let cost = LINE_COST + line.len() as u64;
            if book.left < cost {
                book.left = 0;
                book.dropped += 1;
                if book.dropped == 1 {
                    let limit = self.binding.limits.log;
                    tracing::warn!(target: "plugin", { destination.name = destination, log.limit = limit }, "log limit reached; the rest is dropped");
                }
                return;
            }
            book.left -= cost;
        }
        match level {
            Level::Trace => {
                tracing::trace!(target: "plugin", { destination.name = destination }, "{line}");
            }
            Level::Debug => {
                tracing::debug!(target: "plugin", { destination.name = destination }, "{line}");
            }
            Level::Info => {
                tracing::info!(target: "plugin", { destination.name = destination }, "{line}");
            }
            Level::Warn => {
                tracing::warn!(target: "plugin", { destination.name = destination }, "{line}");
            }
            Level::Error => {
                tracing::error!(target: "plugin", { destination.name = destination }, "{line}");
            }
        }
    }

    /// Counts a line that comes after the limit, before any work on it.
    fn is_full(&self) -> bool {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        let full = book.dropped > 0;
        book.dropped += u64::from(full);
        full
    }

    /// Writes a line of stderr and keeps it for the reason of a trap.
    pub(crate) fn stderr(&self, text: &str) {
        let words = one_line(text, MAX_LINE);
        // Rust's advice to set RUST_BACKTRACE, which a guest has not.
        if !words.is_empty() && !words.starts_with("note: ") {
            let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
            if book.last_words.len() == LAST_WORDS {
                book.last_words.pop_front();
            }
            book.last_words.push_back(words);
        }
        self.line(Level::Warn, text);
    }

    pub(crate) fn last_words(&self) -> Option<String> {
        let book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        (!book.last_words.is_empty())
            .then(|| book.last_words.iter().map(String::as_str).collect::<Vec<_>>().join(" "))
    }

    /// Lines that did not fit into the budget.
    pub(crate) fn dropped(&self) -> u64 {
        self.book.lock().unwrap_or_else(PoisonError::into_inner).dropped
    }
}
