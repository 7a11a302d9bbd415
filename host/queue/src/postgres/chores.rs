//! Retention, hosts and numbers.

use std::sync::atomic::Ordering;
use std::time::Duration;

use postrider_core::retention::Remains;
use postrider_core::{DeliveryId, HostId};
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::moment::Moment;
use super::{
    Again, LONG_PATIENCE, PATIENCE, PostgresQueue, chores_sql as sql, fault, ids, milliseconds,
    text,
};
use crate::holding::PAUSED_UNTIL;
use crate::pruning::{CHUNK_LOOKED, Candidate, Chunk};
use crate::{
    BACKLOG_COUNTED, Backlog, COUNTED, DEAD_GROUPS, DEAD_LOOKED, DeadGroup, Depth, EXACT_SIZE,
    HOST_FORGOTTEN, HOST_SILENT, Hold, HostBeat, HostRecord, Paused, Pruned, QueueError, Retention,
    Rows, Sizes, Stats, content_gone, depth, millis,
};

impl PostgresQueue {
    /// Looks a chunk up and does it. What other hosts do between changes nothing: each statement checks again.
    pub(super) async fn prune_chunk(
        &self,
        retention: &Retention,
        after: Option<i64>,
    ) -> Result<Pruned, QueueError> {
        let chunk = self.chunk(retention, after).await?;
        let mut pruned = Pruned { next: chunk.next, ..Pruned::default() };
        if !chunk.go.is_empty() {
            let statement = if self.options.skip_locked { sql::DROP } else { sql::DROP_WAITING };
            let drop = || sqlx::query_as(statement).bind(&chunk.go).fetch_one(&self.pool);
            let (notifications, deliveries, attempts): (i64, i64, i64) =
                self.call(LONG_PATIENCE, Again::Yes, drop).await?;
            pruned.notifications += notifications.cast_unsigned();
            pruned.deliveries += deliveries.cast_unsigned();
            pruned.attempts += attempts.cast_unsigned();
        }
        if !chunk.lose_deliveries.is_empty() || !chunk.lose_content.is_empty() {
            let statement = if self.options.skip_locked { sql::EMPTY } else { sql::EMPTY_WAITING };
            let empty = || {
                let empty = sqlx::query_as(statement).bind(&chunk.lose_deliveries);
                empty.bind(&chunk.lose_content).fetch_one(&self.pool)
            };
            let (contents, deliveries, attempts): (i64, i64, i64) =
                self.call(LONG_PATIENCE, Again::Yes, empty).await?;
            pruned.contents += contents.cast_unsigned();
            pruned.deliveries += deliveries.cast_unsigned();
            pruned.attempts += attempts.cast_unsigned();
        }
        Ok(pruned)
    }

    async fn chunk(&self, retention: &Retention, after: Option<i64>) -> Result<Chunk, QueueError> {
        let limit = i64::try_from(CHUNK_LOOKED).unwrap_or(i64::MAX);
        let look = || {
            sqlx::query(sql::CANDIDATES).bind(after.unwrap_or(0)).bind(limit).fetch_all(&self.pool)
        };
        let rows = self.call(LONG_PATIENCE, Again::Yes, look).await?;
        let looked: Result<Vec<Candidate>, sqlx::Error> = rows.iter().map(candidate).collect();
        Ok(Chunk::of(retention, &looked.map_err(|error| fault::describe(&error))?))
    }

    /// Refuses to redeliver what has no content any more.
    pub(super) async fn check_content(&self, revived: &[DeliveryId]) -> Result<(), QueueError> {
        let ids = ids(revived);
        let gone = || sqlx::query_scalar(sql::CONTENT_GONE).bind(&ids).fetch_all(&self.pool);
        let gone: Vec<i64> = self.call(PATIENCE, Again::Yes, gone).await?;
        if gone.is_empty() { Ok(()) } else { Err(content_gone(&gone)) }
    }

