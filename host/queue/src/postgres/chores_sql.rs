//! Every statement of retention, hosts and numbers. What holds for [`super::sql`] holds here.

// ---- retention -----------------------------------------------------------------------------------------------

/// $1: after this row, $2: limit. Goes by the primary key, and so costs the settlement no index. Ages are
/// milliseconds.
pub(super) const CANDIDATES: &str = "SELECT n.seq, \
     (extract(epoch FROM now() - n.fanned_out_at) * 1000)::bigint AS fanned_out, \
     n.malformed IS NOT NULL AS malformed, n.idempotency_key IS NOT NULL AS has_key, n.pruned, \
     d.deliveries, d.live, d.dead, (extract(epoch FROM now() - d.finished) * 1000)::bigint AS finished, \
     d.attempts FROM notifications n CROSS JOIN LATERAL ( \
       SELECT count(*) AS deliveries, count(*) FILTER (WHERE state = 0) AS live, \
         count(*) FILTER (WHERE state = 2) AS dead, max(o.finished) AS finished, \
         coalesce(sum(o.attempt), 0)::bigint AS attempts \
       FROM deliveries o WHERE o.notification = n.seq) d \
     WHERE n.seq > $1 ORDER BY n.seq LIMIT $2";

/// Locks the notifications, then their finished deliveries; `ready` are the notifications of which all deliveries are
/// finished. A lock sees the newest version, the count the statement's own snapshot: one that was revived since then,
/// or handed over, is missing among the locked, and its notification stays. `REDELIVER` locks in the same order.
macro_rules! ready {
    ($rows:literal, $lock:literal) => {
        concat!(
            "WITH n AS MATERIALIZED (SELECT seq FROM notifications WHERE seq = ANY (",
            $rows,
            ") ORDER BY seq ",
            $lock,
            "), d AS MATERIALIZED (SELECT id, notification FROM deliveries \
             WHERE notification = ANY (ARRAY (SELECT seq FROM n)) AND state <> 0 ORDER BY id ",
            $lock,
            "), ready AS MATERIALIZED (SELECT n.seq FROM n LEFT JOIN ( \
               SELECT notification, count(*) AS locked FROM d GROUP BY notification) k \
               ON k.notification = n.seq WHERE coalesce(k.locked, 0) = ( \
                 SELECT count(*) FROM deliveries o WHERE o.notification = n.seq)), "
        )
    };
}

/// Deletes the deliveries of `ready` notifications among $1, and their attempts.
macro_rules! drop_deliveries {
    () => {
        "gone AS MATERIALIZED (SELECT d.id FROM d JOIN ready ON ready.seq = d.notification \
           WHERE d.notification = ANY ($1::bigint[])), \
         a AS (DELETE FROM attempts WHERE delivery = ANY (ARRAY (SELECT id FROM gone)) RETURNING 1), \
         s AS (DELETE FROM deliveries WHERE id = ANY (ARRAY (SELECT id FROM gone)) RETURNING 1), "
    };
}

macro_rules! drop_all {
    ($lock:literal) => {
        concat!(
            ready!("$1::bigint[]", $lock),
            drop_deliveries!(),
            "m AS (DELETE FROM notifications WHERE seq = ANY (ARRAY (SELECT seq FROM ready)) \
               RETURNING 1) \
             SELECT (SELECT count(*) FROM m), (SELECT count(*) FROM s), (SELECT count(*) FROM a)"
        )
    };
}

/// $1: rows. Answers how many notifications, deliveries and attempts.
pub(super) const DROP: &str = drop_all!("FOR UPDATE SKIP LOCKED");
pub(super) const DROP_WAITING: &str = drop_all!("FOR UPDATE");

macro_rules! empty {
    ($lock:literal) => {
        concat!(
            ready!("$1::bigint[] || $2::bigint[]", $lock),
            drop_deliveries!(),
            "m AS (UPDATE notifications SET content = NULL, content_bytes = NULL, pruned = true \
               WHERE seq = ANY (ARRAY (SELECT seq FROM ready)) AND NOT pruned RETURNING 1) \
             SELECT (SELECT count(*) FROM m), (SELECT count(*) FROM s), (SELECT count(*) FROM a)"
        )
    };
}

