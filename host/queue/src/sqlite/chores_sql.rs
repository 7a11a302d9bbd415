//! Every statement of retention, hosts and numbers. What holds for [`super::sql`] holds here.

// ---- retention -----------------------------------------------------------------------------------------------

/// ?1: after this row, ?2: limit, ?3: now. Goes by the primary key, and so costs the settlement no index.
pub(super) const CANDIDATES: &str = "SELECT n.seq, ?3 - n.fanned_out_at AS fanned_out, \
     n.malformed IS NOT NULL AS malformed, n.idempotency_key IS NOT NULL AS has_key, n.pruned, \
     count(d.id) AS deliveries, coalesce(sum(d.state = 0), 0) AS live, \
     coalesce(sum(d.state = 2), 0) AS dead, ?3 - max(d.finished) AS finished, \
     coalesce(sum(d.attempt), 0) AS attempts \
     FROM (SELECT seq, fanned_out_at, malformed, idempotency_key, pruned FROM notifications \
       WHERE seq > ?1 ORDER BY seq LIMIT ?2) n \
     LEFT JOIN deliveries d ON d.notification = n.seq GROUP BY n.seq ORDER BY n.seq";

/// ?1: rows. Those of which a delivery lives again since they were looked at.
pub(super) const LIVE_AGAIN: &str = "SELECT x.value FROM json_each(?1) AS x \
     WHERE EXISTS (SELECT 1 FROM deliveries d WHERE d.notification = x.value AND d.state = 0)";

/// ?1: rows.
pub(super) const DROP_ATTEMPTS: &str = "DELETE FROM attempts WHERE delivery IN ( \
     SELECT d.id FROM json_each(?1) AS x CROSS JOIN deliveries d ON d.notification = x.value)";

/// ?1: rows. After [`DROP_ATTEMPTS`].
pub(super) const DROP_DELIVERIES: &str =
    "DELETE FROM deliveries WHERE notification IN (SELECT value FROM json_each(?1))";

/// ?1: rows. After [`DROP_DELIVERIES`].
pub(super) const DROP_NOTIFICATIONS: &str =
    "DELETE FROM notifications WHERE seq IN (SELECT value FROM json_each(?1))";

/// ?1: rows.
pub(super) const DROP_CONTENT: &str = "UPDATE notifications \
     SET content = NULL, content_bytes = NULL, pruned = 1 \
     WHERE seq IN (SELECT value FROM json_each(?1)) AND NOT pruned";

/// ?1: ids. Those that cannot be sent again.
pub(super) const CONTENT_GONE: &str = "SELECT d.id FROM deliveries d \
     CROSS JOIN notifications n ON n.seq = d.notification \
     WHERE d.id IN (SELECT value FROM json_each(?1)) AND d.state IN (2, 3) AND n.pruned ORDER BY d.id";

// ---- hosts ---------------------------------------------------------------------------------------------------

/// The names that a live host has in force; silent is the moment before which a host counts as gone.
macro_rules! listed {
    ($silent:literal) => {
        concat!(
            "(SELECT y.value FROM hosts h CROSS JOIN json_each(h.destinations) AS y WHERE h.seen > ",
            $silent,
            ")"
        )
    };
}

/// ?1: id, ?2: name, ?3: version, ?4: address, ?5: destinations, ?6: now.
pub(super) const BEAT: &str = "INSERT INTO hosts (id, name, version, listen, destinations, started, seen) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6) \
     ON CONFLICT (id) DO UPDATE SET name = excluded.name, version = excluded.version, \
     listen = excluded.listen, destinations = excluded.destinations, seen = excluded.seen";

/// ?1: silent since before this.
pub(super) const FORGET: &str = "DELETE FROM hosts WHERE seen < ?1";

/// ?1: gone since before this, ?2: now. After [`BEAT`].
pub(super) const MARK: &str = concat!(
    "UPDATE destinations SET removed_at = CASE WHEN removed_at IS NULL THEN ?2 END \
     WHERE (removed_at IS NULL) <> (name IN ",
    listed!("?1"),
    ")"
);

