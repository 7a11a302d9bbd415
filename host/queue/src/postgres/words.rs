//! Word to the other hosts that there is work, by `NOTIFY` and `LISTEN`: an option that saves them a poll's interval.
//!
//! It is said after the commit and in a transaction of its own, because `NOTIFY` takes a lock of the whole server at
//! its commit; and at most once in [`GAP`], however much is stored meanwhile. A producer that inserts by SQL may say
//! `NOTIFY postrider_work` itself.
//!
//! *Invariant:* nothing rests on a word. One that is lost costs the time until the next poll.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use postrider_core::HostId;
use sqlx::Executor as _;
use sqlx::postgres::{PgListener, PgPool, PgPoolOptions};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::{PATIENCE, sql};

/// Shortest time between two words of one host.
const GAP: Duration = Duration::from_millis(20);
/// A listener that heard nothing for so long is asked whether its connection still is one.
const SILENCE: Duration = Duration::from_secs(30);
/// First and longest wait before a listener connects again.
const CONNECT_AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Says that there is work, and hears others say so. Both end with it.
#[derive(Debug)]
pub(super) struct Words {
    to_say: Arc<Notify>,
    heard: Arc<Notify>,
    tasks: [AbortHandle; 2],
}

impl Words {
    /// Begins to say through `pool` and to hear through a connection besides it.
    pub(super) fn start(pool: &PgPool, host: HostId) -> Self {
        let me = host.to_string();
        let (to_say, heard) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let saying = tokio::spawn(say_on(to_say.clone(), pool.clone(), me.clone()));
        let hearing = tokio::spawn(hear_on(heard.clone(), own_pool(pool), me));
        Self { to_say, heard, tasks: [saying.abort_handle(), hearing.abort_handle()] }
    }

    /// Tells the other hosts, soon. Never waits.
    pub(super) fn say(&self) {
        self.to_say.notify_one();
    }

    /// Waits until another says so. A word that comes while nobody waits is kept.
    pub(super) async fn hear(&self) {
        self.heard.notified().await;
    }

    pub(super) fn stop(&self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn say_on(to_say: Arc<Notify>, pool: PgPool, me: String) {
    debounce(&to_say, || async {
        let said = sqlx::query(sql::SAY).bind(&me).execute(&pool);
        if let Ok(Err(error)) = timeout(PATIENCE, said).await {
            tracing::debug!(%error, "other hosts could not be told of work; they find it by their next poll");
        }
    })
    .await;
}

/// Says once for all that came since it last began to, and then not for [`GAP`].
async fn debounce<F: Future<Output = ()>>(to_say: &Notify, say: impl Fn() -> F) {
    loop {
        to_say.notified().await;
        say().await;
        sleep(GAP).await;
    }
}

async fn hear_on(heard: Arc<Notify>, pool: PgPool, me: String) {
    let (first, longest) = CONNECT_AGAIN;
    let mut wait = first;
    loop {
        if let Ok(mut listener) = listen(&pool).await {
            wait = first;
            // What was said before it listened is lost.
            heard.notify_one();
            while let Some(others) = hear_one(&mut listener, &me).await {
                if others {
                    heard.notify_one();
                }
            }
        }
        sleep(wait).await;
        wait = (wait * 2).min(longest);
    }
}

async fn listen(pool: &PgPool) -> Result<PgListener, sqlx::Error> {
    let listening = async {
        let mut listener = PgListener::connect_with(pool).await?;
        // Whether it reconnects is decided here, where it can be said that something was missed.
        listener.eager_reconnect(false);
        listener.listen(sql::WORK_CHANNEL).await?;
        Ok(listener)
    };
    timeout(PATIENCE, listening).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

/// Whether the next word is another's, or that there was none for long; none when the connection is gone.
async fn hear_one(listener: &mut PgListener, me: &str) -> Option<bool> {
    match timeout(SILENCE, listener.try_recv()).await {
        Ok(Ok(word)) => word.map(|word| word.payload() != me),
        Ok(Err(_gone)) => None,
        Err(_silent) => {
            let asked = timeout(PATIENCE, listener.execute(sql::PING)).await;
            matches!(asked, Ok(Ok(_))).then_some(false)
        }
    }
}

/// One connection that lives as long as it can.
fn own_pool(pool: &PgPool) -> PgPool {
    PgPoolOptions::new()
        .max_connections(1)
        .max_lifetime(None)
        .idle_timeout(None)
        .acquire_timeout(PATIENCE)
        .connect_lazy_with((*pool.connect_options()).clone())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_said_once_in_a_gap_and_its_last_is_not_lost() {
        let (to_say, said) = (Arc::new(Notify::new()), Arc::new(AtomicU32::new(0)));
        let saying = tokio::spawn({
            let (to_say, said) = (to_say.clone(), said.clone());
            async move {
                let say = || async {
                    said.fetch_add(1, Ordering::Relaxed);
                };
                debounce(&to_say, say).await;
            }
        });
        // A paused clock: 100 ms pass, a word each.
        for _ in 0..100 {
            to_say.notify_one();
            sleep(Duration::from_millis(1)).await;
        }
        sleep(GAP).await;
        assert_eq!(said.load(Ordering::Relaxed), 6);
        sleep(GAP * 10).await;
        assert_eq!(said.load(Ordering::Relaxed), 6);
        saying.abort();
    }
}
