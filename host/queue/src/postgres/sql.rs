//! Every statement of the PostgreSQL store, in the order of a delivery's life.
//!
//! A batch is a few arrays, unnested: one statement, one commit. `now()` is the only clock; delays come in as
//! milliseconds. Each statement changes a table at most once, and ids are reached by `= ANY (ARRAY (…))` or from an
//! unnested array: a join whose order depends on statistics collapses where a `LIMIT` has no estimate.

/// The conditions under which a lease is still held; `x` is the worker's row, `d` the delivery.
///
/// A live row's state is `< 1` wherever it is reached by its id: with `= 0` the live index would serve, too, and a
/// server that has not counted since a burst takes it for small and walks all of it.
macro_rules! held {
    () => {
        "d.id = x.id AND d.token = x.token AND d.state < 1 AND d.owner IS NOT NULL"
    };
}

macro_rules! notification {
    () => {
        "n.seq, n.id AS uuid, n.type, n.source, n.subject, n.labels, n.content_type, n.created_at, \
         n.traceparent, n.tracestate"
    };
}

macro_rules! notification_record {
    () => {
        concat!(
            notification!(),
            ", n.idempotency_key, n.deliveries, n.malformed, n.expires, n.pruned"
        )
    };
}

/// Deliveries with their notifications, newest first. The deliveries are found, put in order and cut before any
/// notification is reached; and those are reached one by one, whatever the statistics say.
macro_rules! delivery_record {
    ($condition:expr, $order:literal, $last:literal) => {
        concat!(
            "SELECT d.*, n.id AS uuid, n.type FROM ( \
             SELECT d.id, d.notification, d.destination, d.state, \
             d.owner IS NOT NULL AND d.due > now() AS leased, d.attempt, \
             d.created, d.due, d.finished, d.reason, d.cause, d.fallback_of, d.fallback_to, \
             d.expires, d.order_key, d.waiting FROM deliveries d WHERE ",
            $condition,
            " ORDER BY ",
            $order,
            " LIMIT $2) d CROSS JOIN LATERAL ( \
             SELECT n.id, n.type FROM notifications n WHERE n.seq = d.notification OFFSET 0) n ",
            $last,
            " ORDER BY d.id DESC"
        )
    };
}

/// By every field of the filter. The bounds are of `id`, or of `+d.id` where no index of the ids alone is to help: it
/// would be read from one bound to the other.
macro_rules! filtered_record {
    ($condition:literal, $id:literal, $order:literal) => {
        delivery_record!(
            concat!(
                $condition,
                " AND ",
                $id,
                " < $1 AND ",
                $id,
                " > $7 AND ($3::text IS NULL OR d.destination = $3) \
                 AND CASE $4::text \
                 WHEN 'pending' THEN d.state = 0 AND (d.owner IS NULL OR d.due <= now()) \
                 WHEN 'leased' THEN d.state = 0 AND d.owner IS NOT NULL AND d.due > now() \
                 WHEN 'delivered' THEN d.state = 1 \
                 WHEN 'dead' THEN d.state = 2 \
                 WHEN 'cancelled' THEN d.state = 3 \
                 ELSE true END AND ($5::bigint IS NULL OR d.id = $5)"
            ),
            $order,
            "WHERE ($6::uuid IS NULL OR n.id = $6)"
        )
    };
}

// ---- enqueue -------------------------------------------------------------------------------------------------

/// $1 to $14: a column of the notifications each, $15 and $16: the deliveries' notifications and destinations.
/// Answers the ids that were not there before, by id or by key.
macro_rules! store {
    ($column:literal, $value:literal, $expiries:literal, $deliver:literal) => {
        store!($column, $value, $expiries, $deliver, "SELECT id FROM stored")
    };
    ($column:literal, $value:literal, $expiries:literal, $deliver:literal, $answer:literal) => {
        concat!(
            "WITH stored AS ( \
     INSERT INTO notifications (id, type, source, subject, labels, content_type, content, \
       content_bytes, idempotency_key, digest, created_at, fanned_out_at, deliveries, \
       traceparent, tracestate",
            $column,
            ") \
     SELECT x.id, x.type, x.source, x.subject, x.labels, x.content_type, x.content, x.bytes, \
       x.key, x.digest, x.time, now(), x.deliveries, x.traceparent, x.tracestate",
            $value,
            " \
     FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], \
       $7::text[], $8::bytea[], $9::text[], $10::bytea[], $11::timestamptz[], $12::int[], \
       $13::text[], $14::text[], ",
            $expiries,
            "::bigint[]) \
       WITH ORDINALITY AS x(id, type, source, subject, labels, content_type, content, bytes, key, \
       digest, time, deliveries, traceparent, tracestate, expires, place) \
     ORDER BY x.place ON CONFLICT DO NOTHING RETURNING seq, id), \
     made AS ( ",
            $deliver,
            " JOIN stored s ON s.id = y.id ORDER BY y.place RETURNING id, notification, \
       destination, owner) ",
            $answer
        )
    };
}
/// Where nothing has a schedule or a key.
pub(super) const STORE: &str = store!(
    "",
    "",
    "NULL",
    "INSERT INTO deliveries (notification, destination, due, created, since) \
     SELECT s.seq, y.destination, now(), now(), now() \
     FROM unnest($15::uuid[], $16::text[]) WITH ORDINALITY AS y(id, destination, place)"
);
/// $17: whether a delivery is to be leased, $18: by which host, $19: for how many milliseconds. What is held is not.
/// Answers the leases, too.
pub(super) const STORE_TAKEN: &str = store!(
    "",
    "",
    "NULL",
    "INSERT INTO deliveries (notification, destination, due, created, since, owner, claimed, token, \
       attempt) \
     SELECT s.seq, y.destination, CASE WHEN y.taken THEN now() + $19 * interval '1 millisecond' \
       ELSE now() END, now(), now(), CASE WHEN y.taken THEN $18::uuid END, \
       CASE WHEN y.taken THEN now() END, y.taken::int, y.taken::int \
     FROM (SELECT u.id, u.destination, u.place, u.taken AND NOT EXISTS (SELECT 1 FROM holds h \
         WHERE h.destination = u.destination AND h.until > now()) AS taken \
       FROM unnest($15::uuid[], $16::text[], $17::bool[]) \
         WITH ORDINALITY AS u(id, destination, taken, place)) y",
    "SELECT s.id, m.id AS delivery, m.destination FROM stored s \
     LEFT JOIN made m ON m.notification = s.seq AND m.owner IS NOT NULL"
);
/// $17: the notifications' expiries, $18 to $20: the deliveries' delays, expiries and keys; milliseconds from now.
pub(super) const STORE_SCHEDULED: &str = store!(
    ", expires",
    ", now() + x.expires * interval '1 millisecond'",
    "$17",
    "INSERT INTO deliveries (notification, destination, due, created, since, expires, order_key, \
       waiting) \
     SELECT s.seq, y.destination, CASE WHEN y.key IS NULL \
       THEN now() + y.delay * interval '1 millisecond' ELSE 'infinity' END, now(), \
       now() + y.delay * interval '1 millisecond', now() + y.expires * interval '1 millisecond', \
       y.key, y.key IS NOT NULL \
     FROM unnest($15::uuid[], $16::text[], $18::bigint[], $19::bigint[], $20::text[]) \
       WITH ORDINALITY AS y(id, destination, delay, expires, key, place)"
);