    pub(super) async fn beat_of(&self, host: &HostBeat) -> Result<(), QueueError> {
        let beat = || {
            sqlx::query(sql::BEAT)
                .bind(host.id.0)
                .bind(&host.name)
                .bind(&host.version)
                .bind(&host.listen)
                .bind(&host.destinations)
                .bind(milliseconds(HOST_SILENT))
                .fetch_one(&self.pool)
        };
        // Until the answer comes it is not known.
        self.alone.store(false, Ordering::Relaxed);
        let row = self.call(LONG_PATIENCE, Again::Yes, beat).await?;
        let alone = row.try_get(0).map_err(|error| fault::describe(&error))?;
        self.alone.store(alone, Ordering::Relaxed);
        for (statement, silent) in [(sql::FORGET, HOST_FORGOTTEN), (sql::MARK, HOST_SILENT)] {
            let after = || sqlx::query(statement).bind(milliseconds(silent)).execute(&self.pool);
            self.call(LONG_PATIENCE, Again::Yes, after).await?;
        }
        Ok(())
    }

    pub(super) async fn told(&self) -> Result<Vec<HostRecord>, QueueError> {
        let silent = milliseconds(HOST_SILENT);
        self.rows(|| sqlx::query(sql::HOSTS).bind(silent).fetch_all(&self.pool), host).await
    }

    pub(super) async fn forget(&self, host: HostId) -> Result<(), QueueError> {
        let leave = || sqlx::query(sql::LEAVE).bind(host.0).execute(&self.pool);
        self.call(PATIENCE, Again::Yes, leave).await.map(drop)
    }

    pub(super) async fn pause_for(
        &self,
        destination: &str,
        reason: &str,
    ) -> Result<(), QueueError> {
        let pause = || {
            let pause = sqlx::query(sql::PAUSE).bind(destination);
            pause.bind(Moment::from_millis(PAUSED_UNTIL)).bind(text(reason)).execute(&self.pool)
        };
        self.call(PATIENCE, Again::Yes, pause).await.map(drop)
    }

    pub(super) async fn held(&self) -> Result<Vec<Hold>, QueueError> {
        self.rows(|| sqlx::query(sql::HOLDS).fetch_all(&self.pool), hold).await
    }

    pub(super) async fn waiting_for(
        &self,
        destinations: &[String],
    ) -> Result<Vec<Depth>, QueueError> {
        let share = depth::share(destinations.len());
        let bound = i64::try_from(share).unwrap_or(i64::MAX);
        let depths =
            || sqlx::query(sql::DEPTHS).bind(destinations).bind(bound).fetch_all(&self.pool);
        let depth = |row: &PgRow| {
            Ok(Depth {
                destination: row.try_get("destination")?,
                live: Rows::counted(count(row, "live")?, share, None),
                oldest_due: age(row, "overdue")?,
            })
        };
        self.rows(depths, depth).await
    }

    pub(super) async fn numbers(&self) -> Result<Stats, QueueError> {
        let bound = |limit: u64| i64::try_from(limit).unwrap_or(i64::MAX);
        let stats = || {
            let stats = sqlx::query(sql::STATS).bind(bound(COUNTED)).bind(bound(EXACT_SIZE));
            stats.fetch_one(&self.pool)
        };
        let row = self.call(LONG_PATIENCE, Again::Yes, stats).await?;
        read_stats(&row).map_err(|error| fault::describe(&error))
    }

    pub(super) async fn waiting(&self) -> Result<Vec<Backlog>, QueueError> {
        let bound = |limit: u64| i64::try_from(limit).unwrap_or(i64::MAX);
        let waiting = || {
            let waiting = sqlx::query(sql::BACKLOG).bind(bound(BACKLOG_COUNTED));
            waiting.fetch_all(&self.pool)
        };
        let waiting = self.rows(waiting, backlog).await?;
        let dead = || sqlx::query(sql::DEAD_OF).bind(bound(DEAD_LOOKED)).fetch_all(&self.pool);
        let dead = self.rows(dead, |row| Ok((row.try_get("destination")?, count(row, "count")?)));
        Ok(Backlog::with_dead(waiting, &dead.await?))
    }

    pub(super) async fn dead_groups(&self) -> Result<Vec<DeadGroup>, QueueError> {
        let bound = |limit: u64| i64::try_from(limit).unwrap_or(i64::MAX);
        let groups = || {
            let groups = sqlx::query(sql::DEAD_GROUPS).bind(bound(DEAD_LOOKED));
            groups.bind(bound(DEAD_GROUPS)).fetch_all(&self.pool)
        };
        self.rows(groups, dead_group).await
    }
}