/// $1: rows that lose their deliveries and their content, $2: rows that lose their content. Answers how many contents,
/// deliveries and attempts.
pub(super) const EMPTY: &str = empty!("FOR UPDATE SKIP LOCKED");
pub(super) const EMPTY_WAITING: &str = empty!("FOR UPDATE");

/// $1: ids. Those that cannot be sent again.
pub(super) const CONTENT_GONE: &str = "SELECT d.id FROM deliveries d \
     JOIN notifications n ON n.seq = d.notification \
     WHERE d.id = ANY ($1::bigint[]) AND d.state IN (2, 3) AND n.pruned ORDER BY d.id";

// ---- hosts ---------------------------------------------------------------------------------------------------

/// Whether a live host has the destination of the row in force.
macro_rules! listed {
    ($silent:literal) => {
        concat!(
            "EXISTS (SELECT 1 FROM hosts h WHERE h.seen > now() - ",
            $silent,
            " * interval '1 millisecond' AND destinations.name = ANY (h.destinations))"
        )
    };
}

/// $1: id, $2: name, $3: version, $4: address, $5: destinations, $6: silent for so many milliseconds is gone. Answers
/// whether no other host is alive.
pub(super) const BEAT: &str = "INSERT INTO hosts (id, name, version, listen, destinations, started, seen) \
     VALUES ($1, $2, $3, $4, $5, now(), now()) \
     ON CONFLICT (id) DO UPDATE SET name = excluded.name, version = excluded.version, \
     listen = excluded.listen, destinations = excluded.destinations, seen = excluded.seen \
     RETURNING NOT EXISTS (SELECT 1 FROM hosts o WHERE o.id <> $1 \
       AND o.seen > now() - $6::bigint * interval '1 millisecond')";

/// $1: silent for so many milliseconds.
pub(super) const FORGET: &str =
    "DELETE FROM hosts WHERE seen < now() - $1::bigint * interval '1 millisecond'";

/// $1: silent for so many milliseconds is gone. After [`BEAT`].
pub(super) const MARK: &str = concat!(
    "UPDATE destinations SET removed_at = CASE WHEN removed_at IS NULL THEN now() END \
     WHERE (removed_at IS NULL) <> ",
    listed!("$1::bigint")
);

/// $1: present names, $2: silent for so many milliseconds is gone.
pub(super) const REMOVED: &str = concat!(
    "UPDATE destinations SET removed_at = now() \
     WHERE removed_at IS NULL AND name <> ALL ($1::text[]) AND NOT ",
    listed!("$2::bigint")
);

/// $1: silent for so many milliseconds is gone.
pub(super) const HOSTS: &str = "SELECT id, name, version, listen, destinations, started, seen, \
     seen > now() - $1::bigint * interval '1 millisecond' AS live FROM hosts ORDER BY started DESC, id";

/// $1: id.
pub(super) const LEAVE: &str = "DELETE FROM hosts WHERE id = $1";

// ---- holds ---------------------------------------------------------------------------------------------------

/// $1: destination, $2: until, $3: reason.
pub(super) const PAUSE: &str = "WITH b AS (DELETE FROM breakers WHERE destination = $1) \
     INSERT INTO holds (destination, until, paused, reason) \
     VALUES ($1, $2, now(), $3) ON CONFLICT (destination) DO UPDATE \
     SET until = excluded.until, paused = coalesce(holds.paused, excluded.paused), \
     reason = excluded.reason";

pub(super) const HOLDS: &str = "SELECT destination, until, paused, reason FROM holds \
     WHERE until > now() ORDER BY destination";

// ---- numbers -------------------------------------------------------------------------------------------------