/// $1: ids, $2: idempotency keys.
pub(super) const KNOWN: &str = concat!(
    "SELECT ",
    notification_record!(),
    ", n.content, n.content_bytes, n.digest FROM notifications n \
     WHERE n.id = ANY ($1::uuid[]) OR n.idempotency_key = ANY ($2::text[])"
);

// ---- fan-out -------------------------------------------------------------------------------------------------

/// $1: limit.
pub(super) const ARRIVED: &str = concat!(
    "SELECT ",
    notification!(),
    ", n.idempotency_key, n.content, n.content_bytes FROM notifications n \
     WHERE n.fanned_out_at IS NULL ORDER BY n.seq LIMIT $1"
);

/// $1 to $3: rows, their numbers of deliveries, and why they are malformed; $4 to $7: the deliveries' rows,
/// destinations, keys, and the destinations' own bounds in milliseconds from arrival. Of two hosts the second finds it done.
pub(super) const FAN_OUT: &str = "WITH done AS ( \
     UPDATE notifications n SET fanned_out_at = now(), deliveries = x.deliveries, \
       malformed = x.malformed, expires = CASE WHEN x.malformed IS NULL THEN \
         greatest(least(n.created_at, now()), 'epoch') \
         + n.expires_after_ms * interval '1 millisecond' END \
     FROM unnest($1::bigint[], $2::int[], $3::text[]) AS x(seq, deliveries, malformed) \
     WHERE n.seq = x.seq AND n.fanned_out_at IS NULL \
     RETURNING n.seq, n.expires, greatest(least(n.created_at, now()), 'epoch') AS arrived, \
       coalesce(n.deliver_after_ms, 0) * interval '1 millisecond' AS delay), \
     made AS ( \
     INSERT INTO deliveries (notification, destination, due, created, since, expires, order_key, \
       waiting) \
     SELECT y.seq, y.destination, CASE WHEN y.key IS NULL \
       THEN greatest(now(), f.arrived + f.delay) ELSE 'infinity' END, now(), \
       greatest(now(), f.arrived + f.delay), \
       least(f.expires, f.arrived + y.within * interval '1 millisecond'), y.key, \
       y.key IS NOT NULL \
     FROM unnest($4::bigint[], $5::text[], $6::text[], $7::bigint[]) \
       WITH ORDINALITY AS y(seq, destination, key, within, place) \
     JOIN done f ON f.seq = y.seq ORDER BY y.place ON CONFLICT DO NOTHING RETURNING 1) \
     SELECT count(*) FROM made";

/// As a producer does it. $1 to $8: the columns, $9 and $10: milliseconds from now, $11 and $12: its trace.
pub(crate) const OUTBOX: &str = "INSERT INTO notifications (type, source, subject, labels, \
     content_type, content, content_bytes, idempotency_key, deliver_after_ms, expires_after_ms, \
     traceparent, tracestate) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT DO NOTHING RETURNING id";

// ---- claim, extend, settle -----------------------------------------------------------------------------------

/// What a claim answers of a delivery `d`; its notification is read beside it.
macro_rules! leased {
    () => {
        "d.id, d.token, d.destination, d.notification, d.attempt, d.used, d.lost, d.parts_done, \
         d.chain, greatest(0, (extract(epoch FROM now() - d.since) * 1000)::bigint) AS age, \
         (extract(epoch FROM d.expires - now()) * 1000)::bigint AS left_ms, d.order_key"
    };
}

