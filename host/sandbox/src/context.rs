//! What one instance has: its grants, its budgets and an empty WASI.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};
use wasmtime::component::ResourceTable;
use wasmtime::{Engine, Store, UpdateDeadline};
use wasmtime_wasi::clocks::{WasiClocksCtx, WasiClocksCtxView};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::binding::{Binding, Config};
use crate::client::Client;
use crate::limiter::Limiter;
use crate::log::Log;
use crate::outgoing::Outgoing;
use crate::slow_lane::{self, FREE_SLICES};
use crate::stdio::{Kind, Stdio};
use crate::turns::Turns;
use crate::wasi_http::Hooks;

/// Random bytes of one call: keys and nonces, no floods.
const MAX_RANDOM: u64 = 64 << 10;

/// The data of one store.
pub(crate) struct Context {
    pub(crate) binding: Arc<Binding>,
    pub(crate) config: Arc<Config>,
    pub(crate) log: Arc<Log>,
    pub(crate) hooks: Hooks,
    pub(crate) limiter: Limiter,
    /// Slices of the ticker that it computed in.
    pub(crate) slices: u32,
    /// Computes for long, as far as one knew while it ran.
    is_long: bool,
    /// Microseconds for which it had to wait between them, as others computed.
    pub(crate) waited: Arc<AtomicU64>,
    /// Made when the guest first asks for any of it: most never do.
    wasi: Option<WasiCtx>,
    /// By themselves: whoever signs asks for the time, and for nothing else that WASI has.
    clocks: Option<WasiClocksCtx>,
    http: WasiHttpCtx,
    table: ResourceTable,
}

/// A fresh store under the binding's limits. Without a client it has no network.
pub(crate) fn store(
    engine: &Engine,
    binding: Arc<Binding>,
    client: Option<Client>,
    turns: Turns,
) -> Store<Context> {
    let limits = binding.limits.clone();
    let mut store = Store::new(engine, Context::new(binding, client));
    store.limiter(|context| &mut context.limiter);
    store.set_hostcall_fuel(size(limits.request_body.saturating_add(limits.host_call)));
    store.set_max_component_handles(size(limits.handles.into()));
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(move |mut store| {
        let context = store.data_mut();
        context.slices = context.slices.saturating_add(1);
        let (began, waited) = (Instant::now(), context.waited.clone());
        context.is_long = context.is_long || context.binding.is_long(context.slices);
        let turn = if context.is_long {
            slow_lane::ask();
            turns.next(began)
        } else {
            None
        };
        Ok(UpdateDeadline::YieldCustom(
            1,
            Box::pin(async move {
                if let Some(turn) = turn {
                    sleep_until(turn).await;
                }
                // Also where its turn has come: others are ready, and it may have to go elsewhere.
                yield_now().await;
                let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
                waited.fetch_add(micros, Ordering::Relaxed);
            }),
        ))
    });
    store
}

impl Context {
    fn new(binding: Arc<Binding>, client: Option<Client>) -> Self {
        let (config, tokens) = binding.fresh_config();
        let log = Arc::new(Log::new(binding.clone()));
        let mut table = ResourceTable::new();
        table.set_max_capacity(size(binding.limits.resources.into()));
        let mut http = WasiHttpCtx::new();
        // Twice, so that headers just above their limit are refused by name and not by a trap.
        http.set_field_size_limit(size(binding.limits.headers.saturating_mul(2)));
        Self {
            config,
            hooks: Hooks { outgoing: Outgoing::new(binding.clone(), tokens, client) },
            limiter: Limiter::new(&binding.limits),
            slices: 0,
            is_long: false,
            waited: Arc::default(),
            wasi: None,
            clocks: None,
            http,
            table,
            log,
            binding,
        }
    }

    /// Whether it keeps so many resources that its next call may exceed their limits. Scripting languages give them
    /// back when they collect garbage, which may be long after.
    pub(crate) fn is_crowded(&mut self) -> bool {
        let limits = &self.binding.limits;
        let most = size(limits.resources.min(limits.handles).into());
        self.table.iter_mut().count() > most / 2
    }

    pub(crate) fn time(&mut self) -> WasiClocksCtxView<'_> {
        let clocks = self.clocks.get_or_insert_with(WasiClocksCtx::default);
        WasiClocksCtxView { ctx: clocks, table: &mut self.table }
    }

    /// Tells its binding whether its call computed for long, once that is over. Answers whether it was short: one that
    /// waited for turns was not, even where it was cut off before it had computed for much.
    pub(crate) fn note_computed(&self, cut_off: bool) -> bool {
        let is_long = self.slices > FREE_SLICES || (self.is_long && cut_off);
        self.binding.note(is_long);
        !self.is_long
    }

    /// The budgets of another delivery, for an instance that is used again.
    pub(crate) fn renew(&mut self) {
        self.slices = 0;
        self.is_long = false;
        self.waited.store(0, Ordering::Relaxed);
        self.log.renew();
        self.hooks.outgoing.renew();
    }
}

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Everything of WASI is linked, because toolchains import it unasked; nothing of it is granted.
fn empty_wasi(log: &Arc<Log>) -> WasiCtx {
    let mut wasi = WasiCtx::builder();
    wasi.allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .max_random_size(MAX_RANDOM)
        .stdout(Stdio { log: log.clone(), kind: Kind::Stdout })
        .stderr(Stdio { log: log.clone(), kind: Kind::Stderr });
    wasi.build()
}

impl WasiView for Context {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let wasi = self.wasi.get_or_insert_with(|| empty_wasi(&self.log));
        WasiCtxView { ctx: wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Context {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.hooks }
    }
}