/// $1: count no further than this where rows have an index, $2: and this where they have none. Estimates are those of
/// the last vacuum or analyze.
pub(super) const STATS: &str = "WITH RECURSIVE names (name) AS ( \
       (SELECT destination FROM deliveries WHERE state = 0 ORDER BY destination LIMIT 1) \
       UNION ALL SELECT (SELECT destination FROM deliveries \
         WHERE state = 0 AND destination > names.name ORDER BY destination LIMIT 1) \
       FROM names WHERE names.name IS NOT NULL), \
     sizes (name, estimate, bytes) AS (SELECT c.relname::text, greatest(c.reltuples, 0)::bigint, \
       pg_total_relation_size(c.oid) FROM pg_class c WHERE c.oid IN ('notifications'::regclass, \
       'deliveries'::regclass, 'attempts'::regclass, 'deliveries_live'::regclass)) \
     SELECT \
     (SELECT count(*) FROM (SELECT 1 FROM notifications LIMIT $2) x) AS notifications, \
     (SELECT estimate FROM sizes WHERE name = 'notifications') AS notifications_estimate, \
     (SELECT bytes FROM sizes WHERE name = 'notifications') AS notifications_bytes, \
     (SELECT count(*) FROM (SELECT 1 FROM deliveries LIMIT $2) x) AS deliveries, \
     (SELECT estimate FROM sizes WHERE name = 'deliveries') AS deliveries_estimate, \
     (SELECT bytes FROM sizes WHERE name = 'deliveries') AS deliveries_bytes, \
     (SELECT count(*) FROM (SELECT 1 FROM attempts LIMIT $2) x) AS attempts, \
     (SELECT estimate FROM sizes WHERE name = 'attempts') AS attempts_estimate, \
     (SELECT bytes FROM sizes WHERE name = 'attempts') AS attempts_bytes, \
     (SELECT count(*) FROM (SELECT 1 FROM notifications WHERE fanned_out_at IS NULL \
       ORDER BY seq LIMIT $1) x) AS arrived, \
     (SELECT count(*) FROM (SELECT 1 FROM deliveries WHERE state = 0 \
       ORDER BY destination, lane, due, id LIMIT $1) x) AS live, \
     (SELECT estimate FROM sizes WHERE name = 'deliveries_live') AS live_estimate, \
     (SELECT count(*) FROM (SELECT 1 FROM deliveries WHERE state >= 2 AND (state, id) < (3, 0) \
       ORDER BY state, id LIMIT $1) x) AS dead, \
     (SELECT count(*) FROM (SELECT 1 FROM deliveries WHERE state > 2 \
       ORDER BY state, id LIMIT $1) x) AS cancelled, \
     (SELECT (extract(epoch FROM now() - min(l.due)) * 1000)::bigint FROM names \
       CROSS JOIN LATERAL ( \
         (SELECT d.due FROM deliveries d WHERE d.state = 0 AND d.destination = names.name \
           AND d.lane = 0 ORDER BY d.due LIMIT 1) \
         UNION ALL \
         (SELECT d.due FROM deliveries d WHERE d.state = 0 AND d.destination = names.name \
           AND d.lane = 1 ORDER BY d.due LIMIT 1)) l WHERE l.due <= now()) AS overdue, \
     pg_database_size(current_database()) AS total";

/// $1: names, $2: how far each is counted. The order makes it walk the index, whatever the statistics say.
pub(super) const DEPTHS: &str = "SELECT x.destination, \
     (SELECT count(*) FROM (SELECT 1 FROM deliveries d WHERE d.state = 0 \
       AND d.destination = x.destination ORDER BY d.lane, d.due, d.id LIMIT $2) c) AS live, \
     (SELECT (extract(epoch FROM now() - min(l.due)) * 1000)::bigint FROM ( \
       (SELECT d.due FROM deliveries d WHERE d.state = 0 AND d.destination = x.destination \
         AND d.lane = 0 ORDER BY d.due LIMIT 1) \
       UNION ALL \
       (SELECT d.due FROM deliveries d WHERE d.state = 0 AND d.destination = x.destination \
         AND d.lane = 1 ORDER BY d.due LIMIT 1)) l WHERE l.due <= now()) AS overdue \
     FROM unnest($1::text[]) WITH ORDINALITY AS x(destination, place) ORDER BY x.place";

