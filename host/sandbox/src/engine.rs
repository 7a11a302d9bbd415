//! wasmtime's settings. Measured: with these a fresh sandbox costs some ten microseconds, without them hundreds.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::Thread;
use std::time::Duration;

use postrider_core::limits::{MAX_INSTANCES, MAX_TABLE};
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Result,
    WasmFeatures,
};

use crate::limiter::{MAX_MEMORIES, MAX_TABLES};
use crate::slow_lane::SLICE;

/// Native stack of a guest; deeper recursion is a trap.
const WASM_STACK: usize = 512 << 10;
/// Stack of the fiber that a guest runs on: its own and that of the host functions it calls.
const FIBER_STACK: usize = 1 << 20;
/// Ticks after the last guest before it rests: short calls one after the other would wake the ticker for each of them.
const IDLE_TICKS: u32 = 50;
/// Memory of a slot that is zeroed rather than given back: page faults on new memory cost more than the copy.
const KEEP_RESIDENT: usize = 4 << 20;
/// The same for tables.
const KEEP_TABLE_RESIDENT: usize = 64 << 10;
/// wasmtime's own bookkeeping of one instance.
const MAX_INSTANCE_SIZE: usize = 2 << 20;
/// Linear memory of one slot: all that 32 bits can address, which is address space only. What a destination may use
/// is its limit.
const SLOT_MEMORY: usize = 4 << 30;
/// Slots of memory for each instance that may run, where the address space has room for them. An idle one keeps the
/// memory of the module that it had; with fewer slots than modules in turn each call would map memory anew, which stops
/// every thread. wasmtime divides them among its shards, one for each of up to 16 processors.
const ROOMS: [u32; 2] = [4, 1];

/// Makes the engine and starts its ticker. An error where the machine's address space does not hold the pool.
pub(crate) fn start(instances: u32) -> Result<(Engine, Ticker)> {
    let [most, least] = ROOMS;
    let engine = Engine::new(&config(instances, most))
        .or_else(|_| Engine::new(&config(instances, least)))?;
    let ticker = Ticker::start(&engine, SLICE)?;
    Ok((engine, ticker))
}

/// The engine of the compiler's process: makes the same code and reserves no pool, which its memory limit would not
/// allow.
pub(crate) fn compiler() -> Result<Engine> {
    Engine::new(&settings())
}

/// Ticks the engine's epoch while any guest runs. A thread and not a task: a spinning guest holds tasks up.
pub(crate) struct Ticker {
    running: Arc<AtomicUsize>,
    thread: Thread,
}

/// Keeps the epoch ticking.
pub(crate) struct Ticking(Arc<AtomicUsize>);

impl Ticker {
    fn start(engine: &Engine, period: Duration) -> io::Result<Self> {
        let engine = engine.weak();
        let running = Arc::new(AtomicUsize::new(0));
        let watched = running.clone();
        let thread = std::thread::Builder::new().name("epochs".to_owned()).spawn(move || {
            let mut idle = 0;
            loop {
                idle = if watched.load(Ordering::Acquire) == 0 { idle + 1 } else { 0 };
                if idle > IDLE_TICKS {
                    std::thread::park();
                } else {
                    std::thread::sleep(period);
                }
                let Some(engine) = engine.upgrade() else { return };
                engine.increment_epoch();
            }
        })?;
        Ok(Self { running, thread: thread.thread().clone() })
    }

    /// Ticks until the answer is dropped.
    pub(crate) fn tick(&self) -> Ticking {
        if self.running.fetch_add(1, Ordering::AcqRel) == 0 {
            self.thread.unpark();
        }
        Ticking(self.running.clone())
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        // It looks whether the engine is gone; by now or with the next field of its owner.
        self.running.fetch_add(1, Ordering::AcqRel);
        self.thread.unpark();
    }
}

impl Drop for Ticking {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn config(instances: u32, rooms: u32) -> Config {
    let mut config = settings();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(instances, rooms)));
    config
}

/// Everything that decides what machine code comes out.
fn settings() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .max_wasm_stack(WASM_STACK)
        .async_stack_size(FIBER_STACK)
        .wasm_component_model(true)
        .concurrency_support(false)
        // Proposals that no toolchain for notifiers needs: what is off cannot be attacked.
        .wasm_features(
            WasmFeatures::GC
                | WasmFeatures::FUNCTION_REFERENCES
                | WasmFeatures::EXCEPTIONS
                | WasmFeatures::THREADS
                | WasmFeatures::MEMORY64
                | WasmFeatures::STACK_SWITCHING
                | WasmFeatures::CUSTOM_PAGE_SIZES
                | WasmFeatures::SHARED_EVERYTHING_THREADS,
            false,
        )
        .gc_support(false)
        .shared_memory(false);
    config
}

fn pool(instances: u32, rooms: u32) -> PoolingAllocationConfig {
    let slots = instances.saturating_mul(rooms);
    let cores = MAX_INSTANCES;
    let tables = u32::try_from(MAX_TABLES).unwrap_or(u32::MAX);
    let memories = u32::try_from(MAX_MEMORIES).unwrap_or(u32::MAX);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_stacks(instances)
        // Hardly a component has more than one memory and a handful of core instances and tables.
        .total_memories(slots.saturating_add(memories))
        .total_core_instances(instances.saturating_mul(8).saturating_add(cores))
        .total_tables(instances.saturating_mul(8).saturating_add(tables))
        .max_core_instances_per_component(cores)
        .max_memories_per_component(memories)
        .max_tables_per_component(tables)
        .max_component_instance_size(MAX_INSTANCE_SIZE)
        .max_core_instance_size(MAX_INSTANCE_SIZE)
        .max_memory_size(SLOT_MEMORY)
        .table_elements(usize::try_from(MAX_TABLE).unwrap_or(usize::MAX))
        .linear_memory_keep_resident(KEEP_RESIDENT)
        .table_keep_resident(KEEP_TABLE_RESIDENT)
        .max_unused_warm_slots(slots)
        .pagemap_scan(Enabled::Auto);
    pool
}

#[cfg(test)]
mod tests {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};

    use super::*;

    #[test]
    fn the_compiler_makes_code_for_the_pool() {
        let flavour = |engine: &Engine| {
            let mut hasher = DefaultHasher::new();
            engine.precompile_compatibility_hash().hash(&mut hasher);
            hasher.finish()
        };
        assert_eq!(flavour(&compiler().unwrap()), flavour(&Engine::new(&config(4, 1)).unwrap()));
    }
}