/// $1: destinations, $2: free slots, $3: how many of them are kept for retries, $4 and $5: watermarks of first
/// attempts and of retries, $6: host, $7: lease in milliseconds, $8: reason of a lost attempt.
///
/// Takes the retries that slots are kept for, then first attempts, then retries again, until the slots are full; an
/// `Append` under a `LIMIT` locks no more rows than it hands on. A row that was locked may have been changed since
/// this statement's snapshot: state and due are checked again where it is written.
macro_rules! claim {
    ($lock:literal) => {
        concat!(
            "WITH w AS MATERIALIZED ( \
             SELECT x.* FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::timestamptz[], \
               $5::timestamptz[]) WITH ORDINALITY \
               AS x(destination, free, kept, fresh_from, retry_from, place) \
             WHERE NOT EXISTS (SELECT 1 FROM holds h WHERE h.destination = x.destination \
               AND h.until > now())), \
             c AS MATERIALIZED ( \
             SELECT w.place, t.* FROM w CROSS JOIN LATERAL ( \
               SELECT * FROM ( \
                 SELECT * FROM (SELECT 1 AS turn, id, due, lane, owner, attempt, claimed \
                   FROM deliveries WHERE state = 0 AND destination = w.destination AND lane = 1 \
                   AND due <= now() AND due >= w.retry_from AND NOT waiting ORDER BY due, id LIMIT w.kept ",
            $lock,
            ") a \
                 UNION ALL \
                 SELECT * FROM (SELECT 2 AS turn, id, due, lane, owner, attempt, claimed \
                   FROM deliveries WHERE state = 0 AND destination = w.destination AND lane = 0 \
                   AND due <= now() AND due >= w.fresh_from AND NOT waiting ORDER BY due, id LIMIT w.free ",
            $lock,
            ") b \
                 UNION ALL \
                 SELECT * FROM (SELECT 3 AS turn, id, due, lane, owner, attempt, claimed \
                   FROM deliveries WHERE state = 0 AND destination = w.destination AND lane = 1 \
                   AND due <= now() AND due >= w.retry_from AND NOT waiting ORDER BY due, id \
                   LIMIT w.free OFFSET w.kept ",
            $lock,
            ") e \
               ) s LIMIT w.free) t), \
             lost AS ( \
             INSERT INTO attempts (delivery, number, started, duration, outcome, reason, plugin, \
               host) \
             SELECT id, attempt, claimed, \
               greatest(0, (extract(epoch FROM now() - claimed) * 1000000)::bigint), 'lost', $8, \
               '', owner \
             FROM c WHERE owner IS NOT NULL ON CONFLICT DO NOTHING), \
             u AS ( \
             UPDATE deliveries d SET lost = d.lost + (d.owner IS NOT NULL)::int, \
               token = d.token + 1, attempt = d.attempt + 1, owner = $6, claimed = now(), \
               due = now() + $7 * interval '1 millisecond' \
             WHERE d.id = ANY (ARRAY (SELECT id FROM c)) AND d.state < 1 AND d.due <= now() \
             RETURNING ",
            leased!(),
            ") \
             SELECT u.*, c.due AS was_due, c.lane, n.* FROM u JOIN c ON c.id = u.id \
             LEFT JOIN LATERAL (SELECT ",
            notification!(),
            ", n.content, n.content_bytes FROM notifications n WHERE n.seq = u.notification \
               OFFSET 0) n ON true \
             ORDER BY c.place, c.turn, c.due, c.id"
        )
    };
}
pub(super) const CLAIM: &str = claim!("FOR UPDATE SKIP LOCKED");
pub(super) const CLAIM_UNLOCKED: &str = claim!("");

/// Records leases that end without a settlement, of the locked rows `c`.
macro_rules! record_lost {
    ($reason:literal) => {
        concat!(
            "lost AS (INSERT INTO attempts (delivery, number, started, duration, outcome, reason, \
             plugin, host) \
             SELECT id, attempt, claimed, \
             greatest(0, (extract(epoch FROM now() - claimed) * 1000000)::bigint), 'lost', ",
            $reason,
            ", '', owner FROM c WHERE owner IS NOT NULL ON CONFLICT DO NOTHING)"
        )
    };
}

/// $1: destinations in force, $2: their `max_age` in milliseconds, $3: limit, $4: how many of a lane to look at, $5:
/// host, $6: lease in milliseconds, $7: reason of a lost attempt, $8: whether what is not due
/// counts, too. What is past its expiry, and what is too old, whether or not it is due. What is not due has not reached
/// its destination's `max_age`, but for what waits.
pub(super) const CLAIM_OVERDUE: &str = concat!(
    "WITH k AS MATERIALIZED (SELECT id FROM ( \
     SELECT * FROM (SELECT 0::bigint AS place, 0 AS part, expires AS at, id FROM deliveries \
       WHERE state = 0 AND expires IS NOT NULL AND expires <= now() \
       AND (owner IS NULL OR due <= now()) ORDER BY expires, id LIMIT $3) e \
     UNION ALL \
     SELECT b.place, l.* FROM unnest($1::text[], $2::bigint[], $8::bool[]) WITH ORDINALITY \
       AS b(destination, age, early, place) CROSS JOIN LATERAL ( \
       SELECT 1, due, id FROM (SELECT due, since, id FROM deliveries WHERE state = 0 \
         AND destination = b.destination AND lane = 0 AND NOT waiting \
         AND due <= CASE WHEN b.early THEN 'infinity' ELSE now() END \
         AND (owner IS NULL OR due <= now()) \
         ORDER BY due, id LIMIT $4) q WHERE since <= now() - b.age * interval '1 millisecond' \
       UNION ALL \
       SELECT 2, due, id FROM (SELECT due, since, id FROM deliveries WHERE state = 0 \
         AND destination = b.destination AND lane = 1 AND NOT waiting \
         AND due <= CASE WHEN b.early THEN 'infinity' ELSE now() END \
         AND (owner IS NULL OR due <= now()) \
         ORDER BY due, id LIMIT $4) q WHERE since <= now() - b.age * interval '1 millisecond' \
       UNION ALL \
       SELECT * FROM (SELECT 3, since, id FROM deliveries WHERE state = 0 AND waiting \
         AND destination = b.destination AND since <= now() - b.age * interval '1 millisecond' \
         AND (owner IS NULL OR due <= now()) ORDER BY since, id LIMIT $3) q) l) s \
     ORDER BY place, part, at, id LIMIT $3), \
     c AS MATERIALIZED (SELECT id, attempt, claimed, owner FROM deliveries \
       WHERE id = ANY (ARRAY (SELECT id FROM k)) AND state < 1 \
       AND (owner IS NULL OR due <= now()) FOR UPDATE SKIP LOCKED), ",
    record_lost!("$7"),
    ", u AS (UPDATE deliveries d SET lost = d.lost + (d.owner IS NOT NULL)::int, \
       token = d.token + 1, attempt = d.attempt + 1, owner = $5, claimed = now(), \
       due = now() + $6 * interval '1 millisecond' \
     WHERE d.id = ANY (ARRAY (SELECT id FROM c)) AND d.state < 1 \
     AND (d.owner IS NULL OR d.due <= now()) RETURNING ",
    leased!(),
    ") SELECT u.*, n.* FROM u LEFT JOIN LATERAL (SELECT ",
    notification!(),
    ", n.content, n.content_bytes FROM notifications n WHERE n.seq = u.notification OFFSET 0) n \
     ON true ORDER BY u.id"
);