/// ?1: present names, ?2: now, ?3: hosts that were silent since before this are gone.
pub(super) const REMOVED: &str = concat!(
    "UPDATE destinations SET removed_at = ?2 \
     WHERE removed_at IS NULL AND name NOT IN (SELECT value FROM json_each(?1)) AND name NOT IN ",
    listed!("?3")
);

pub(super) const HOSTS: &str = "SELECT id, name, version, listen, destinations, started, seen \
     FROM hosts ORDER BY started DESC, id";

/// ?1: id.
pub(super) const LEAVE: &str = "DELETE FROM hosts WHERE id = ?1";

// ---- holds ---------------------------------------------------------------------------------------------------

/// ?1: destination, ?2: until, ?3: now, ?4: reason.
pub(super) const PAUSE: &str = "INSERT INTO holds (destination, until, paused, reason) \
     VALUES (?1, ?2, ?3, ?4) ON CONFLICT (destination) DO UPDATE \
     SET until = excluded.until, paused = coalesce(paused, excluded.paused), reason = excluded.reason";

/// ?1: now.
pub(super) const HOLDS: &str = "SELECT destination, until, paused, reason FROM holds \
     WHERE until > ?1 ORDER BY destination";

// ---- numbers -------------------------------------------------------------------------------------------------

/// ?1: count no further than this where rows have an index, ?2: and this where they have none, ?3: now.
pub(super) const STATS: &str = "WITH RECURSIVE names (name) AS ( \
       SELECT min(destination) FROM deliveries WHERE state = 0 \
       UNION ALL SELECT (SELECT min(destination) FROM deliveries \
         WHERE state = 0 AND destination > names.name) FROM names WHERE names.name IS NOT NULL) \
     SELECT \
     (SELECT count(*) FROM (SELECT 1 FROM notifications LIMIT ?2)) AS notifications, \
     (SELECT coalesce(max(seq), 0) FROM notifications) \
       - (SELECT coalesce(min(seq), 1) FROM notifications) + 1 AS notifications_span, \
     (SELECT count(*) FROM (SELECT 1 FROM deliveries LIMIT ?2)) AS deliveries, \
     (SELECT coalesce(max(id), 0) FROM deliveries) \
       - (SELECT coalesce(min(id), 1) FROM deliveries) + 1 AS deliveries_span, \
     (SELECT count(*) FROM (SELECT 1 FROM attempts LIMIT ?2)) AS attempts, \
     (SELECT count(*) FROM (SELECT 1 FROM notifications WHERE fanned_out_at IS NULL LIMIT ?1)) AS arrived, \
     (SELECT count(*) FROM (SELECT 1 FROM deliveries WHERE state = 0 LIMIT ?1)) AS live, \
     (SELECT count(*) FROM (SELECT 1 FROM deliveries WHERE state >= 2 AND state = 2 LIMIT ?1)) AS dead, \
     (SELECT count(*) FROM (SELECT 1 FROM deliveries WHERE state >= 2 AND state = 3 LIMIT ?1)) \
       AS cancelled, \
     (SELECT ?3 - min(due) FROM ( \
       SELECT (SELECT due FROM deliveries d WHERE d.state = 0 AND d.destination = names.name \
         AND d.lane = 0 ORDER BY d.due LIMIT 1) AS due FROM names WHERE name IS NOT NULL \
       UNION ALL \
       SELECT (SELECT due FROM deliveries d WHERE d.state = 0 AND d.destination = names.name \
         AND d.lane = 1 ORDER BY d.due LIMIT 1) FROM names WHERE name IS NOT NULL) \
     WHERE due <= ?3) AS overdue";