/// $1: count each no further than this. All of it by the live index: the order keeps the planner from a scan that ends
/// soon only where what is live comes first.
pub(super) const BACKLOG: &str = "WITH RECURSIVE names (name) AS ( \
       (SELECT destination FROM deliveries WHERE state = 0 ORDER BY destination LIMIT 1) \
       UNION ALL SELECT (SELECT destination FROM deliveries \
         WHERE state = 0 AND destination > names.name ORDER BY destination LIMIT 1) \
       FROM names WHERE names.name IS NOT NULL) \
     SELECT name AS destination, \
     (SELECT count(*) FROM (SELECT 1 FROM deliveries d WHERE d.state = 0 \
       AND d.destination = names.name AND d.lane = 0 ORDER BY d.due LIMIT $1) x) AS fresh, \
     (SELECT count(*) FROM (SELECT 1 FROM deliveries d WHERE d.state = 0 \
       AND d.destination = names.name AND d.lane = 1 ORDER BY d.due LIMIT $1) x) AS retries, \
     (SELECT count(*) FROM (SELECT 1 FROM deliveries d WHERE d.state = 0 \
       AND d.destination = names.name AND d.lane = 0 AND d.due <= now() ORDER BY d.due LIMIT $1) x) AS due_fresh, \
     (SELECT count(*) FROM (SELECT 1 FROM deliveries d WHERE d.state = 0 \
       AND d.destination = names.name AND d.lane = 1 AND d.due <= now() ORDER BY d.due LIMIT $1) x) AS due_retries, \
     (SELECT (extract(epoch FROM now() - min(l.due)) * 1000)::bigint FROM ( \
       (SELECT d.due FROM deliveries d WHERE d.state = 0 AND d.destination = names.name \
         AND d.lane = 0 ORDER BY d.due LIMIT 1) \
       UNION ALL \
       (SELECT d.due FROM deliveries d WHERE d.state = 0 AND d.destination = names.name \
         AND d.lane = 1 ORDER BY d.due LIMIT 1)) l WHERE l.due <= now()) AS overdue \
     FROM names WHERE name IS NOT NULL";

/// $1: look at no more than this. With `state = 2` the planner would go by the primary key, through all that is delivered.
pub(super) const DEAD_OF: &str = "SELECT destination, count(*) AS count FROM ( \
       SELECT d.destination FROM deliveries d WHERE d.state >= 2 AND (d.state, d.id) < (3, 0) \
       ORDER BY d.state DESC, d.id DESC LIMIT $1) x GROUP BY destination";

/// $1: look at no more than this, $2: most groups.
pub(super) const DEAD_GROUPS: &str = "SELECT destination, cause, reason, count(*) AS count, \
     min(finished) AS first, max(finished) AS last, max(id) AS newest FROM ( \
       SELECT d.id, d.destination, d.cause, d.reason, d.finished FROM deliveries d \
       WHERE d.state >= 2 AND (d.state, d.id) < (3, 0) ORDER BY d.state DESC, d.id DESC LIMIT $1) x \
     GROUP BY destination, cause, reason ORDER BY count(*) DESC, max(id) DESC LIMIT $2";

/// All of them, for the test that prepares each.
#[cfg(test)]
pub(super) const ALL: &[&str] = &[
    CANDIDATES,
    DROP,
    DROP_WAITING,
    EMPTY,
    EMPTY_WAITING,
    CONTENT_GONE,
    BEAT,
    FORGET,
    MARK,
    REMOVED,
    HOSTS,
    LEAVE,
    PAUSE,
    HOLDS,
    STATS,
    DEPTHS,
    BACKLOG,
    DEAD_OF,
    DEAD_GROUPS,
];