/// $1 and $2: leases, $3: from now, in milliseconds. Answers those that are held.
pub(super) const EXTEND: &str = concat!(
    "UPDATE deliveries d SET due = now() + $3 * interval '1 millisecond' \
     FROM unnest($1::bigint[], $2::bigint[]) AS x(id, token) WHERE ",
    held!(),
    " RETURNING d.id, d.token"
);

/// $1 and $2: leases. Keeps those that are held from changing hands until the transaction ends.
pub(super) const LOCK: &str = concat!(
    "SELECT d.id FROM deliveries d \
     JOIN unnest($1::bigint[], $2::bigint[]) AS x(id, token) ON ",
    held!(),
    " ORDER BY d.id FOR UPDATE OF d"
);

/// $1 and $2: leases, $3: takers, $4: what is left of the chain, $5: the takers' keys, $6: their own bounds in
/// milliseconds from now. After [`LOCK`], before [`SETTLE`]. What has expired by itself is not handed over. Where two
/// of a notification hand over to one taker, the first does.
pub(super) const HAND_OVER: &str = concat!(
    "INSERT INTO deliveries (notification, destination, due, chain, created, since, fallback_of, \
       expires, order_key, waiting) \
     SELECT t.notification, t.taker, CASE WHEN t.key IS NULL THEN now() ELSE 'infinity' END, \
       t.chain, now(), now(), t.id, \
       least(t.expires, now() + t.within * interval '1 millisecond'), t.key, t.key IS NOT NULL \
     FROM ( \
       SELECT DISTINCT ON (d.notification, x.taker) d.notification, x.taker, x.chain, d.id, \
         x.place, x.key, x.within, n.expires \
       FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::bigint[]) \
         WITH ORDINALITY AS x(id, token, taker, chain, key, within, place) \
       JOIN deliveries d ON ",
    held!(),
    " LEFT JOIN notifications n ON n.seq = d.notification \
       WHERE (n.expires IS NULL OR n.expires > now()) AND x.taker <> d.destination AND NOT EXISTS (SELECT 1 FROM deliveries o \
         WHERE o.notification = d.notification AND o.destination = x.taker) \
       ORDER BY d.notification, x.taker, x.place) t \
     ORDER BY t.place ON CONFLICT DO NOTHING"
);

/// $1 and $2: leases, $3 to $12: what becomes of them, $13 to $18: their attempts, where one is recorded. Answers
/// the leases that were held.
pub(super) const SETTLE: &str = concat!(
    "WITH x AS MATERIALIZED ( \
     SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::smallint[], $4::bigint[], \
       $5::smallint[], $6::int[], $7::int[], $8::bigint[], $9::text[], $10::text[], $11::bigint[], \
       $12::text[], $13::timestamptz[], $14::bigint[], $15::text[], $16::text[], $17::text[], \
       $18::uuid[]) AS x(id, token, state, delay, lane, counted, released, parts_done, reason, \
       cause, hold, taker, started, duration, outcome, told, plugin, host)), \
     u AS ( \
     UPDATE deliveries d SET owner = NULL, claimed = NULL, state = x.state, \
       due = CASE WHEN x.delay IS NULL THEN d.due WHEN d.waiting THEN 'infinity' \
         ELSE now() + x.delay * interval '1 millisecond' END, \
       waiting = d.waiting AND x.state = 0, \
       lane = greatest(d.lane, x.lane), \
       used = d.used + x.counted, \
       lost = d.lost * x.released, \
       attempt = d.attempt - (x.outcome IS NULL)::int, \
       parts_done = x.parts_done, reason = x.reason, cause = x.cause, \
       finished = CASE WHEN x.state = 0 THEN NULL ELSE now() END, \
       fallback_to = CASE WHEN x.taker IS NULL THEN d.fallback_to ELSE coalesce( \
         (SELECT t.id FROM deliveries t WHERE t.notification = d.notification \
          AND t.destination = x.taker AND t.id <> d.id), d.fallback_to) END \
     FROM x WHERE ",
    held!(),
    " RETURNING d.id, d.token, d.attempt, d.destination, d.state, d.order_key, x.hold, x.started, x.duration, \
       x.outcome, x.told, x.plugin, x.host), \
     tried AS ( \
     INSERT INTO attempts (delivery, number, started, duration, outcome, reason, plugin, host) \
     SELECT id, attempt, started, duration, outcome, told, plugin, host FROM u \
     WHERE outcome IS NOT NULL), \
     held AS ( \
     INSERT INTO holds (destination, until) \
     SELECT destination, now() + max(hold) * interval '1 millisecond' FROM u \
     WHERE hold IS NOT NULL GROUP BY destination ORDER BY destination \
     ON CONFLICT (destination) DO UPDATE SET until = greatest(holds.until, excluded.until), \
       since = CASE WHEN holds.until <= now() THEN now() ELSE holds.since END) \
     SELECT id, token, state, order_key, \
       CASE WHEN order_key IS NOT NULL THEN destination END AS destination FROM u"
);

