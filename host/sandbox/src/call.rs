//! One instance from its start to its end. A store is thrown away after its call, whatever became of it, unless its
//! destination wants it used again and it gave a proper answer.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use postrider_core::Fault;
use tokio::time::{Instant, timeout};
use wasmtime::Store;

use crate::binding::Binding;
use crate::bindings::exports::postrider::notifier::handler;
use crate::bindings::{Notifier, NotifierPre};
use crate::client::Client;
use crate::context::{self, Context};
use crate::convert::{Piece, Words};
use crate::fault::{Abrupt, Stage};
use crate::outgoing::Trace;
use crate::shelf::{Live, Shelf};
use crate::slow_lane::{self, SLICE};
use crate::turns::Turns;

/// What a call needs.
pub(crate) struct Call {
    pub(crate) pre: NotifierPre<Context>,
    pub(crate) binding: Arc<Binding>,
    pub(crate) client: Option<Client>,
    pub(crate) turns: Turns,
    /// Wall-clock time of the whole call.
    pub(crate) time: Duration,
}

/// What a call used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Wall-clock time.
    pub elapsed: Duration,
    /// Time in which the guest computed, in slices of the ticker: zero for all that are short.
    pub computed: Duration,
    /// Time in which it would have computed, and others did.
    pub waited: Duration,
    /// Linear memory, in bytes.
    pub memory: u64,
    /// Log lines that did not fit into `limits.log`.
    pub lines_dropped: u64,
    /// The HTTP status of the receiver's last answer, if it gave one.
    pub status: Option<u16>,
}

/// What `configure` said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Configured {
    Enabled,
    Disabled,
    Refused(String),
}

/// What a call came to, or how it ended without, and what it used.
pub(crate) type Ended<T> = (Result<T, Abrupt>, Usage);

impl Call {
    pub(crate) async fn describe(self) -> Ended<handler::Description> {
        self.run(async |store, notifier, stage| {
            *stage = Stage::Describe;
            notifier.postrider_notifier_handler().call_describe(store).await
        })
        .await
    }

    pub(crate) async fn configure(self) -> Ended<Configured> {
        self.run(async |store, notifier, stage| {
            *stage = Stage::Configure;
            configure(store, notifier).await
        })
        .await
    }

    /// Sends with an instance from the shelf, or with a fresh one that is configured first.
    pub(crate) async fn send(
        self,
        piece: &Piece<'_>,
        trace: Trace,
        shelf: Option<&Arc<Shelf>>,
        worker: usize,
    ) -> Ended<Result<handler::Receipt, handler::Failure>> {
        let started = Instant::now();
        let (time, pre, turns) = (self.time, self.pre.clone(), self.turns.clone());
        let mut live = match shelf.and_then(|shelf| shelf.take(worker)) {
            Some(mut live) => {
                live.store.data_mut().renew();
                live.store.set_epoch_deadline(1);
                live
            }
            None => Live::new(self.store()),
        };
        let mut stage = Stage::Start;
        let words = Words::of(piece);
        let notification = words.to_guest();
        let ended =
            in_time(time, pin!(send(&pre, &mut live, notification, trace, &mut stage))).await;
        let (ended, usage) = finish(ended, stage, time, started, &live.store);
        if live.store.data().note_computed(ended.is_err()) {
            turns.was_short(started + usage.elapsed);
        }
        let ended = ended.and_then(|answer| answer.map_err(refused));
        if let (Ok(_), Some(shelf)) = (&ended, shelf) {
            shelf.put(worker, live);
        }
        (ended, usage)
    }

    fn store(self) -> Store<Context> {
        context::store(self.pre.engine(), self.binding, self.client, self.turns)
    }

    /// Starts an instance and lets `work` use it, within the binding's time.
    async fn run<T>(
        self,
        work: impl AsyncFnOnce(&mut Store<Context>, &Notifier, &mut Stage) -> wasmtime::Result<T>,
    ) -> Ended<T> {
        let started = Instant::now();
        let (time, pre) = (self.time, self.pre.clone());
        let mut store = self.store();
        let mut stage = Stage::Start;
        let start = async {
            let notifier = pre.instantiate_async(&mut store).await?;
            work(&mut store, &notifier, &mut stage).await
        };
        let ended = in_time(time, pin!(start)).await;
        finish(ended, stage, time, started, &store)
    }
}

async fn send(
    pre: &NotifierPre<Context>,
    live: &mut Live,
    notification: handler::Notification<'_>,
    trace: Trace,
    stage: &mut Stage,
) -> wasmtime::Result<Result<Result<handler::Receipt, handler::Failure>, Configured>> {
    let store = &mut live.store;
    let notifier = match &live.notifier {
        Some(notifier) => notifier,
        None => {
            let fresh = pre.instantiate_async(&mut *store).await?;
            *stage = Stage::Configure;
            match configure(store, &fresh).await? {
                Configured::Enabled => {}
                other @ (Configured::Disabled | Configured::Refused(_)) => return Ok(Err(other)),
            }
            live.notifier.insert(fresh)
        }
    };
    *stage = Stage::Send;
    store.data_mut().hooks.outgoing.open(trace);
    notifier.postrider_notifier_handler().call_send(store, notification).await.map(Ok)
}

/// What a call came to and what it used.
fn finish<T>(
    ended: Option<wasmtime::Result<T>>,
    stage: Stage,
    time: Duration,
    started: Instant,
    store: &Store<Context>,
) -> Ended<T> {
    let ended = match ended {
        Some(Ok(value)) => Ok(value),
        Some(Err(error)) => Err(Abrupt::of(&error, stage, store)),
        None => Err(Abrupt::timeout(stage, time)),
    };
    let context = store.data();
    let usage = Usage {
        elapsed: started.elapsed(),
        computed: SLICE * context.slices,
        waited: Duration::from_micros(context.waited.load(Ordering::Relaxed)),
        memory: context.limiter.memory(),
        lines_dropped: context.log.dropped(),
        status: context.hooks.outgoing.status(),
    };
    (ended, usage)
}

/// Lets a call work for so long, wherever that is, and comes home. It stays pinned where it is: a future that holds
/// another by value has room for it twice.
async fn in_time<T>(time: Duration, work: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    let ended = timeout(time, work).await.ok();
    slow_lane::leave().await;
    ended
}

async fn configure(
    store: &mut Store<Context>,
    notifier: &Notifier,
) -> wasmtime::Result<Configured> {
    let config = store.data().config.clone();
    let answer =
        notifier.postrider_notifier_handler().call_configure(&mut *store, &config.text).await?;
    Ok(match answer {
        Ok(true) => Configured::Enabled,
        Ok(false) => Configured::Disabled,
        Err(reason) => {
            Configured::Refused(crate::convert::clean(&reason, &store.data().binding.redactor))
        }
    })
}

/// A `configure` that does not enable before a `send`, although it did at load.
fn refused(why: Configured) -> Abrupt {
    let reason = match why {
        Configured::Refused(reason) => reason,
        Configured::Disabled => "it is disabled by a config that it had accepted".to_owned(),
        Configured::Enabled => String::new(),
    };
    Abrupt { fault: Fault::Configure, reason: format!("configure: {reason}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configure_that_changes_its_mind_is_a_fault_of_its_own() {
        for (why, reason) in [
            (Configured::Refused("no url".to_owned()), "configure: no url"),
            (Configured::Disabled, "configure: it is disabled by a config that it had accepted"),
        ] {
            assert_eq!(refused(why), Abrupt { fault: Fault::Configure, reason: reason.to_owned() });
        }
    }
}
