//! The memory, tables and instances of one store. Growing past a limit ends the call, and the limit is named.

use postrider_core::Limits;
use wasmtime::{ResourceLimiter, Result, bail};

/// Tables of one store.
pub(crate) const MAX_TABLES: usize = 40;
/// Linear memories of one store.
pub(crate) const MAX_MEMORIES: usize = 4;

/// Counts what a store takes.
pub(crate) struct Limiter {
    limit: usize,
    table: usize,
    instances: usize,
    used: usize,
    /// What exceeded a limit, for the operator.
    exceeded: Option<String>,
}

impl Limiter {
    /// The memory of `limits` is that of all linear memories together.
    pub(crate) fn new(limits: &Limits) -> Self {
        let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        Self {
            limit: size(limits.memory),
            table: size(limits.table.into()),
            instances: size(limits.instances.into()),
            used: 0,
            exceeded: None,
        }
    }

    /// Bytes of linear memory in use, which never shrinks.
    pub(crate) fn memory(&self) -> u64 {
        self.used as u64
    }

    pub(crate) fn exceeded(&self) -> Option<&str> {
        self.exceeded.as_deref()
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            // Its own limit, which it can handle.
            return Ok(false);
        }
        let used = self.used.saturating_add(desired.saturating_sub(current));
        if used > self.limit {
            let text = format!(
                "it wants {used} bytes of memory and may have {}; for more, set under [limits]: memory",
                self.limit
            );
            self.exceeded = Some(text.clone());
            bail!(text);
        }
        self.used = used;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        if desired > self.table {
            let text = format!(
                "it wants a table of {desired} elements and may have {}; for more, set under [limits]: table",
                self.table
            );
            self.exceeded = Some(text.clone());
            bail!(text);
        }
        Ok(true)
    }

    fn instances(&self) -> usize {
        self.instances
    }

    fn tables(&self) -> usize {
        MAX_TABLES
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_memories_of_a_store_share_the_limit() {
        let mut limiter = Limiter::new(&Limits { memory: 100, table: 5, ..Limits::default() });
        assert!(limiter.memory_growing(0, 60, None).unwrap());
        assert!(limiter.memory_growing(0, 40, None).unwrap());
        assert!(!limiter.memory_growing(40, 60, Some(50)).unwrap());
        assert_eq!(limiter.exceeded(), None);
        assert!(limiter.memory_growing(40, 41, None).is_err());
        assert!(limiter.exceeded().unwrap().contains("101 bytes"));
        assert_eq!(limiter.memory(), 100);
        assert!(limiter.table_growing(0, 5, None).unwrap());
        assert!(limiter.table_growing(5, 6, None).is_err());
    }
}