/// The same where each was delivered, at once: most of what is settled, with half of the columns. $1 and $2: leases,
/// $3 and $4: parts done and reasons, $5 to $8: the attempts, $9 and $10: how all of them ended, and their host. Answers
/// one row: leases that it ended, and of those with a key id, destination and key.
pub(super) const SETTLE_DELIVERED: &str = concat!(
    "WITH u AS ( \
     UPDATE deliveries d SET owner = NULL, claimed = NULL, state = 1, waiting = false, lost = 0, \
       parts_done = x.parts_done, reason = x.reason, finished = now() \
     FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::timestamptz[], \
       $6::bigint[], $7::text[], $8::text[]) \
       AS x(id, token, parts_done, reason, started, duration, told, plugin) WHERE ",
    held!(),
    " RETURNING d.id, d.token, d.attempt, d.destination, d.order_key, x.started, x.duration, \
       x.told, x.plugin), \
     tried AS ( \
     INSERT INTO attempts (delivery, number, started, duration, outcome, reason, plugin, host) \
     SELECT id, attempt, started, duration, $9, told, plugin, $10 FROM u), \
     k AS (SELECT coalesce(array_agg(id), '{}') AS ids, \
       coalesce(array_agg(destination), '{}') AS destinations, \
       coalesce(array_agg(order_key), '{}') AS keys FROM u WHERE order_key IS NOT NULL) \
     SELECT a.ids, a.tokens, k.ids, k.destinations, k.keys FROM k, \
       (SELECT coalesce(array_agg(id), '{}') AS ids, coalesce(array_agg(token), '{}') AS tokens \
       FROM u) a"
);

// ---- order ---------------------------------------------------------------------------------------------------

/// $1: destinations, $2: keys, $3: who ended last in each. Of each key without a head the first that waits becomes it;
/// it is told who before it gave up. Doing it twice changes nothing.
pub(super) const PROMOTE: &str = "UPDATE deliveries d SET waiting = false, \
     due = CASE WHEN d.owner IS NULL THEN greatest(now(), d.since) ELSE d.due END, \
     reason = coalesce((SELECT 'delivery ' || p.id || ' before it ' || \
       CASE p.state WHEN 2 THEN 'died (' || p.cause || ')' ELSE 'was cancelled' END || \
       ' and was skipped' FROM deliveries p \
       WHERE p.id = k.ended AND p.id < d.id AND p.state >= 2), d.reason) \
     FROM (SELECT x.ended, (SELECT w.id FROM deliveries w WHERE w.state = 0 AND w.waiting \
         AND w.destination = x.destination AND w.order_key = x.key ORDER BY w.id LIMIT 1) AS id \
       FROM unnest($1::text[], $2::text[], $3::bigint[]) AS x(destination, key, ended) \
       WHERE NOT EXISTS (SELECT 1 FROM deliveries h WHERE h.state = 0 AND NOT h.waiting \
         AND h.order_key IS NOT NULL AND h.destination = x.destination AND h.order_key = x.key) \
       OFFSET 0) k \
     WHERE d.id = k.id AND d.state < 1 AND d.waiting";

/// Keys in which something waits without a head; hops from key to key. At most a thousand.
pub(super) const FORGOTTEN: &str = "WITH RECURSIVE k (destination, order_key) AS ( \
       (SELECT destination, order_key FROM deliveries WHERE state = 0 AND waiting \
         ORDER BY destination, order_key LIMIT 1) \
       UNION ALL SELECT n.destination, n.order_key FROM k CROSS JOIN LATERAL ( \
         SELECT d.destination, d.order_key FROM deliveries d WHERE d.state = 0 AND d.waiting \
         AND (d.destination, d.order_key) > (k.destination, k.order_key) \
         ORDER BY d.destination, d.order_key LIMIT 1) n) \
     SELECT destination, order_key FROM k \
     WHERE NOT EXISTS (SELECT 1 FROM deliveries h WHERE h.state = 0 AND NOT h.waiting \
       AND h.order_key IS NOT NULL AND h.destination = k.destination \
       AND h.order_key = k.order_key) LIMIT 1000";

// ---- the operator's hand -------------------------------------------------------------------------------------

/// $1: ids. Revives the dead and the cancelled, and hastens what is due later. The notifications are locked first, as
/// retention does: one whose content goes at this moment is not revived.
pub(super) const REDELIVER: &str = "WITH n AS MATERIALIZED (SELECT seq FROM notifications \
     WHERE seq = ANY (ARRAY (SELECT notification FROM deliveries WHERE id = ANY ($1::bigint[]))) \
     AND NOT pruned ORDER BY seq FOR SHARE) \
     UPDATE deliveries d SET \
     due = CASE WHEN state = 0 OR order_key IS NULL THEN now() ELSE 'infinity' END, \
     waiting = state <> 0 AND order_key IS NOT NULL, \
     expires = CASE WHEN state = 0 THEN expires END, \
     state = 0, lane = CASE WHEN state = 0 THEN lane ELSE 1 END, \
     since = CASE WHEN state = 0 THEN least(since, now()) ELSE now() END, \
     used = CASE WHEN state = 0 THEN used ELSE 0 END, \
     lost = CASE WHEN state = 0 THEN lost ELSE 0 END, \
     reason = CASE WHEN state = 0 THEN reason ELSE '' END, \
     cause = NULL, finished = NULL \
     WHERE d.id = ANY ($1::bigint[]) AND d.notification = ANY (ARRAY (SELECT seq FROM n)) \
     AND (d.state IN (2, 3) \
       OR (d.state = 0 AND d.owner IS NULL AND d.due > now() AND NOT d.waiting)) \
     RETURNING d.destination, d.order_key";