/// ?1: names, ?2: now, ?3: how far each is counted. By their place in ?1.
pub(super) const DEPTHS: &str = "SELECT x.value AS destination, \
     (SELECT count(*) FROM (SELECT 1 FROM deliveries d WHERE d.state = 0 \
       AND d.destination = x.value LIMIT ?3)) AS live, \
     (SELECT ?2 - min(l.due) FROM ( \
       SELECT (SELECT d.due FROM deliveries d WHERE d.state = 0 AND d.destination = x.value \
         AND d.lane = 0 ORDER BY d.due LIMIT 1) AS due \
       UNION ALL \
       SELECT (SELECT d.due FROM deliveries d WHERE d.state = 0 AND d.destination = x.value \
         AND d.lane = 1 ORDER BY d.due LIMIT 1)) AS l \
     WHERE l.due <= ?2) AS overdue \
     FROM json_each(?1) AS x ORDER BY x.key";

/// ?1: count each no further than this, ?2: now. All of it by the live index alone.
pub(super) const BACKLOG: &str = "WITH RECURSIVE names (name) AS ( \
       SELECT min(destination) FROM deliveries WHERE state = 0 \
       UNION ALL SELECT (SELECT min(destination) FROM deliveries \
         WHERE state = 0 AND destination > names.name) FROM names WHERE names.name IS NOT NULL) \
     SELECT name AS destination, \
     (SELECT count(*) FROM (SELECT 1 FROM deliveries d WHERE d.state = 0 \
       AND d.destination = names.name AND d.lane = 0 LIMIT ?1)) AS fresh, \
     (SELECT count(*) FROM (SELECT 1 FROM deliveries d WHERE d.state = 0 \
       AND d.destination = names.name AND d.lane = 1 LIMIT ?1)) AS retries, \
     (SELECT count(*) FROM (SELECT 1 FROM deliveries d WHERE d.state = 0 \
       AND d.destination = names.name AND d.lane = 0 AND d.due <= ?2 LIMIT ?1)) AS due_fresh, \
     (SELECT count(*) FROM (SELECT 1 FROM deliveries d WHERE d.state = 0 \
       AND d.destination = names.name AND d.lane = 1 AND d.due <= ?2 LIMIT ?1)) AS due_retries, \
     (SELECT ?2 - min(due) FROM ( \
       SELECT (SELECT due FROM deliveries d WHERE d.state = 0 AND d.destination = names.name \
         AND d.lane = 0 ORDER BY d.due LIMIT 1) AS due \
       UNION ALL \
       SELECT (SELECT due FROM deliveries d WHERE d.state = 0 AND d.destination = names.name \
         AND d.lane = 1 ORDER BY d.due LIMIT 1)) \
     WHERE due <= ?2) AS overdue FROM names WHERE name IS NOT NULL";

/// ?1: look at no more than this.
pub(super) const DEAD_OF: &str = "SELECT destination, count(*) AS count FROM ( \
       SELECT d.destination FROM deliveries d WHERE d.state >= 2 AND d.state = 2 \
       ORDER BY d.id DESC LIMIT ?1) GROUP BY destination";

/// ?1: look at no more than this, ?2: most groups.
pub(super) const DEAD_GROUPS: &str = "SELECT destination, cause, reason, count(*) AS count, \
     min(finished) AS first, max(finished) AS last, max(id) AS newest FROM ( \
       SELECT d.id, d.destination, d.cause, d.reason, d.finished FROM deliveries d \
       WHERE d.state >= 2 AND d.state = 2 ORDER BY d.id DESC LIMIT ?1) \
     GROUP BY destination, cause, reason ORDER BY count(*) DESC, max(id) DESC LIMIT ?2";

pub(super) const PAGES: &str = "SELECT page_count * page_size AS total, freelist_count * page_size AS free \
     FROM pragma_page_count, pragma_page_size, pragma_freelist_count";

/// ?1: the new file, which is empty.
pub(super) const BACKUP: &str = "VACUUM INTO ?1";

/// All of them, for the test that prepares each.
#[cfg(test)]
pub(super) const ALL: &[&str] = &[
    CANDIDATES,
    LIVE_AGAIN,
    DROP_ATTEMPTS,
    DROP_DELIVERIES,
    DROP_NOTIFICATIONS,
    DROP_CONTENT,
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
    PAGES,
    BACKUP,
];