fn backlog(row: &PgRow) -> Result<Backlog, sqlx::Error> {
    let rows = |count| Rows::counted(count, BACKLOG_COUNTED, None);
    Ok(Backlog {
        destination: row.try_get("destination")?,
        fresh: rows(count(row, "fresh")?),
        retries: rows(count(row, "retries")?),
        due: rows(count(row, "due_fresh")? + count(row, "due_retries")?),
        dead: Rows::exact(0),
        oldest_due: age(row, "overdue")?,
    })
}

fn dead_group(row: &PgRow) -> Result<DeadGroup, sqlx::Error> {
    let moment = |column| -> Result<_, sqlx::Error> {
        Ok(millis::timestamp(row.try_get::<Moment, _>(column)?.millis()))
    };
    Ok(DeadGroup {
        destination: row.try_get("destination")?,
        cause: row.try_get("cause")?,
        reason: row.try_get("reason")?,
        count: count(row, "count")?,
        first: moment("first")?,
        last: moment("last")?,
        newest: DeliveryId(row.try_get("newest")?),
    })
}

fn candidate(row: &PgRow) -> Result<Candidate, sqlx::Error> {
    let remains = Remains {
        fanned_out: age(row, "fanned_out")?,
        malformed: row.try_get("malformed")?,
        has_key: row.try_get("has_key")?,
        pruned: row.try_get("pruned")?,
        deliveries: count(row, "deliveries")?,
        live: count(row, "live")?,
        dead: count(row, "dead")?,
        finished: age(row, "finished")?,
    };
    Ok(Candidate { row: row.try_get("seq")?, remains, attempts: count(row, "attempts")? })
}

fn host(row: &PgRow) -> Result<HostRecord, sqlx::Error> {
    let moment = |column| -> Result<_, sqlx::Error> {
        Ok(millis::timestamp(row.try_get::<Moment, _>(column)?.millis()))
    };
    Ok(HostRecord {
        told: HostBeat {
            id: HostId(row.try_get("id")?),
            name: row.try_get("name")?,
            version: row.try_get("version")?,
            listen: row.try_get("listen")?,
            destinations: row.try_get("destinations")?,
        },
        started: moment("started")?,
        seen: moment("seen")?,
        live: row.try_get("live")?,
    })
}

fn hold(row: &PgRow) -> Result<Hold, sqlx::Error> {
    let moment = |moment: Moment| millis::timestamp(moment.millis());
    let paused: Option<Moment> = row.try_get("paused")?;
    let reason: String = row.try_get("reason")?;
    Ok(Hold {
        destination: row.try_get("destination")?,
        until: moment(row.try_get("until")?),
        paused: paused.map(|since| Paused { since: moment(since), reason }),
    })
}

fn read_stats(row: &PgRow) -> Result<Stats, sqlx::Error> {
    let indexed = |column| Ok::<_, sqlx::Error>(Rows::counted(count(row, column)?, COUNTED, None));
    let estimated = |column, limit, estimate| -> Result<_, sqlx::Error> {
        Ok(Rows::counted(count(row, column)?, limit, Some(count(row, estimate)?)))
    };
    let bytes = |column| count(row, column).map(Some);
    Ok(Stats {
        notifications: estimated("notifications", EXACT_SIZE, "notifications_estimate")?,
        deliveries: estimated("deliveries", EXACT_SIZE, "deliveries_estimate")?,
        attempts: Some(estimated("attempts", EXACT_SIZE, "attempts_estimate")?),
        arrived: indexed("arrived")?,
        live: estimated("live", COUNTED, "live_estimate")?,
        dead: indexed("dead")?,
        cancelled: indexed("cancelled")?,
        oldest_due: age(row, "overdue")?,
        sizes: Sizes {
            total: count(row, "total")?,
            notifications: bytes("notifications_bytes")?,
            deliveries: bytes("deliveries_bytes")?,
            attempts: bytes("attempts_bytes")?,
            ..Sizes::default()
        },
    })
}

fn age(row: &PgRow, column: &str) -> Result<Option<Duration>, sqlx::Error> {
    Ok(row.try_get::<Option<i64>, _>(column)?.map(millis::duration))
}

fn count(row: &PgRow, column: &str) -> Result<u64, sqlx::Error> {
    Ok(u64::try_from(row.try_get::<i64, _>(column)?).unwrap_or(0))
}