/// $1: ids, $2: reason of a lost attempt.
pub(super) const CANCEL: &str = concat!(
    "WITH c AS MATERIALIZED (SELECT id, attempt, claimed, owner FROM deliveries \
     WHERE id = ANY ($1::bigint[]) AND state < 1 ORDER BY id FOR UPDATE), ",
    record_lost!("$2"),
    " UPDATE deliveries d SET state = 3, owner = NULL, claimed = NULL, finished = now(), \
     waiting = false WHERE d.id = ANY (ARRAY (SELECT id FROM c)) AND d.state < 1 \
     RETURNING d.id, d.destination, d.order_key"
);

/// $1: ids.
pub(super) const PUT_AWAY: &str = "UPDATE deliveries SET state = 3, cause = NULL \
     WHERE id = ANY ($1::bigint[]) AND state = 2";

/// $1 and $2: leases, $3: cause, $4: reason. Of what was just claimed and cannot be read.
pub(super) const BURY_HELD: &str = concat!(
    "UPDATE deliveries d SET state = 2, owner = NULL, claimed = NULL, finished = now(), \
     waiting = false, cause = $3, reason = x.reason \
     FROM unnest($1::bigint[], $2::bigint[], $4::text[]) AS x(id, token, reason) WHERE ",
    held!(),
    " RETURNING d.id, d.destination, d.order_key"
);

/// $1: removed or made so many milliseconds ago, $2: limit, $3: cause, $4: reason, $5: reason of a lost attempt.
/// Hops from name to name through the live index.
pub(super) const BURY_ORPHANS: &str = concat!(
    "WITH RECURSIVE names (name) AS ( \
       (SELECT destination FROM deliveries WHERE state = 0 ORDER BY destination LIMIT 1) \
       UNION ALL SELECT (SELECT destination FROM deliveries \
         WHERE state = 0 AND destination > names.name ORDER BY destination LIMIT 1) \
       FROM names WHERE names.name IS NOT NULL), \
     gone (name, kept) AS ( \
       SELECT names.name, k.name IS NOT NULL FROM names \
       LEFT JOIN destinations k ON k.name = names.name \
       WHERE names.name IS NOT NULL \
       AND (k.name IS NULL OR k.removed_at <= now() - $1 * interval '1 millisecond')), \
     c AS MATERIALIZED ( \
       SELECT d.id, d.attempt, d.claimed, d.owner FROM deliveries d \
       JOIN gone ON gone.name = d.destination \
       WHERE d.state = 0 AND (d.owner IS NULL OR d.due <= now()) \
       AND (gone.kept OR d.since <= now() - $1 * interval '1 millisecond') \
       LIMIT $2 FOR UPDATE OF d SKIP LOCKED), ",
    record_lost!("$5"),
    " UPDATE deliveries d SET state = 2, owner = NULL, claimed = NULL, finished = now(), \
     waiting = false, cause = $3, reason = $4 \
     WHERE d.id = ANY (ARRAY (SELECT id FROM c)) AND d.state < 1 \
     RETURNING d.id, d.destination, d.order_key"
);

/// $1: names, $2: texts, $3: modules. Before [`super::chores_sql::REMOVED`].
pub(super) const KEEP: &str = "INSERT INTO destinations (name, text, module) \
     SELECT * FROM unnest($1::text[], $2::text[], $3::text[]) AS x(name, text, module) \
     ORDER BY x.name \
     ON CONFLICT (name) DO UPDATE \
     SET text = excluded.text, module = excluded.module, removed_at = NULL \
     WHERE (destinations.text, destinations.module, destinations.removed_at) \
       IS DISTINCT FROM (excluded.text, excluded.module, NULL::timestamptz)";

pub(super) const KEPT: &str =
    "SELECT name, text, module FROM destinations WHERE removed_at IS NULL ORDER BY name";

// ---- reading -------------------------------------------------------------------------------------------------

/// $1: names, $2 and $3: watermarks of first attempts and of retries. Whether a producer's row waits, and the
/// milliseconds until the first is due, below zero when it is overdue.
pub(super) const LOOK: &str = "SELECT \
     EXISTS (SELECT 1 FROM notifications n WHERE n.fanned_out_at IS NULL), \
     (SELECT ceil(extract(epoch FROM min(greatest(l.due, h.until)) - now()) * 1000)::bigint \
     FROM unnest($1::text[], $2::timestamptz[], $3::timestamptz[]) AS w(name, fresh_from, retry_from) \
     LEFT JOIN holds h ON h.destination = w.name \
     CROSS JOIN LATERAL ( \
       (SELECT d.due FROM deliveries d WHERE d.state = 0 AND d.destination = w.name \
         AND d.lane = 0 AND d.due >= w.fresh_from AND d.due < 'infinity' AND NOT d.waiting \
         ORDER BY d.due LIMIT 1) \
       UNION ALL \
       (SELECT d.due FROM deliveries d WHERE d.state = 0 AND d.destination = w.name \
         AND d.lane = 1 AND d.due >= w.retry_from AND d.due < 'infinity' AND NOT d.waiting \
         ORDER BY d.due LIMIT 1)) l), \
     (SELECT ceil(extract(epoch FROM min(greatest(b.next, now())) - now()) * 1000)::bigint \
     FROM breakers b WHERE b.state < 4 AND b.destination = ANY ($1) AND (b.next > now() OR ( \
       EXISTS (SELECT 1 FROM deliveries d WHERE d.state = 0 AND d.destination = b.destination \
         AND d.lane = 0 AND d.due <= now() AND NOT d.waiting) \
       OR EXISTS (SELECT 1 FROM deliveries d WHERE d.state = 0 AND d.destination = b.destination \
         AND d.lane = 1 AND d.due <= now() AND NOT d.waiting))))";

/// $1: count no further than this. The orders keep it from reading the indexes whole before it counts.
pub(super) const SIZE: &str = "SELECT least($1, \
     (SELECT count(*) FROM (SELECT 1 FROM deliveries WHERE state = 0 \
       ORDER BY destination, lane, due, id LIMIT $1) l) + \
     (SELECT count(*) FROM (SELECT 1 FROM notifications WHERE fanned_out_at IS NULL \
       ORDER BY seq LIMIT $1) a))";

/// $1: id.
pub(super) const NOTIFICATION: &str = concat!(
    "SELECT ",
    notification_record!(),
    ", n.content, n.content_bytes FROM notifications n WHERE n.id = $1"
);

/// $1: below this row, $2: limit.
pub(super) const NOTIFICATIONS: &str = concat!(
    "SELECT ",
    notification_record!(),
    " FROM notifications n WHERE n.seq < $1 ORDER BY n.seq DESC LIMIT $2"
);

/// $1: below this row, $2: limit, $3: above this row, $4: type and $5: source as `LIKE` has them, $6: labels,
/// $7: since, $8: until, $9: state. What is null matches all. Labels are read where the fan-out has found them good.
/// Deliveries are looked at one notification at a time and by its index alone: `+` keeps the partial ones away, which
/// would be read whole for each, and `OFFSET 0` a table of all the deliveries there are.
pub(super) const FIND_NOTIFICATIONS: &str = concat!(
    "SELECT ",
    notification_record!(),
    " FROM notifications n WHERE n.seq < $1 AND n.seq > $3 \
     AND ($4::text IS NULL OR n.type LIKE $4) AND ($5::text IS NULL OR n.source LIKE $5) \
     AND ($7::timestamptz IS NULL OR n.created_at >= $7) \
     AND ($8::timestamptz IS NULL OR n.created_at < $8) \
     AND CASE $9::text \
     WHEN 'arrived' THEN n.fanned_out_at IS NULL \
     WHEN 'malformed' THEN n.malformed IS NOT NULL \
     WHEN 'unrouted' THEN n.deliveries = 0 \
     WHEN 'live' THEN n.deliveries > 0 AND EXISTS (SELECT 1 FROM deliveries d WHERE d.notification = n.seq AND +d.state = 0 OFFSET 0) \
     WHEN 'dead' THEN n.deliveries > 0 AND EXISTS (SELECT 1 FROM deliveries d WHERE d.notification = n.seq AND +d.state = 2 OFFSET 0) \
     WHEN 'cancelled' THEN n.deliveries > 0 AND EXISTS (SELECT 1 FROM deliveries d WHERE d.notification = n.seq AND +d.state = 3 OFFSET 0) \
     WHEN 'delivered' THEN n.deliveries > 0 \
       AND EXISTS (SELECT 1 FROM deliveries d WHERE d.notification = n.seq OFFSET 0) \
       AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.notification = n.seq AND +d.state <> 1 OFFSET 0) \
     ELSE true END \
     AND CASE WHEN $6::text IS NULL THEN true \
     WHEN n.fanned_out_at IS NULL OR n.malformed IS NOT NULL THEN false \
     ELSE n.labels::jsonb @> $6::jsonb END \
     ORDER BY n.seq DESC LIMIT $2"
);

// $1: below this id, $2: limit. A condition that leaves nothing out is not there at all: the planner would take it for
// one that leaves out almost everything, and sort the table rather than walk an index to the limit.
pub(super) const DELIVERIES_NEWEST: &str = delivery_record!("d.id < $1", "d.id DESC", "");
// With `state = 2` it would go by the primary key, through all that is delivered.
pub(super) const DEAD_NEWEST: &str = delivery_record!(
    "d.state >= 2 AND (d.state, d.id) <= (2, greatest($1, 1) - 1)",
    "d.state DESC, d.id DESC",
    ""
);
pub(super) const CANCELLED_NEWEST: &str = delivery_record!(
    "d.state > 2 AND (d.state, d.id) <= (3, greatest($1, 1) - 1)",
    "d.state DESC, d.id DESC",
    ""
);

// $3: destination, $4: state, $5: id, $6: notification, $7: above this id. One statement for each index that can help;
// a partial index needs its own condition word for word.
pub(super) const DELIVERIES: &str = filtered_record!("true", "d.id", "d.id DESC");
pub(super) const DELIVERIES_LIVE: &str = filtered_record!("d.state = 0", "+d.id", "d.id DESC");
pub(super) const DELIVERIES_LIVE_OF: &str =
    filtered_record!("d.state = 0 AND d.destination = $3", "+d.id", "d.id DESC");
pub(super) const DELIVERIES_DEAD: &str = filtered_record!(
    "d.state >= 2 AND (d.state, d.id) <= (2, greatest($1, 1) - 1) AND (d.state, d.id) > (2, $7)",
    "+d.id",
    "d.state DESC, d.id DESC"
);
pub(super) const DELIVERIES_CANCELLED: &str = filtered_record!(
    "d.state > 2 AND (d.state, d.id) <= (3, greatest($1, 1) - 1) AND (d.state, d.id) > (3, $7)",
    "+d.id",
    "d.state DESC, d.id DESC"
);
pub(super) const DELIVERY: &str = filtered_record!("d.id = $5", "+d.id", "d.id DESC");
pub(super) const DELIVERIES_OF_NOTIFICATION: &str = filtered_record!(
    "d.notification = (SELECT n.seq FROM notifications n WHERE n.id = $6)",
    "+d.id",
    "+d.id DESC"
);

/// $1: delivery.
pub(super) const ATTEMPTS: &str = "SELECT number, started, duration, outcome, reason, plugin, host \
     FROM attempts WHERE delivery = $1 ORDER BY number";

// ---- destinations' own notes ---------------------------------------------------------------------------------

/// $1: destination, $2: key.
pub(super) const STATE_GET: &str = "SELECT value, version FROM state \
     WHERE destination = $1 AND key = $2 AND (expires IS NULL OR expires > now())";

/// $1: destination, $2: key. Without this key.
pub(super) const STATE_SIZE: &str = "SELECT count(*), \
     coalesce(sum(octet_length(key) + octet_length(value)), 0)::bigint FROM state \
     WHERE destination = $1 AND key <> $2 AND (expires IS NULL OR expires > now())";

/// $1: destination, $2: key, $3: value, $4: time to live in milliseconds.
pub(super) const STATE_SET: &str = "INSERT INTO state (destination, key, value, version, expires) \
     VALUES ($1, $2, $3, nextval('state_version'), now() + $4::bigint * interval '1 millisecond') \
     ON CONFLICT (destination, key) DO UPDATE SET value = excluded.value, \
     version = excluded.version, expires = excluded.expires";

/// The same where there is none, or an expired one.
pub(super) const STATE_SET_NEW: &str = "INSERT INTO state (destination, key, value, version, \
     expires) \
     SELECT $1, $2, $3, nextval('state_version'), now() + $4::bigint * interval '1 millisecond' \
     WHERE NOT EXISTS (SELECT 1 FROM state WHERE destination = $1 AND key = $2 \
       AND (expires IS NULL OR expires > now())) \
     ON CONFLICT (destination, key) DO UPDATE SET value = excluded.value, \
     version = excluded.version, expires = excluded.expires WHERE state.expires <= now()";

/// The same at version $5.
pub(super) const STATE_SET_AT: &str = "UPDATE state SET value = $3, \
     version = nextval('state_version'), expires = now() + $4::bigint * interval '1 millisecond' \
     WHERE destination = $1 AND key = $2 AND version = $5 AND (expires IS NULL OR expires > now())";

/// $1: destination, $2: key.
pub(super) const STATE_REMOVE: &str = "DELETE FROM state WHERE destination = $1 AND key = $2";

// ---- word to other hosts -------------------------------------------------------------------------------------

pub(super) const WORK_CHANNEL: &str = "postrider_work";
/// $1: who says it.
pub(super) const SAY: &str = "SELECT pg_notify('postrider_work', $1)";
pub(super) const PING: &str = "SELECT 1";

// ---- opening -------------------------------------------------------------------------------------------------

pub(super) const IS_REPLICA: &str =
    "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean";
/// A plan that is kept was made when the tables were small, where a scan of all rows seems best. Compiling one takes
/// half a second, each time that it runs; the servers that can do it do so where they think that there is much to do.
pub(super) const PIN_PLANS: [&str; 3] =
    ["SET plan_cache_mode = force_generic_plan", "SET enable_seqscan = off", "SET jit = off"];
pub(super) const SCHEMA_KNOWN: &str = "SELECT to_regclass('postrider_schema') IS NOT NULL";
pub(super) const SCHEMA_TABLE: &str = "CREATE TABLE IF NOT EXISTS postrider_schema ( \
     version bigint PRIMARY KEY, oldest bigint NOT NULL DEFAULT 1, \
     applied_at timestamptz NOT NULL DEFAULT now())";
pub(super) const SCHEMA_VERSION: &str =
    "SELECT coalesce(max(version), 0), coalesce(max(oldest), 0) FROM postrider_schema";
/// A migration that waits for a table makes all others wait behind it: it rather comes again.
pub(super) const SCHEMA_PATIENCE: &str = "SET LOCAL lock_timeout = '2s'";
/// $1: version.
pub(super) const SCHEMA_APPLIED: &str = "INSERT INTO postrider_schema (version) VALUES ($1)";

/// All of them, for the test that prepares each.
#[cfg(test)]
pub(super) const ALL: &[&str] = &[
    STORE,
    STORE_TAKEN,
    STORE_SCHEDULED,
    KNOWN,
    ARRIVED,
    FAN_OUT,
    OUTBOX,
    CLAIM,
    CLAIM_UNLOCKED,
    CLAIM_OVERDUE,
    EXTEND,
    LOCK,
    HAND_OVER,
    SETTLE,
    SETTLE_DELIVERED,
    PROMOTE,
    FORGOTTEN,
    REDELIVER,
    CANCEL,
    PUT_AWAY,
    BURY_HELD,
    BURY_ORPHANS,
    KEEP,
    KEPT,
    LOOK,
    SIZE,
    NOTIFICATION,
    NOTIFICATIONS,
    FIND_NOTIFICATIONS,
    DELIVERIES_NEWEST,
    DEAD_NEWEST,
    CANCELLED_NEWEST,
    DELIVERIES,
    DELIVERIES_LIVE,
    DELIVERIES_LIVE_OF,
    DELIVERIES_DEAD,
    DELIVERIES_CANCELLED,
    DELIVERY,
    DELIVERIES_OF_NOTIFICATION,
    ATTEMPTS,
    STATE_GET,
    STATE_SIZE,
    STATE_SET,
    STATE_SET_NEW,
    STATE_SET_AT,
    STATE_REMOVE,
    SAY,
    PING,
    IS_REPLICA,
    SCHEMA_KNOWN,
    SCHEMA_TABLE,
    SCHEMA_VERSION,
    SCHEMA_APPLIED,
];
